"""What a worker process counts, left in a file for a gateway beside it: whoever scrapes the gateway is told of both."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct, field

from hotsku.domain.events import PartitionRef
from hotsku.stack import Stack
from hotsku.workers.applier import Applier
from hotsku.workers.loop import WorkerLoop
from hotsku.workers.relay import Relay
from hotsku.workers.replenisher import Replenisher

_INTERVAL_S = 0.5


class Published(Struct, frozen=True):
    """How far the relay has sent a partition's events."""

    ref: PartitionRef
    incarnation: int
    seq: int


class WorkerCounts(Struct):
    """What one worker has counted since its start. `published` is None where it runs no relay."""

    failures: dict[str, int] = field(default_factory=dict)
    messages: dict[str, int] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    published: list[Published] | None = None


def counts_of(loop: WorkerLoop) -> WorkerCounts:
    """What a worker's roles count, as of now."""
    counts = WorkerCounts(failures=dict(loop.failures))
    for role in loop.roles:
        if isinstance(role, Applier):
            counts.messages = dict(role.counts)
        elif isinstance(role, Replenisher):
            counts.steps = dict(role.counts)
        elif isinstance(role, Relay):
            counts.published = [Published(ref, *sent) for ref, sent in role.published().items()]
    return counts


def leaving_counts(file: Path) -> Callable[[Stack, WorkerLoop], AbstractAsyncContextManager[None]]:
    """What `hotsku.app.run_worker` is to be watched by, to have its counts left in a file."""

    @asynccontextmanager
    async def watch(_: Stack, loop: WorkerLoop) -> AsyncIterator[None]:
        leaving = asyncio.create_task(_leave(loop, file))
        try:
            yield
        finally:
            leaving.cancel()
            await asyncio.wait([leaving])

    return watch


def counts_file(folder: Path) -> Path:
    """The file in a folder where its worker leaves its counts."""
    return folder / "worker.counts"


def read_counts(file: Path) -> WorkerCounts | None:
    """What a worker has left; None where there is nothing to be read."""
    try:
        return msgspec.msgpack.decode(file.read_bytes(), type=WorkerCounts)
    except (OSError, msgspec.MsgspecError):
        return None


async def _leave(loop: WorkerLoop, file: Path) -> None:
    fresh = file.with_suffix(".new")
    while True:
        with suppress(OSError):  # a full disk is no reason to stop working
            fresh.write_bytes(msgspec.msgpack.encode(counts_of(loop)))
            fresh.replace(file)
        await asyncio.sleep(_INTERVAL_S)
