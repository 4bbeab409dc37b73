"""Rejections once sold out and replays, against acceptances; each on its own."""

from pathlib import Path

from hotsku.bench.callers import Call, closed_loop
from hotsku.bench.report import Chart, Figure, Measured, Section, ratio
from hotsku.bench.rounds import Plan, Side, alternate
from hotsku.bench.selling import new_item, single_call
from hotsku.bench.servers import Shop, open_shop

NAME = "reject"
CALLERS = 512
PARTITIONS = 8
_SOLD = 4_000
_ACCEPTED, _REJECTED, _REPLAYED = "accepted", "rejected, sold out", "replayed, sold out"


async def measure(plan: Plan, folder: Path) -> Section:
    """A worker process is there for all three: it is what says that an item is sold out."""
    async with open_shop(plan.settings, folder) as shop, shop.working():
        gone = await _sold_out(shop)
        sides: dict[str, Side] = {
            _ACCEPTED: _accepted(plan, shop),
            _REJECTED: _side(plan, shop, single_call(shop.stock, [gone]), 1_000_000),
            _REPLAYED: _side(plan, shop, _again(shop, gone), 0),
        }
        rows = await alternate(plan, sides)
    section = Section(name=NAME, title="Once the item is sold out: noes and repeated orders, 512 callers", rows=rows)
    accepted, rejected, replayed = (section.row(name) for name in (_ACCEPTED, _REJECTED, _REPLAYED))
    other = sum(m.accepted + m.rejected for m in replayed.rounds)
    section.figures = [
        ratio("rejections to acceptances", rejected.rejected_per_s, accepted.accepted_per_s, least=1),
        ratio("replays to acceptances", replayed.replayed_per_s, accepted.accepted_per_s),
        Figure(name="repeated orders that did not hear their first answer", value=other, most=0),
    ]
    section.charts = [
        Chart(
            title="Answers a second, by kind",
            labels=[row.name for row in rows],
            series={"answers/s": [row.per_s for row in rows]},
        )
    ]
    return section


async def _sold_out(shop: Shop) -> str:
    sku = await new_item(shop, PARTITIONS, total=_SOLD)
    call = single_call(shop.stock, [sku])
    for number in range(_SOLD):
        await call(number)
    return sku


def _again(shop: Shop, sku: str) -> Call:
    sell = single_call(shop.stock, [sku])
    return lambda number: sell(number % _SOLD)


def _side(plan: Plan, shop: Shop, call: Call, first: int) -> Side:
    async def side() -> Measured:
        return await shop.measured(closed_loop(plan.clock, call, CALLERS, plan.seconds, first))

    return side


def _accepted(plan: Plan, shop: Shop) -> Side:
    async def side() -> Measured:
        sku = await new_item(shop, PARTITIONS)
        measured = await _side(plan, shop, single_call(shop.stock, [sku]), 0)()
        await shop.followed(sku)
        return measured

    return side
