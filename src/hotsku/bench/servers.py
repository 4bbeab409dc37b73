"""Servers of the benchmark's own, in temporary folders, and the HotSKU stacks on them."""

import asyncio
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from msgspec.structs import replace
from redis.asyncio.cluster import RedisCluster

from hotsku.app import connect, worker_command
from hotsku.bench.callers import tidy
from hotsku.bench.cpu import CpuMeter
from hotsku.bench.report import Measured
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
    """A HotSKU stack with durable servers and a ledger of its own, and an inventory on it.

    `stack` gives the parts to those who measure them alone. Nothing follows in the ledger unless `working()`.
    """

    def __init__(
        self, settings: Settings, stack: Stack, stock: Inventory, masters: Sequence[int], replicas: Sequence[int] = ()
    ) -> None:
        """
        Args:
            masters, replicas: the process ids of the servers.
        """
        self.settings = settings
        self.stack = stack
        self.stock = stock
        self._masters = masters
        self._replicas = replicas

    async def measured(self, work: Awaitable[Measured], *, clients_told: bool = False) -> Measured:
        """What `work` measured, with the CPU seconds and the function calls that it took.

        Args:
            clients_told: it has measured the clients' CPU itself, which were not in this process.
        """
        tidy()
        calls = await self._calls()
        meter = CpuMeter(self._masters, self._replicas)
        told = await work
        measured = replace(meter.stop(told), calls=await self._calls() - calls)
        return replace(measured, client_cpu_s=told.client_cpu_s) if clients_told else measured

    async def _calls(self) -> int:
        """How many functions the masters have been called for."""
        client = self.stack.shards.client
        if isinstance(client, RedisCluster):
            told = await client.info("commandstats", target_nodes=RedisCluster.PRIMARIES)
            answers = list(told.values()) if len(self._masters) > 1 else [told]
        else:
            answers = [await client.info("commandstats")]
        return sum(int(answer.get("cmdstat_fcall", {}).get("calls", 0)) for answer in answers)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[int]:
        """A worker process beside it; gives its process id. On leaving it has sent on what waited."""
        command, environment = worker_command(self.settings)
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, **environment},
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
            await self.stack.shards.client.unlink(*keys.all())

    async def followed(self, sku: str) -> None:
        """Wait until the ledger has every sale of the item."""
        while any(partition.lag for partition in await self.stock.partitions(sku)):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)


@asynccontextmanager
async def open_shop(settings: Settings, folder: Path, ledger_url: str | None = None) -> AsyncIterator[Shop]:
    """A stack with these settings on back ends of its own, in a folder within `folder`.

    Args:
        ledger_url: an empty ledger; None: a SQLite file.
    """
    async with running_server(folder, on_disk=True) as server:
        settings = own_settings(settings, f"unix://{server.spec.socket}", server.spec.data, ledger_url)
        async with open_stack(settings) as stack, connect(settings, workers=False) as stock:
            yield Shop(settings, stack, stock, [server.pid])


def own_settings(settings: Settings, shard_url: str, folder: Path, ledger_url: str | None = None) -> Settings:
    """The same settings, durable, on these back ends; the ledger, unless it is named, is a file in `folder`."""
    own = {
        "shard_url": shard_url,
        "ledger_url": ledger_url or f"sqlite:///{folder}/ledger.db",
        "durability": "durable",
    }
    return settings.model_copy(update=own)
