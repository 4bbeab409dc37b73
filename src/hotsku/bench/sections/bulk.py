"""`deduct_many`, durable, against the shard alone."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from hotsku.bench.blind import blind_side
from hotsku.bench.report import Chart, Figure, Measured, Section, ratio
from hotsku.bench.rounds import Plan, Side, alternate
from hotsku.bench.selling import new_item
from hotsku.bench.servers import Shop, open_shop
from hotsku.domain.deduction import Deduction, Order

NAME = "bulk"
ORDERS_A_CALL = 1000
PARTITIONS = 8
_CALLERS = 16
_LEAST_PER_S = 400_000
_SHARD = "shard alone"
_MANY = "deduct_many, 8 partitions"
_ONE = "deduct_many, 1 partition"
_EACH = "deduct_many, 1,000 an item, 8 items"


async def measure(plan: Plan, folder: Path) -> Section:
    """Orders lie ready before the clock starts, as in a caller that has them from a queue."""
    orders = 100_000 if plan.quick else 400_000
    async with open_shop(plan.settings, folder) as shop:
        sides: dict[str, Side] = {
            _MANY: bulk_side(plan, shop, orders, items=1, partitions=PARTITIONS),
            _ONE: bulk_side(plan, shop, orders, items=1, partitions=1),
            _EACH: bulk_side(plan, shop, orders, items=8, partitions=1),
            _SHARD: blind_side(plan, shop, batch=ORDERS_A_CALL, partitions=PARTITIONS, orders=orders),
        }
        rows = await alternate(plan, sides, {_SHARD: f"packed batches of {ORDERS_A_CALL} sent blind"})
    section = Section(
        name=NAME, title="deduct_many, 1,000 orders a call, an fsync before every acknowledgement", rows=rows
    )
    best = max(section.row(name).accepted_per_s for name in (_MANY, _ONE, _EACH))
    shard = section.row(_SHARD).accepted_per_s
    section.figures = [
        ratio("deduct_many to the shard alone", best, shard, least=0.85),
        Figure(name="deduct_many", value=best, unit="/s", least=_LEAST_PER_S if shard >= _LEAST_PER_S else None),
    ]
    if shard < _LEAST_PER_S:
        section.notes.append(f"the shard alone does not make {_LEAST_PER_S:,}/s here, so deduct_many is not held to it")
    labels = [row.name for row in rows]
    section.charts = [
        Chart(
            title="Bulk: accepted deductions a second",
            labels=labels,
            series={"accepted/s": [r.accepted_per_s for r in rows]},
        )
    ]
    return section


def bulk_side(plan: Plan, shop: Shop, orders: int, *, items: int, partitions: int) -> Side:
    """`orders` orders in calls of 1,000 by 16 callers; the items take turns."""

    async def side() -> Measured:
        skus = [await new_item(shop, partitions) for _ in range(items)]
        calls = [orders_from(start) for start in range(0, orders, ORDERS_A_CALL)]
        measured = await shop.measured(sell_in_calls(plan, shop, skus, calls))
        for sku in skus:
            await shop.forget(sku)
        return measured

    return side


async def sell_in_calls(plan: Plan, shop: Shop, skus: Sequence[str], calls: Sequence[Sequence[Order]]) -> Measured:
    """Make the calls by 16 callers; the items take turns."""
    queue = list(enumerate(calls))
    accepted = 0

    async def caller() -> None:
        nonlocal accepted
        while queue:
            number, call = queue.pop()
            answers = await shop.stock.deduct_many(skus[number % len(skus)], call)
            accepted += sum(isinstance(answer, Deduction) and answer.outcome == "accepted" for answer in answers)

    start_ms = plan.clock.monotonic_ms()
    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    return Measured(seconds=(plan.clock.monotonic_ms() - start_ms) / 1000, accepted=accepted)


def orders_from(start: int) -> Sequence[Order]:
    """The orders of one call: new ones, of new buyers."""
    return [Order(f"o{number:011d}", 1, f"b{number:011d}") for number in range(start, start + ORDERS_A_CALL)]
