"""CPU seconds a million deductions, as partitions and items grow."""

import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

from hotsku.bench.callers import closed_loop
from hotsku.bench.report import Chart, Figure, Measured, Section
from hotsku.bench.rounds import Plan, Side, alternate
from hotsku.bench.sections.bulk import ORDERS_A_CALL, orders_from, sell_in_calls
from hotsku.bench.selling import new_item, single_call, single_side
from hotsku.bench.servers import Shop, open_shop

NAME = "growth"
CALLERS = 512
PARTITIONS = (1, 8, 64)
ITEMS = (1, 100, 1000)
_EACH = 64  # callers a partition, where they grow along
_EACH_ITEM = 16
_FLAT = 1.2
_ITEM_TOTAL = 10_000_000
_ZIPF = "1,000 items of 1 partition, Zipf"
_DRAWS = 10_007
_MOST_PER_S = 1_000_000  # more than any machine answers


async def measure(plan: Plan, folder: Path) -> Section:
    """The same callers over more and more partitions and items (of one partition each, bought in turns: every one is as
    hot; and once hot and cold mixed, as in a shop); then callers that grow along; then calls of 1,000 orders.
    """
    async with open_shop(plan.settings, folder) as shop:
        spread: dict[str, Side] = {_partitions(count): single_side(plan, shop, CALLERS, count) for count in PARTITIONS}
        along = {
            f"{_partitions(count)}, {_EACH * count:,} callers": single_side(plan, shop, _EACH * count, count)
            for count in PARTITIONS
        }
        plan.say(f"creating {ITEMS[-1]} items")
        shelf = _Shelf(shop, [await new_item(shop, 1, _ITEM_TOTAL) for _ in range(ITEMS[-1])])
        items = {count: partial(shelf.items, count) for count in ITEMS}
        lukewarm = {_items(count): _singles(plan, shop, shelf, items[count], CALLERS) for count in ITEMS}
        zipf = {_ZIPF: _singles(plan, shop, shelf, shelf.mixed, CALLERS)}
        many = {
            f"{_items(count)}, {_EACH_ITEM * count:,} callers": _singles(
                plan, shop, shelf, items[count], _EACH_ITEM * count
            )
            for count in ITEMS
        }
        bulk = {f"{_items(count)}, deduct_many": _calls(plan, shop, shelf, items[count]) for count in ITEMS}
        groups = [spread, lukewarm, zipf, along, many, bulk]
        rows = await alternate(plan, {name: side for group in groups for name, side in group.items()})
    section = Section(name=NAME, title="Growth: CPU seconds of client and server a million deductions", rows=rows)
    section.figures = [
        _flat("64 partitions to the cheapest, the same callers", section, spread),
        _flat("1,000 items to the cheapest, the same callers", section, lukewarm),
        _flat(f"64 partitions to the cheapest, {_EACH} callers each", section, along),
        _flat(f"1,000 items to the cheapest, {_EACH_ITEM} callers each", section, many),
        _flat("1,000 items to the cheapest, deduct_many", section, bulk),
    ]
    section.notes.append(f"{CALLERS} callers where a row does not say otherwise; deduct_many has 1,000 orders a call")
    section.charts = [
        Chart(
            title="CPU seconds a million deductions",
            labels=[row.name for row in rows],
            series={"CPU s": [row.cpu_per_million for row in rows]},
        )
    ]
    return section


class _Shelf:
    """Items that sides sell. A thousand are shared, and no order's number comes twice; fewer are made anew for each
    round, for a partition takes no more than a million sales that the ledger does not have."""

    def __init__(self, shop: Shop, shared: list[str]) -> None:
        self._shop = shop
        self._shared = shared
        self._next = 0

    def numbers(self, count: int) -> int:
        """The first of so many numbers that nobody had."""
        first, self._next = self._next, self._next + count
        return first

    @asynccontextmanager
    async def items(self, count: int) -> AsyncIterator[list[str]]:
        """So many items, to be sold in turns."""
        if count == len(self._shared):
            yield self._shared
            return
        made = [await new_item(self._shop, 1, _ITEM_TOTAL) for _ in range(count)]
        yield made
        for sku in made:
            await self._shop.forget(sku)

    @asynccontextmanager
    async def mixed(self) -> AsyncIterator[list[str]]:
        """Items as buyers draw them: the second is bought half as often as the first, the third a third as often."""
        weights = [1 / rank for rank in range(1, len(self._shared) + 1)]
        yield random.Random(_DRAWS).choices(self._shared, weights=weights, k=_DRAWS)


Items = Callable[[], AbstractAsyncContextManager[list[str]]]


def _partitions(count: int) -> str:
    return f"1 item of {count} partition{'s' if count > 1 else ''}"


def _items(count: int) -> str:
    return f"{count:,} item{'s' if count > 1 else ''} of 1 partition, in turns"


def _flat(name: str, section: Section, sides: Iterable[str]) -> Figure:
    rows = [section.row(side) for side in sides]
    cheapest = min(row.cpu_per_million for row in rows)
    return Figure(name=name, value=rows[-1].cpu_per_million / cheapest, unit="times", most=_FLAT)


def _singles(plan: Plan, shop: Shop, shelf: _Shelf, items: Items, callers: int) -> Side:
    most = int(plan.seconds * _MOST_PER_S) + callers

    async def side() -> Measured:
        async with items() as skus:
            call, first = single_call(shop.stock, skus), shelf.numbers(most)
            return await shop.measured(closed_loop(plan.clock, call, callers, plan.seconds, first))

    return side


def _calls(plan: Plan, shop: Shop, shelf: _Shelf, items: Items) -> Side:
    calls = 100 if plan.quick else 400

    async def side() -> Measured:
        first = shelf.numbers(calls * ORDERS_A_CALL)
        orders = [orders_from(first + number * ORDERS_A_CALL) for number in range(calls)]
        async with items() as skus:
            return await shop.measured(sell_in_calls(plan, shop, skus, orders))

    return side
