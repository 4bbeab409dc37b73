"""The composition root: puts the engine and the workers together on the back ends that the settings name."""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from pathlib import Path

from msgspec import Struct

from hotsku.clock import SystemClock
from hotsku.engine.inventory import Inventory
from hotsku.engine.item_path import ItemPaths
from hotsku.engine.needs import NeedsBoard
from hotsku.engine.timing import Timing
from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.ledger import migrate_ledger
from hotsku.log import get_logger
from hotsku.ports import Lost
from hotsku.receipt_keys import receipt_keys
from hotsku.receipts import Signer
from hotsku.settings import Settings, load_settings
from hotsku.shard.embedded import EmbeddedFolder
from hotsku.shard.seat import WorkerSeat
from hotsku.shard.shard import WireShard
from hotsku.stack import Stack, open_admin, open_stack
from hotsku.stocking import latest, reachable
from hotsku.tracing.opening import exporting
from hotsku.workers.applier import Applier
from hotsku.workers.auditor import Auditor
from hotsku.workers.loop import Role, WorkerLoop
from hotsku.workers.patience import when_armed
from hotsku.workers.reaper import Reaper
from hotsku.workers.recoverer import Recoverer
from hotsku.workers.relay import Relay
from hotsku.workers.renewal import Renewal
from hotsku.workers.replenisher import Replenisher

ROLES = ("relay", "applier", "replenisher", "recoverer", "reaper")
# The variable that has an embedded folder's worker's settings.
WORKER_SETTINGS = "HOTSKU_WORKER_SETTINGS"
_DRAIN_TIMEOUT_MS = 30_000
_RECOVER_LOOK_S = 0.1

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
    async with connect_to(settings or load_settings(config, **arguments), workers=workers) as opened:
        yield opened.inventory


class Opened(Struct, frozen=True):
    """An inventory, and the back ends that it is on: for programs that tell of them, too."""

    inventory: Inventory
    stack: Stack
    shard: WireShard


@asynccontextmanager
async def connect_to(
    settings: Settings,
    *,
    workers: bool | None = None,
    timing: Timing = Timing(),  # noqa: B008  # frozen
) -> AsyncIterator[Opened]:
    """`connect`, with the back ends beside the inventory."""
    settings = absolute(settings)
    async with AsyncExitStack() as exits:
        stack = await exits.enter_async_context(_open(settings, own_worker=workers is None))
        if workers:
            await exits.enter_async_context(running_workers(stack))
        shard = stack.shard()
        exits.callback(shard.close)
        keys = await asyncio.to_thread(receipt_keys, settings)
        signer = Signer(stack.ledger.ledger_id, keys) if keys else None
        inventory = _inventory(stack, shard, signer, timing)
        await exits.enter_async_context(inventory)
        yield Opened(inventory, stack, shard)


@asynccontextmanager
async def running_workers(stack: Stack, roles: Sequence[str] = ROLES) -> AsyncIterator[WorkerLoop]:
    """Run workers in this process; on leaving, what waits is sent and applied first."""
    async with AsyncExitStack() as exits:
        shard = stack.shard()
        exits.callback(shard.close)
        broker = await exits.enter_async_context(stack.broker())
        relay = Relay(
            shard,
            stack.ledger,
            broker,
            stack.signals,
            stack.clock,
            interval_ms=stack.settings.relay_interval_ms,
            spans=stack.spans,
        )
        makers: dict[str, Role] = {
            "relay": relay,
            "applier": Applier(broker, stack.ledger, stack.signals, stack.spans),
            "replenisher": Replenisher(stack.ledger, shard, stack.signals, stack.clock, stack.spans),
            "recoverer": _recoverer(stack, shard),
            "reaper": Reaper(shard, stack.ledger, stack.signals, stack.clock),
        }
        loop = WorkerLoop([makers[name] for name in roles], stack.clock)
        loop.start()
        exits.push_async_callback(loop.stop)
        if "relay" in roles:
            exits.push_async_callback(_drain, relay)
        yield loop


async def _drain(relay: Relay) -> None:
    try:
        await relay.drain(_DRAIN_TIMEOUT_MS)
    except (Lost, BackendUnavailable) as error:
        _log.warning("a back end is away: what waits is sent when workers run again", why=str(error))


async def recover(settings: Settings, *, patience_s: float = 30.0) -> bool:
    """Give every partition that is fenced a new incarnation now, without waiting for better proof of what it has.

    Returns:
        Whether all partitions that ever had stock are armed; False after `patience_s` seconds.

    Raises:
        InvalidSettings, BackendUnavailable: it cannot start.
    """
    settings = absolute(settings)
    async with (
        _open(settings, own_worker=True) as stack,
        running_workers(stack, ("relay", "applier")),
        AsyncExitStack() as exits,
    ):
        shard = stack.shard()
        exits.callback(shard.close)
        recoverer = _recoverer(stack, shard, lost_after_ms=0)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while True:
                    with suppress(Lost, BackendUnavailable):
                        await recoverer.look()
                        if await _all_armed(stack, shard):
                            return True
                    await asyncio.sleep(_RECOVER_LOOK_S)
        return False


async def _all_armed(stack: Stack, shard: WireShard) -> bool:
    rows = [row for row in latest(await stack.ledger.partitions()) if row.state != "new"]
    statuses = await reachable(shard, [row.ref for row in rows])
    return all(row.state == "open" and row.ref in statuses and statuses[row.ref].armed for row in rows)


