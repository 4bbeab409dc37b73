"""One client process as the demo sees it: started, told, heard, and started again where somebody killed it."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable

import msgspec

from hotsku.cli.demo.plan import remaining
from hotsku.cli.demo.wire import LINE_LIMIT, Orders, Report, Start, from_line, to_line
from hotsku.errors import BackendUnavailable, HotSKUError, InvalidSettings

# A client that dies so often without an answer in between has more wrong with it than a kill.
_MOST_DEATHS = 3
_HANG_UP_PATIENCE_S = 15.0

OnReport = Callable[[Report], None]


class ClientProcess:
    """A client process, and what it has still to send.

    Args:
        start: what it connects to.
        quantities: units of each order, by number.
        on_report: called with every report.
    """

    def __init__(self, start: Start, quantities: list[int], on_report: OnReport) -> None:
        self._start = start
        self._quantities = quantities
        self._on_report = on_report
        self._assigned: list[int] = []
        self._answers: Counter[int] = Counter()
        self._final = False
        self._stopping = False
        self._process: asyncio.subprocess.Process | None = None
        self.ready = asyncio.Event()
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return self._process.pid if self._process else None

    def assign(self, orders: list[int], *, urgent: bool = False) -> None:
        """Give it orders to send; urgent ones before what it has."""
        self._assigned.extend(orders)
        if self.ready.is_set():
            self._tell(self._orders(orders, urgent=urgent))

    def finish(self) -> None:
        """No more orders will follow: it ends when it has sent what it has."""
        self._final = True
        if self.ready.is_set():
            self._tell(Orders(orders=[], final=True))

    async def run(self) -> None:
        """Keep it running until it has sent everything or `stop` is called.

        Raises:
            HotSKUError: it cannot go on, or dies again and again.
        """
        deaths = 0
        while True:
            self.ready.clear()
            answered_before = self._answers.total()
            if await self._run_once() or self._stopping:
                return
            deaths = 1 if self._answers.total() > answered_before else deaths + 1
            if deaths >= _MOST_DEATHS:
                raise BackendUnavailable(f"a client process of the demo ended {deaths} times before it was answered")
            self.restarts += 1

    async def stop(self) -> None:
        """Hang up: it hears the answers that it waits for, tells them, and ends. One that does not is killed."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_HANG_UP_PATIENCE_S):
                await process.wait()
        except TimeoutError:
            process.kill()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _run_once(self) -> bool:
        """One life of the process; whether it has sent everything."""
        # Its standard error is ours: what it has to say there is for people.
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "hotsku.cli.demo.client",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
        )
        if self._stopping:
            self.kill()
        try:
            self._tell(self._start)
            return await self._hear()
        finally:
            self.kill()
            await self._process.wait()

    async def _hear(self) -> bool:
        stdout = self._process.stdout if self._process else None
        while stdout is not None and (line := await stdout.readline()):
            try:
                report = from_line(line, Report)
            except msgspec.MsgspecError:
                return False  # it was killed in the middle of a line
            if report.error is not None:
                raise _fault(report)
            if report.done:
                return True
            self._answers.update(report.accepted)
            self._answers.update(report.replayed)
            for orders in report.refused.values():
                self._answers.update(orders)
            if report.ready:
                self._begin()
            self._on_report(report)
        return False

    def _begin(self) -> None:
        """It is connected: tell it all that it has still to send."""
        self.ready.set()
        orders = self._orders(remaining(self._assigned, self._answers))
        orders.final = self._final
        self._tell(orders)

    def _orders(self, orders: list[int], *, urgent: bool = False) -> Orders:
        quantities = [self._quantities[order] for order in orders]
        return Orders(orders=orders, quantities=quantities if any(q != 1 for q in quantities) else [], urgent=urgent)

    def _tell(self, message: Start | Orders) -> None:
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(to_line(message))


def _fault(report: Report) -> HotSKUError:
    kind = InvalidSettings if report.status == 2 else BackendUnavailable
    return kind(f"a client process of the demo gave up: {report.error}")
