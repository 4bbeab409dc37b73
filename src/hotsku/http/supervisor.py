"""Keeps the processes of `hotsku serve` alive: starts them, starts again what died, and ends them in order."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress

from msgspec import Struct

from hotsku.backoff import Backoff
from hotsku.errors import BackendUnavailable, HotSKUError
from hotsku.http.process import READY
from hotsku.log import get_logger
from hotsku.ports import Clock

# A process that ran for so long had started well.
_RAN_WELL_MS = 10_000.0

_log = get_logger("http")


class Job(Struct, frozen=True):
    """One process to keep.

    Attributes:
        name: for people.
        module: what Python runs.
        told: the line on its stdin; closing it ends the process.
        fds: file descriptors that it inherits.
        says_ready: whether it says so when it is.
        patience_s: how long it may take to end.
    """

    name: str
    module: str
    told: bytes
    fds: tuple[int, ...] = ()
    says_ready: bool = True
    patience_s: float = 30.0


class Failed(HotSKUError):
    """A process could not start; it has said why. `status` is its exit status."""

    def __init__(self, name: str, status: int) -> None:
        super().__init__(f"the {name} could not start")
        self.status = status


class Kept:
    """One process, and its successors."""

    def __init__(self, job: Job, clock: Clock) -> None:
        self._job = job
        self._clock = clock
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._killed = False

    async def start(self) -> None:
        """Start it, wait until it is ready, and keep it from then on.

        Raises:
            Failed: it ended before it was ready.
        """
        await self._spawn()
        if not await self._ready():
            raise Failed(self._job.name, await self._wait())
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End it in order; kill it when that takes too long.

        Raises:
            BackendUnavailable: it did not end well.
        """
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        process = self._process
        if process is None or process.returncode is not None:
            return
        if self._killed:
            await process.wait()
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(self._job.patience_s):
                status = await process.wait()
        except TimeoutError:
            process.kill()
            status = await process.wait()
        if status != 0:
            raise BackendUnavailable(f"the {self._job.name} ended with status {status}")

    def give_up(self) -> None:
        """End it at once where it is not ready; what is ready has callers, and is for `stop`."""
        if self._keeper is None:
            self.kill()

    def kill(self) -> None:
        """End it at once; `stop` then waits for that alone."""
        self._killed = True
        if self._keeper is not None:
            self._keeper.cancel()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._job.module,
            stdin=PIPE,
            stdout=PIPE if self._job.says_ready else asyncio.subprocess.DEVNULL,
            pass_fds=self._job.fds,
            start_new_session=True,  # a Ctrl-C is for us alone: we end them in order
        )
        if self._process.stdin is not None:
            self._process.stdin.write(self._job.told + b"\n")

    async def _ready(self) -> bool:
        if self._process is None or self._process.stdout is None:
            return True
        return await self._process.stdout.readline() == READY

    async def _wait(self) -> int:
        return await self._process.wait() if self._process is not None else 0

    async def _keep(self) -> None:
        backoff = Backoff(first_s=0.1, most_s=5.0)
        started_ms = self._clock.monotonic_ms()
        while True:
            status = await self._wait()
            if self._clock.monotonic_ms() - started_ms >= _RAN_WELL_MS:
                backoff.reset()
            delay_s = backoff.next_s()
            _log.error("a process died and is started again", process=self._job.name, status=status, delay_s=delay_s)
            await asyncio.sleep(delay_s)
            started_ms = self._clock.monotonic_ms()
            await self._spawn()
            await self._ready()


async def start_all(kept: Sequence[Kept]) -> None:
    """Start all of them: the first alone, for what keeps it from starting would keep all, and be said by each.

    Whoever calls it stops them, also where it raises or is cancelled: those that were ready have taken requests.

    Raises:
        Failed: one could not start; the others that are not ready are ended.
    """
    first, *others = kept
    try:
        await first.start()
        await asyncio.gather(*(each.start() for each in others))
    except BaseException:
        for each in kept:
            each.give_up()
        raise
