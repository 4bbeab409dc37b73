"""The one loop that runs the roles of a worker: starts them, starts again what failed, stops them cleanly."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from typing import Protocol

from hotsku.backoff import Backoff, end_if_cancelled
from hotsku.log import get_logger
from hotsku.ports import Clock

# A role that ran for so long had started well: when it fails then, it is started again at once.
_RAN_WELL_MS = 10_000.0

_log = get_logger("workers")


class Role(Protocol):
    """One worker's work. Safe to run twice at once, and to end at any point."""

    @property
    def name(self) -> str: ...

    async def run(self) -> None:
        """Work until cancelled."""
        ...


class WorkerLoop:
    """Runs roles as tasks. One that raises is logged and started again, later each time it fails soon.

    `failures` says how often each has raised since the start.
    """

    def __init__(self, roles: Sequence[Role], clock: Clock) -> None:
        self.roles = roles
        self.failures: Counter[str] = Counter()
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def running(self) -> bool:
        return bool(self._tasks)

    def start(self) -> None:
        """Start every role, inside a running event loop; again: nothing happens."""
        if not self._tasks:
            # In a context of their own: a span that happens to be current here is not what they work for.
            self._tasks = [
                asyncio.create_task(self._keep_running(role), name=role.name, context=Context()) for role in self.roles
            ]

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set or the caller is cancelled."""
        self.start()
        try:
            await stop.wait()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Cancel every role and wait for their ends. Drain the relay first where nothing may wait."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def _keep_running(self, role: Role) -> None:
        backoff = Backoff(first_s=0.1, most_s=5.0)
        while True:
            started_ms = self._clock.monotonic_ms()
            try:
                await role.run()
            except Exception:
                end_if_cancelled()
                self.failures[role.name] += 1
                if self._clock.monotonic_ms() - started_ms >= _RAN_WELL_MS:
                    backoff.reset()
                delay_s = backoff.next_s()
                _log.exception("a role failed and is started again", role=role.name, delay_s=delay_s)
                await asyncio.sleep(delay_s)
            else:
                _log.info("a role has ended", role=role.name)
                return
