"""CPU seconds a million deductions, as partitions and items grow."""

import random
from pathlib import Path

from hotsku.bench.callers import closed_loop
from hotsku.bench.report import Chart, Figure, Measured, Row, Section
from hotsku.bench.rounds import Plan, Side, alternate
from hotsku.bench.selling import new_item, single_call, single_side
from hotsku.bench.servers import Shop, open_shop

NAME = "growth"
CALLERS = 512
PARTITIONS = (1, 8, 64)
ITEMS = (1, 100, 1000)
_FLAT = 1.2
_ITEM_TOTAL = 10_000_000
_ZIPF = "1,000 items of 1 partition, Zipf"
_DRAWS = 10_007


async def measure(plan: Plan, folder: Path) -> Section:
    """512 callers throughout. The items, of one partition each, are bought in turns: every one is as hot; and once more
    hot and cold mixed, as in a shop."""
    async with open_shop(plan.settings, folder) as shop:
        sides: dict[str, Side] = {_partitions(count): single_side(plan, shop, CALLERS, count) for count in PARTITIONS}
        plan.say(f"creating {ITEMS[-1]} items")
        skus = [await new_item(shop, 1, _ITEM_TOTAL) for _ in range(ITEMS[-1])]
        sides |= {_items(count): _items_side(plan, shop, skus[:count], number) for number, count in enumerate(ITEMS)}
        sides[_ZIPF] = _items_side(plan, shop, _zipf(skus), len(ITEMS))
        rows = await alternate(plan, sides)
    section = Section(name=NAME, title="Growth: CPU seconds of client and server a million deductions", rows=rows)
    section.figures = [
        _flat("64 partitions to the cheapest", rows[: len(PARTITIONS)]),
        _flat("1,000 items to the cheapest", rows[len(PARTITIONS) : -1]),
    ]
    section.charts = [
        Chart(
            title="CPU seconds a million deductions",
            labels=[row.name for row in rows],
            series={"CPU s": [row.cpu_per_million for row in rows]},
        )
    ]
    return section


def _partitions(count: int) -> str:
    return f"1 item of {count} partition{'s' if count > 1 else ''}"


def _items(count: int) -> str:
    return f"{count:,} item{'s' if count > 1 else ''} of 1 partition, in turns"


def _flat(name: str, rows: list[Row]) -> Figure:
    cheapest = min(row.cpu_per_million for row in rows)
    return Figure(name=name, value=rows[-1].cpu_per_million / cheapest, unit="times", most=_FLAT)


def _zipf(skus: list[str]) -> list[str]:
    """Items as buyers draw them: the second is bought half as often as the first, the third a third as often."""
    return random.Random(_DRAWS).choices(skus, weights=[1 / rank for rank in range(1, len(skus) + 1)], k=_DRAWS)


def _items_side(plan: Plan, shop: Shop, skus: list[str], number: int) -> Side:
    first = number * 1_000_000_000  # the sides share items, and must not repeat each other's orders

    async def side() -> Measured:
        nonlocal first
        selling = closed_loop(plan.clock, single_call(shop.stock, skus), CALLERS, plan.seconds, first)
        measured = await shop.measured(selling)
        first += measured.answers
        return measured

    return side
