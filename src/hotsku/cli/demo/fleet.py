"""The demo's client processes together: they start at once, and meet in the waves of orders that two send at a time."""

import asyncio
from collections.abc import Callable

from hotsku.cli.demo.plan import Plan, Wave
from hotsku.cli.demo.process import ClientProcess
from hotsku.cli.demo.tally import Tally
from hotsku.cli.demo.wire import Report, Start
from hotsku.ports import Clock


class Fleet:
    """Runs a plan.

    Args:
        plan: who sends what.
        start: what each client connects to.
        clock: dates the reports.
        progress: called with the number of answers so far.
    """

    def __init__(self, plan: Plan, start: Start, clock: Clock, progress: Callable[[int], None]) -> None:
        self._plan = plan
        self._clock = clock
        self._progress = progress
        self._waves: list[Wave] = list(reversed(plan.waves))
        self._began_ms = 0.0
        self._heard_ms = 0.0
        self._selling = False
        self.tally = Tally(plan.quantities)
        self.clients = [ClientProcess(start, plan.quantities, self._hear) for _ in plan.shares]

    @property
    def restarts(self) -> int:
        """How often a client was started again."""
        return sum(client.restarts for client in self.clients)

    @property
    def seconds(self) -> float:
        """From the first order to the last answer."""
        return max(0.0, self._heard_ms - self._began_ms) / 1000

    async def run(self, stop: asyncio.Event) -> None:
        """Start the clients, sell, and end when all is answered or `stop` is set.

        Raises:
            HotSKUError: a client cannot go on.
        """
        opening, stopping = asyncio.create_task(self._open()), asyncio.create_task(self._stop_when(stop))
        try:
            async with asyncio.TaskGroup() as group:
                for client in self.clients:
                    group.create_task(client.run())
        finally:
            for task in (opening, stopping):
                task.cancel()
            await asyncio.gather(opening, stopping, return_exceptions=True)

    async def _stop_when(self, stop: asyncio.Event) -> None:
        await stop.wait()
        await asyncio.gather(*(client.stop() for client in self.clients))

    async def _open(self) -> None:
        await asyncio.gather(*(client.ready.wait() for client in self.clients))
        self._began_ms = self._heard_ms = self._clock.monotonic_ms()
        self._selling = True
        self._send_due_waves()
        for client, share in zip(self.clients, self._plan.shares, strict=True):
            client.assign(share)
            if not self._waves:
                client.finish()

    def _hear(self, report: Report) -> None:
        if report.answers:
            self._heard_ms = self._clock.monotonic_ms()
        self.tally.add(report, (self._clock.monotonic_ms() - self._began_ms) / 1000 if self._selling else 0.0)
        self._progress(self.tally.answers)
        if self._selling and self._waves:
            self._send_due_waves()
            if not self._waves:
                for client in self.clients:
                    client.finish()

    def _send_due_waves(self) -> None:
        while self._waves and self._waves[-1].after_answers <= self.tally.answers:
            wave = self._waves.pop()
            for process in wave.processes:
                self.clients[process].assign(wave.orders, urgent=True)
