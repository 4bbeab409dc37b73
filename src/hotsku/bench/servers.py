"""Servers of the benchmark's own, in temporary folders, and the HotSKU stacks on them."""

import asyncio
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from hotsku.app import connect
from hotsku.engine.inventory import Inventory
from hotsku.settings import Settings
from hotsku.shard.launcher import ServerProcess, ServerSpec, find_binary, launch
from hotsku.stack import Stack, open_stack

_NO_FILE = ("--appendonly", "no", "--appendfsync", "no")
_POLL_S = 0.02


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is gone afterwards. Its path is short: a socket's path may have some 100 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="hsb-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def running_server(folder: Path, *, on_disk: bool) -> AsyncIterator[ServerProcess]:
    """A Valkey server. `on_disk`: it syncs its file before every answer; otherwise it has no file at all."""
    home = folder / secrets.token_hex(3)
    home.mkdir()
    spec = ServerSpec(
        binary=find_binary(),
        data=home,
        socket=home / "s",
        log=home / "log",
        pidfile=home / "pid",
        extra=() if on_disk else _NO_FILE,
    )
    server = await launch(spec)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.kill)


class Shop:
    """A HotSKU stack with a durable server and a SQLite ledger of its own, and an inventory on it.

    `stack` gives the parts to those who measure them alone. Nothing follows in the ledger unless `working()`.
    """

    def __init__(self, settings: Settings, server: ServerProcess, stack: Stack, stock: Inventory) -> None:
        self.settings = settings
        self.server = server
        self.stack = stack
        self.stock = stock

    @asynccontextmanager
    async def working(self) -> AsyncIterator[int]:
        """A worker process beside it; gives its process id. On leaving it has sent on what waited."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "hotsku.embedded_worker",
            self.settings.model_dump_json(exclude={"api_keys", "receipt_keys"}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process.pid
        finally:
            process.terminate()
            await process.wait()

    async def item_id(self, sku: str) -> int:
        """The item's number in the ledger."""
        item = await self.stack.ledger.item(sku)
        if item is None:
            raise LookupError(sku)
        return item.id

    async def forget(self, sku: str) -> None:
        """Free the shard's memory of an item that is over: rounds must not slow down those after them."""
        for row in await self.stack.ledger.partitions(await self.item_id(sku)):
            keys = self.stack.keys.partition(row.ref)
            await self.stack.client.unlink(keys.meta, keys.orders, keys.buyers, keys.stream)

    async def followed(self, sku: str) -> None:
        """Wait until the ledger has every sale of the item."""
        while any(partition.lag for partition in await self.stock.partitions(sku)):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)


@asynccontextmanager
async def open_shop(settings: Settings, folder: Path) -> AsyncIterator[Shop]:
    """A stack with these settings on back ends of its own, in a folder within `folder`."""
    async with running_server(folder, on_disk=True) as server:
        own = {
            "shard_url": f"unix://{server.spec.socket}",
            "ledger_url": f"sqlite:///{server.spec.data}/ledger.db",
            "durability": "durable",
        }
        settings = settings.model_copy(update=own)
        async with open_stack(settings) as stack, connect(settings, workers=False) as stock:
            yield Shop(settings, server, stack, stock)