def _recoverer(stack: Stack, shard: WireShard, lost_after_ms: int = 15_000) -> Recoverer:
    renewal = Renewal(
        shard,
        stack.ledger,
        stack.signals,
        stack.clock,
        durability_of_new=stack.shards.partition_durability,
        quarantine_ms=stack.settings.quarantine_ms,
    )
    return Recoverer(
        shard,
        stack.ledger,
        stack.signals,
        stack.clock,
        renewal,
        prepare=stack.shards.prepare,
        replica_acks=stack.settings.replica_acks,
        lost_after_ms=lost_after_ms,
    )


# Is with the workers of a process while they work: for whoever tells of them.
Watch = Callable[[Stack, WorkerLoop], AbstractAsyncContextManager[None]]


def unwatched(_stack: Stack, _loop: WorkerLoop) -> AbstractAsyncContextManager[None]:
    """Nobody tells of the workers."""
    return nullcontext()


async def run_worker(
    settings: Settings, roles: Sequence[str] = ROLES, *, stop: asyncio.Event, watch: Watch = unwatched
) -> None:
    """Be a worker process until `stop` is set; in an embedded folder, the folder's worker, until nobody is left.

    Raises:
        InvalidSettings, BackendUnavailable: it cannot start; another worker is at work in the embedded folder.
    """
    with exporting(settings):
        await _run_worker(absolute(settings), roles, stop, watch)


async def _run_worker(settings: Settings, roles: Sequence[str], stop: asyncio.Event, watch: Watch) -> None:
    folder = settings.embedded_folder
    if folder is None:
        async with open_stack(settings) as stack, running_workers(stack, roles) as loop, watch(stack, loop):
            await stop.wait()
        return
    async with WorkerSeat(folder, durability=settings.durability, on_server_started=_load_library) as seat:
        async with open_stack(settings, lambda: seat.socket) as stack:
            async with running_workers(stack, roles) as loop, watch(stack, loop):
                await _first_of(seat.alone(), stop.wait())
            if not stop.is_set():
                await _seal(stack)
        if not stop.is_set():
            await seat.stop_server()


async def migrate(settings: Settings, *, post: bool = False) -> str:
    """Bring the ledger's schema and the shard's function library up to date. Returns the ledger's id.

    Replacing the library fences every partition until the recoverer has proven its memory, which takes about a second.

    Args:
        post: only the ledger's, and also what takes away what earlier versions need: when none of them runs any more.
    """
    settings = absolute(settings)
    async with reach(settings, own_worker=False) as socket_of:
        ledger_id = await asyncio.to_thread(
            migrate_ledger, settings.ledger_url, clock=SystemClock(), token_hex=secrets.token_hex, post=post
        )
        if post:
            return ledger_id
        async with open_admin(settings, socket_of) as shards:
            await shards.replace_library()
        async with open_stack(settings, socket_of) as stack:
            return stack.ledger.ledger_id


def absolute(settings: Settings) -> Settings:
    """The same settings with absolute paths: they are handed to processes that may run elsewhere."""
    changes = {}
    if settings.ledger_path is not None:
        changes["ledger_url"] = f"sqlite:///{settings.ledger_path.absolute()}"
    if settings.embedded_folder is not None:
        changes["shard_url"] = f"embedded:{settings.embedded_folder.absolute()}"
    return settings.model_copy(update=changes)


@asynccontextmanager
async def _open(settings: Settings, *, own_worker: bool) -> AsyncIterator[Stack]:
    async with reach(settings, own_worker=own_worker) as socket_of, open_stack(settings, socket_of) as stack:
        yield stack


@asynccontextmanager
async def reach(settings: Settings, *, own_worker: bool) -> AsyncIterator[Callable[[], Path] | None]:
    """Use the embedded folder, if the settings name one: gives where its server listens now, else None."""
    folder = settings.embedded_folder
    if folder is None:
        yield None
        return
    worker, environment = worker_command(settings)
    async with EmbeddedFolder(
        folder,
        durability=settings.durability,
        worker=worker if own_worker else None,
        worker_environment=environment,
        on_server_started=_load_library,
    ) as home:
        yield lambda: home.socket


def worker_command(settings: Settings) -> tuple[list[str], dict[str, str]]:
    """The command line of an embedded folder's worker process, and what its environment has besides ours: everybody may
    read the former, so the settings, which may have passwords, are in the latter."""
    told = settings.model_dump_json(exclude={"api_keys", "receipt_keys"})
    return [sys.executable, "-m", "hotsku.embedded_worker", settings.shard_url], {WORKER_SETTINGS: told}


def _inventory(stack: Stack, shard: WireShard, signer: Signer | None, timing: Timing) -> Inventory:
    board = NeedsBoard(secrets.token_hex(8), stack.signals, stack.clock)
    paths = ItemPaths(
        ledger=stack.ledger,
        shard=shard,
        clock=stack.clock,
        board=board,
        relay_max_events=stack.settings.relay_max_events,
        draw_id=_OrderIds(),
        pick=secrets.randbelow,
        timing=timing,
        signer=signer,
    )
    return Inventory(
        ledger=stack.ledger,
        shard=shard,
        signals=stack.signals,
        clock=stack.clock,
        paths=paths,
        board=board,
        durability=stack.shards.partition_durability(),
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
    async with open_admin(Settings(shard_url=f"unix://{socket}")) as shards:
        await shards.replace_library()


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
