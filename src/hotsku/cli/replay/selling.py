"""Sells a log: puts its items on sale, then sends its lines in their order, many at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

from hotsku.cli.exits import UsageError
from hotsku.cli.persistence import RETRYABLE, Persistence
from hotsku.cli.replay.log import BadLine, LogLine
from hotsku.cli.replay.pace import Pace
from hotsku.cli.replay.tally import ReplayTally
from hotsku.domain.deduction import Deduction
from hotsku.engine.inventory import Inventory
from hotsku.errors import IdempotencyConflict, InvalidRequest, UnknownItem
from hotsku.ports import Clock

T = TypeVar("T")

CALLERS = 1024
_ITEMS_AT_A_TIME = 16


async def open_items(stock: Inventory, skus: Iterable[str], units: dict[str, int]) -> dict[str, int]:
    """See that every item of the log exists, and make those that do not, with their `units`.

    Returns:
        What each had sold before, in units.

    Raises:
        UsageError: an item does not exist and has no units; nothing was made.
        IdempotencyConflict: an item exists with another total.
    """
    found = await _each(skus, lambda sku: _sold_before(stock, sku, units.get(sku)))
    missing = [sku for sku, sold in found.items() if sold is None and sku not in units]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UsageError(
            f"the item {missing[0]!r}{more} does not exist and has no stock; give it one: --stock SKU=UNITS"
        )
    new = [sku for sku, sold in found.items() if sold is None]

    async def make(sku: str) -> None:
        await stock.create_item(sku, units[sku])

    await _each(new, make)

    async def load(sku: str) -> None:
        await stock.deduct_many(sku, [])  # so that the first lines are sent in their order, too

    await _each(found, load)
    return {sku: sold or 0 for sku, sold in found.items()}


async def _sold_before(stock: Inventory, sku: str, units: int | None) -> int | None:
    try:
        view = await stock.item(sku)
    except UnknownItem:
        return None
    if units is not None and view.total != units:
        raise IdempotencyConflict(f"the item {sku!r} exists with a total of {view.total}, not {units}")
    return view.sold


async def _each(skus: Iterable[str], work: Callable[[str], Awaitable[T]]) -> dict[str, T]:
    """Do `work` for each SKU, a few at a time."""
    remaining = iter(list(skus))
    done: dict[str, T] = {}

    async def worker() -> None:
        for sku in remaining:
            done[sku] = await work(sku)

    async with asyncio.TaskGroup() as group:
        for _ in range(_ITEMS_AT_A_TIME):
            group.create_task(worker())
    return done


class LogSeller:
    """Sends the lines of a log, in their order.

    Args:
        lines: the log.
        tally: hears the answers.
        pace: when lines are due.
    """

    def __init__(
        self, stock: Inventory, lines: Iterator[LogLine | BadLine], tally: ReplayTally, pace: Pace, clock: Clock
    ) -> None:
        self._stock = stock
        self._lines = lines
        self._tally = tally
        self._pace = pace
        self._clock = clock
        self._persistence = Persistence(clock)
        self._turn = asyncio.Lock()

    async def run(self, stop: asyncio.Event) -> None:
        """Send every line and hear every answer; once `stop` is set, only hear what is under way."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(self._call(stop))

    async def _call(self, stop: asyncio.Event) -> None:
        """One caller: take the next line, wait until it is due, send it, hear its answer."""
        while True:
            async with self._turn:  # so that lines leave in their order, also those that wait
                line = None if stop.is_set() else next(self._lines, None)
                if line is None or not await self._due(line, stop):
                    return
            await self._answer(line)

    async def _due(self, line: LogLine | BadLine, stop: asyncio.Event) -> bool:
        """Wait until the line is due; False where `stop` came first."""
        at_ms = line.at_ms if isinstance(line, LogLine) else None
        delay_s = self._pace.delay_s(at_ms, self._clock.monotonic_ms())
        if delay_s:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), delay_s)
        return not stop.is_set()

    async def _answer(self, line: LogLine | BadLine) -> None:
        if isinstance(line, BadLine):
            self._tally.bad(line)
            return
        try:
            self._tally.hear(line, await self._deduct(line))
        except IdempotencyConflict:
            self._tally.conflict(line)
        except InvalidRequest as error:  # the item itself may forbid what others allow
            self._tally.bad(BadLine(line.number, str(error), line.sku))
        self._persistence.answered_ms = self._clock.monotonic_ms()

    async def _deduct(self, line: LogLine) -> Deduction:
        try:
            return await self._attempt(line)
        except RETRYABLE:
            return await self._persistence.again(lambda: self._attempt(line))

    async def _attempt(self, line: LogLine) -> Deduction:
        return await self._stock.deduct(line.sku, line.quantity, order_id=line.order_id, buyer_id=line.buyer_id)
