"""What an order and what a function call cost, to the engine and to the shard: constants of `domain/capacity.py`.

The same orders in batches of different sizes: what does not depend on the size is the order's, the rest is the call's.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import linear_regression, median

from hotsku.bench.blind import many_side
from hotsku.bench.report import Chart, Figure, Measured, Section
from hotsku.bench.rounds import Plan, Side, alternate
from hotsku.bench.selling import new_item, single_side
from hotsku.bench.servers import Shop, open_shop
from hotsku.ports import Grant
from hotsku.stocking import latest, lease_and_install, reachable

NAME = "costs"
CALLERS = (16, 64, 512)
CONNECTIONS = 64
BATCHES = (1, 16, 256)
_LEASES, _LEASED_TO, _LEASE = 40, 8, 16


async def measure(plan: Plan, folder: Path) -> Section:
    """An engine with more and more callers, all of whom go in one call; and the shard alone, called with larger and
    larger batches by 64 connections, as by 64 gateways."""
    async with open_shop(plan.settings, folder) as shop:
        engine: dict[str, Side] = {
            f"engine, {callers} callers": single_side(plan, shop, callers, partitions=1) for callers in CALLERS
        }
        sales, noes = (
            {_shard(what, batch): _many(plan, shop, batch, sold_out=what == "noes") for batch in BATCHES}
            for what in ("sales", "noes")
        )
        rows = await alternate(plan, engine | sales | noes)
        lease_ms = await _lease_ms(plan, shop)
    section = Section(name=NAME, title="Costs: CPU of an order and of a function call", rows=rows)
    section.figures = [
        *_fit("engine", "orders", section, engine, lambda measured: measured.client_cpu_s),
        *_fit("shard", "sales", section, sales, lambda measured: measured.server_cpu_s),
        *_fit("shard", "noes", section, noes, lambda measured: measured.server_cpu_s),
        Figure(name=f"a round of leases for {_LEASED_TO} partitions: p50", value=lease_ms, unit="ms"),
    ]
    section.charts = [
        Chart(
            title="CPU microseconds of an order on the shard",
            labels=[row.name for row in rows],
            series={"shard": [row.server_per_million for row in rows]},
        )
    ]
    section.notes.append("the engine's callers are in its process, and in its figures")
    return section


def _many(plan: Plan, shop: Shop, batch: int, *, sold_out: bool) -> Side:
    return many_side(plan, shop, batch=batch, connections=CONNECTIONS, sold_out=sold_out)


def _shard(what: str, batch: int) -> str:
    return f"shard, {what}, {batch} a call"


def _fit(
    who: str, what: str, section: Section, sides: Iterable[str], cpu_s: Callable[[Measured], float]
) -> list[Figure]:
    """A line through every round of the sides: CPU of an order = its own + its share of a call."""
    rounds = [measured for side in sides for measured in section.row(side).rounds]
    slope, intercept = linear_regression(
        [measured.calls / measured.answers for measured in rounds],
        [measured.per_million(cpu_s(measured)) for measured in rounds],
    )
    return [
        Figure(name=f"{who}: one of the {what}", value=intercept, unit="µs"),
        Figure(name=f"{who}: a call for a batch of {what}", value=slope, unit="µs"),
    ]


async def _lease_ms(plan: Plan, shop: Shop) -> float:
    """What a round of the replenisher does for an item whose partitions all want a lease: look, lease, install."""
    item_id = await shop.item_id(await new_item(shop, _LEASED_TO))
    ledger, shard = shop.stack.ledger, shop.stack.shard()
    times = []
    for _ in range(_LEASES):
        start_ms = plan.clock.monotonic_ms()
        rows = latest(await ledger.partitions(item_id))
        await reachable(shard, [row.ref for row in rows])
        await ledger.standing(item_id)
        grants = [Grant(row.ref, row.incarnation, row.lease_no, _LEASE) for row in rows]
        await lease_and_install(ledger, shard, plan.clock, grants)
        times.append(plan.clock.monotonic_ms() - start_ms)
    shard.close()
    return median(times)
