"""The composition root: puts the engine and the workers together on the back ends that the settings name."""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from redis.exceptions import RedisError

from hotsku.engine.inventory import Inventory
from hotsku.engine.item_path import ItemPaths
from hotsku.engine.needs import NeedsBoard
from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.log import get_logger
from hotsku.ports import Lost
from hotsku.settings import Settings, load_settings
from hotsku.shard import library
from hotsku.shard.address import Address
from hotsku.shard.embedded import EmbeddedFolder
from hotsku.shard.seat import WorkerSeat
from hotsku.stack import Stack, open_stack, shard_address
from hotsku.workers.applier import Applier
from hotsku.workers.auditor import Auditor
from hotsku.workers.loop import Role, WorkerLoop
from hotsku.workers.patience import when_armed
from hotsku.workers.recoverer import Recoverer
from hotsku.workers.relay import Relay
from hotsku.workers.replenisher import Replenisher

ROLES = ("relay", "applier", "replenisher", "recoverer")
_DRAIN_TIMEOUT_MS = 30_000

_log = get_logger("app")


@asynccontextmanager
async def connect(
    settings: Settings | None = None,
    *,
    workers: bool | None = None,
    config: Path | None = None,
    **arguments: object,
) -> AsyncIterator[Inventory]:
    """Open an inventory.

        async with hotsku.connect() as stock:
            await stock.create_item("sneaker-42", total=10_000)
            await stock.deduct("sneaker-42", 1, order_id="o-1", buyer_id="u-7")

    Args:
        settings: where everything is; None: from `arguments`, the environment, files and defaults (`load_settings`).
        workers: True runs the background workers in this process, False none. None: an embedded folder's own worker
            process does the work, and on URLs `hotsku worker` does.
        config: a settings file.
        arguments: settings by name.

    Leaving the context answers what is under way and sends what was sold on to the ledger.

    Raises:
        InvalidSettings: a setting is wrong, or a back end is not what it says.
        BackendUnavailable: a back end cannot be reached.
    """
    settings = absolute(settings or load_settings(config, **arguments))
    async with AsyncExitStack() as exits:
        stack = await exits.enter_async_context(_open(settings, own_worker=workers is None))
        if workers:
            await exits.enter_async_context(running_workers(stack))
        inventory = _inventory(stack, exits)
        await exits.enter_async_context(inventory)
        yield inventory


@asynccontextmanager
async def running_workers(stack: Stack, roles: Sequence[str] = ROLES) -> AsyncIterator[WorkerLoop]:
    """Run workers in this process; on leaving, what waits is sent and applied first."""
    shard = stack.shard()
    broker = stack.broker()
    relay = Relay(
        shard,
        stack.ledger,
        broker,
        stack.signals,
        stack.clock,
        interval_ms=stack.settings.relay_interval_ms,
    )
    makers: dict[str, Role] = {
        "relay": relay,
        "applier": Applier(broker, stack.ledger, stack.signals),
        "replenisher": Replenisher(stack.ledger, shard, stack.signals, stack.clock),
        "recoverer": Recoverer(shard, stack.ledger, stack.signals),
    }
    loop = WorkerLoop([makers[name] for name in roles], stack.clock)
    loop.start()
    try:
        yield loop
    finally:
        try:
            if "relay" in roles:
                await relay.drain(_DRAIN_TIMEOUT_MS)
        except (Lost, BackendUnavailable) as error:
            _log.warning("a back end is away: what waits is sent when workers run again", why=str(error))
        finally:
            await loop.stop()
            shard.close()


async def run_worker(settings: Settings, roles: Sequence[str] = ROLES, *, stop: asyncio.Event) -> None:
    """Be a worker process until `stop` is set; in an embedded folder, the folder's worker, until nobody is left.

    Raises:
        InvalidSettings, BackendUnavailable: it cannot start; another worker is at work in the embedded folder.
    """
    settings = absolute(settings)
    folder = settings.embedded_folder
    if folder is None:
        async with open_stack(settings) as stack, running_workers(stack, roles):
            await stop.wait()
        return
    async with WorkerSeat(folder, durability=settings.durability, on_server_started=_load_library) as seat:
        async with open_stack(settings, lambda: seat.socket) as stack:
            async with running_workers(stack, roles):
                await _first_of(seat.alone(), stop.wait())
            if not stop.is_set():
                await _seal(stack)
        if not stop.is_set():
            await seat.stop_server()


