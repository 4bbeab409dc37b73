"""One client process of the demo: `python -m hotsku.cli.demo.client`, told what to do on stdin (see `wire`).

Many callers take the next order from one queue and send it; every answer is told on stdout, a few times a second.
"""

import asyncio
import signal
import sys
from collections import deque

import uvloop

from hotsku.app import connect
from hotsku.cli.demo.wire import LINE_LIMIT, Orders, Report, Start, buyer_id, from_line, order_id, to_line
from hotsku.cli.exits import explain
from hotsku.cli.histogram import bucket_of
from hotsku.cli.persistence import RETRYABLE, Persistence
from hotsku.clock import SystemClock
from hotsku.domain.deduction import Deduction, Outcome
from hotsku.engine.inventory import Inventory
from hotsku.settings import Settings

_REPORT_EVERY_S = 0.02
# How long callers may take to hear the answers that they wait for when the demo is interrupted.
_STOP_PATIENCE_S = 6.0


class Client:
    """The callers, and what they heard since the last report."""

    def __init__(self, stock: Inventory, sku: str) -> None:
        self._stock = stock
        self._sku = sku
        self._clock = SystemClock()
        self._persistence = Persistence(self._clock)
        self._queue: deque[int] = deque()
        self._quantities: dict[int, int] = {}
        self._more = asyncio.Event()
        self._final = False
        self._report = Report()

    def take(self, orders: Orders) -> None:
        """Orders to send."""
        self._quantities.update(zip(orders.orders, orders.quantities, strict=False))
        if orders.urgent:
            self._queue.extendleft(reversed(orders.orders))
        else:
            self._queue.extend(orders.orders)
        self._final = self._final or orders.final
        self._more.set()

    def stop(self) -> None:
        """Send nothing more."""
        self._queue.clear()
        self._final = True
        self._more.set()

    def report(self) -> Report:
        """What was heard since the last report."""
        report, self._report = self._report, Report()
        report.retries, self._persistence.retries = self._persistence.retries, 0
        return report

    async def call(self) -> None:
        """Be one caller: send orders, one after the other, until there are no more."""
        queue, clock, deduct, sku = self._queue, self._clock, self._stock.deduct, self._sku
        quantity_of = self._quantities.get
        while True:
            if not queue:
                if self._final:
                    return
                self._more.clear()
                await self._more.wait()
                continue
            order = queue.popleft()
            since_ms = clock.monotonic_ms()
            try:
                answer = await deduct(sku, quantity_of(order, 1), order_id=order_id(order), buyer_id=buyer_id(order))
            except RETRYABLE:
                answer = await self._persistence.again(lambda order=order: self._attempt(order))  # type: ignore[misc]
            self._note(order, answer, since_ms)

    async def _attempt(self, order: int) -> Deduction:
        return await self._stock.deduct(
            self._sku, self._quantities.get(order, 1), order_id=order_id(order), buyer_id=buyer_id(order)
        )

    def _note(self, order: int, answer: Deduction, since_ms: float) -> None:
        report = self._report
        now_ms = self._persistence.answered_ms = self._clock.monotonic_ms()
        bucket = bucket_of(now_ms - since_ms)
        report.latencies[bucket] = report.latencies.get(bucket, 0) + 1
        if answer.outcome is not Outcome.ACCEPTED:
            report.refused.setdefault(answer.outcome, []).append(order)
        elif answer.replayed:
            report.replayed.append(order)
        else:
            report.accepted.append(order)


async def _serve(stdin: asyncio.StreamReader) -> None:
    start = from_line(await stdin.readline(), Start)
    async with connect(_settings(start)) as stock:
        await stock.deduct_many(start.sku, [])  # loads the item, so that the first order does not have to
        client = Client(stock, start.sku)
        _tell(Report(ready=True))
        hearing = asyncio.create_task(_hear(client, stdin))
        reporting = asyncio.create_task(_report(client))
        try:
            await _sell(client, start.callers, hearing)
        finally:
            for task in (hearing, reporting):
                task.cancel()
            _tell(client.report())
    _tell(Report(done=True))


async def _sell(client: Client, callers: int, hearing: "asyncio.Task[None]") -> None:
    """Run the callers until they are through, or until the demo has hung up and they have heard their last answers."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.call()) for _ in range(callers)]
        calling = group.create_task(_all_done(tasks))
        await asyncio.wait([calling, hearing], return_when=asyncio.FIRST_COMPLETED)
        if not calling.done():
            client.stop()
            await asyncio.wait([calling], timeout=_STOP_PATIENCE_S)
            for task in tasks:
                task.cancel()


async def _all_done(tasks: "list[asyncio.Task[None]]") -> None:
    await asyncio.wait(tasks)


async def _hear(client: Client, stdin: asyncio.StreamReader) -> None:
    """Take orders until the demo hangs up, in order or because it was killed."""
    while line := await stdin.readline():
        client.take(from_line(line, Orders))


async def _report(client: Client) -> None:
    while True:
        await asyncio.sleep(_REPORT_EVERY_S)
        report = client.report()
        if report.latencies or report.retries:
            _tell(report)


def _tell(report: Report) -> None:
    sys.stdout.buffer.write(to_line(report))
    sys.stdout.buffer.flush()


def _settings(start: Start) -> Settings:
    values: dict[str, object] = dict(start.settings)
    return Settings(None, **values)


async def _main() -> None:
    reader = asyncio.StreamReader(limit=LINE_LIMIT)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await _serve(reader)


def main() -> int:
    """Run the client. Returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the demo hears the Ctrl-C, and hangs up
    try:
        uvloop.run(_main())
    except BrokenPipeError:
        return 0  # the demo was killed
    except Exception as error:
        line, status = explain(error)
        _tell(Report(error=line, status=status))
        return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