async def migrate(settings: Settings) -> str:
    """Bring the ledger's schema and the shard's function library up to date. Returns the ledger's id.

    Replacing the library fences every partition until the recoverer has proven its memory, which takes about a second.
    """
    settings = absolute(settings)
    async with _reach(settings, own_worker=False) as socket_of:
        await _update_library(shard_address(settings, socket_of)())
        async with open_stack(settings, socket_of) as stack:
            return stack.ledger.ledger_id


def absolute(settings: Settings) -> Settings:
    """The same settings with absolute paths: they are handed to processes that may run elsewhere."""
    changes = {"ledger_url": f"sqlite:///{settings.ledger_path.absolute()}"}
    if settings.embedded_folder is not None:
        changes["shard_url"] = f"embedded:{settings.embedded_folder.absolute()}"
    return settings.model_copy(update=changes)


@asynccontextmanager
async def _open(settings: Settings, *, own_worker: bool) -> AsyncIterator[Stack]:
    async with _reach(settings, own_worker=own_worker) as socket_of, open_stack(settings, socket_of) as stack:
        yield stack


@asynccontextmanager
async def _reach(settings: Settings, *, own_worker: bool) -> AsyncIterator[Callable[[], Path] | None]:
    """Use the embedded folder, if the settings name one: gives where its server listens now, else None."""
    folder = settings.embedded_folder
    if folder is None:
        yield None
        return
    # No secrets on a command line: the worker needs none.
    needed = settings.model_dump_json(exclude={"api_keys", "receipt_keys"})
    worker = [sys.executable, "-m", "hotsku.embedded_worker", needed]
    async with EmbeddedFolder(
        folder,
        durability=settings.durability,
        worker=worker if own_worker else None,
        on_server_started=_load_library,
    ) as home:
        yield lambda: home.socket


def _inventory(stack: Stack, exits: AsyncExitStack) -> Inventory:
    shard = stack.shard()
    exits.callback(shard.close)
    board = NeedsBoard(secrets.token_hex(8), stack.signals, stack.clock)
    paths = ItemPaths(
        ledger=stack.ledger,
        shard=shard,
        clock=stack.clock,
        board=board,
        relay_max_events=stack.settings.relay_max_events,
        draw_id=_OrderIds(),
        pick=secrets.randbelow,
    )
    return Inventory(
        ledger=stack.ledger,
        shard=shard,
        signals=stack.signals,
        clock=stack.clock,
        paths=paths,
        board=board,
        durability=stack.settings.durability,
        audit=when_armed(Auditor(stack.ledger, shard).audit, stack.clock),
    )


class _OrderIds:
    """Unique order ids: 96 random bits of this process, and a count."""

    def __init__(self) -> None:
        self._process = secrets.token_hex(12)
        self._count = 0

    def __call__(self) -> str:
        self._count += 1
        return f"{self._process}-{self._count:x}"


async def _load_library(socket: Path) -> None:
    """A server that has just started has armed nothing yet: replacing the library fences nobody."""
    await _update_library(Address(path=str(socket)))


async def _update_library(address: Address) -> None:
    client = address.client()
    try:
        if not await library.is_current(client):
            await library.replace(client)
    except (RedisError, OSError) as error:
        raise BackendUnavailable(f"the shard cannot be reached: {error}") from error
    finally:
        await client.aclose()


async def _seal(stack: Stack) -> None:
    """Write down that nothing was decided after this: so that a restart is proven, whatever the fsync policy."""
    if stack.settings.durability == "durable":
        return
    shard = stack.shard()
    try:
        for row in await stack.ledger.partitions():
            if row.state == "open" and (await shard.status(row.ref)).armed:
                await shard.disarm(row.ref, row.incarnation, seal=True)
    finally:
        shard.close()


async def _first_of(*waits: Coroutine[object, object, object]) -> None:
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()  # a wait that failed has not come to its end
    finally:
        for task in tasks:
            task.cancel()


def check_roles(names: str) -> list[str]:
    """The roles in a comma-separated list.

    Raises:
        InvalidSettings: one is unknown.
    """
    roles = [name.strip() for name in names.split(",") if name.strip()]
    for role in roles:
        if role not in ROLES:
            raise InvalidSettings(f"roles must be some of {', '.join(ROLES)}, not {role!r}")
    return roles or list(ROLES)
