"""Single calls, durable, against the tutorial way and against the shard alone."""

from pathlib import Path

from hotsku.bench.blind import blind_side
from hotsku.bench.processes import several_side
from hotsku.bench.report import Chart, Figure, Measured, Section, ratio
from hotsku.bench.rounds import Plan, Side, alternate
from hotsku.bench.selling import new_item, single_side
from hotsku.bench.servers import open_shop
from hotsku.bench.tutorial import tutorial_side

NAME = "single"
PARTITIONS = 8
CALLERS = {64: 5.0, 512: 10.0, 2048: 30.0}  # callers: the p99 to reach, in milliseconds
_MAIN = 512
_FOLLOWED = f"{_MAIN} callers, ledger following"
_ONE = f"{_MAIN} callers, 1 partition"
_PROCESSES = 2
_SEVERAL = f"{_MAIN} callers, {_PROCESSES} processes"
_TUTORIAL = "tutorial"
_SHARD = "shard alone"


async def measure(plan: Plan, folder: Path) -> Section:
    """One process, but in the row that says otherwise; sales wait for the ledger on the shard, but in the row that says
    otherwise."""
    async with open_shop(plan.settings, folder) as shop:
        sides: dict[str, Side] = {_TUTORIAL: _tutorial_side(plan, folder)}
        sides |= {f"{callers} callers": single_side(plan, shop, callers, PARTITIONS) for callers in CALLERS}
        sides[_ONE] = single_side(plan, shop, _MAIN, 1)
        sides[_SEVERAL] = several_side(
            plan, shop, processes=_PROCESSES, callers=_MAIN // _PROCESSES, partitions=PARTITIONS
        )
        sides[_FOLLOWED] = _followed_side(plan, folder)
        sides[_SHARD] = blind_side(
            plan, shop, batch=_MAIN, partitions=PARTITIONS, orders=100_000 if plan.quick else 400_000
        )
        rows = await alternate(plan, sides, _NOTES)
    section = Section(name=NAME, title="Single calls, one process, an fsync before every acknowledgement", rows=rows)
    _judge(section)
    return section


# What lies open beside a side costs it: threads, connections, a worker that looks for something to do.


def _tutorial_side(plan: Plan, folder: Path) -> Side:
    async def side() -> Measured:
        async with tutorial_side(plan, folder) as opened:
            return await opened()

    return side


def _followed_side(plan: Plan, folder: Path) -> Side:
    async def side() -> Measured:
        async with open_shop(plan.settings, folder) as shop, shop.working():
            first = await new_item(shop, partitions=1)
            await shop.stock.deduct(first, order_id="o-1")
            await shop.followed(first)  # the worker is up
            return await single_side(plan, shop, _MAIN, PARTITIONS, following=True)()

    return side


_NOTES = {
    _TUTORIAL: "asyncio redis client, one Lua call a request, 64 callers, nothing on disk",
    _SHARD: f"packed batches of {_MAIN} sent blind",
    _SEVERAL: "half of them in each; with the shard they want three cores",
    _FOLLOWED: "a worker process applies every sale meanwhile, on the same cores",
}


def _judge(section: Section) -> None:
    main, base, shard = (section.row(name).accepted_per_s for name in (f"{_MAIN} callers", _TUTORIAL, _SHARD))
    section.figures = [
        ratio(f"{_MAIN} callers to the tutorial way", main, base, least=15),
        ratio(f"{_FOLLOWED}, to the tutorial way", section.row(_FOLLOWED).accepted_per_s, base),
        ratio(f"{_MAIN} callers to the shard alone", main, shard, least=0.4),
        ratio("the shard alone to the tutorial way", shard, base),
        *(
            Figure(
                name=f"p99 at {callers} callers", value=section.row(f"{callers} callers").p99_ms, unit="ms", most=most
            )
            for callers, most in CALLERS.items()
        ),
    ]
    timed = [row for row in section.rows if row.p99_ms]
    section.charts = [
        Chart(
            title="Single calls: accepted deductions a second",
            labels=[row.name for row in section.rows],
            series={"accepted/s": [row.accepted_per_s for row in section.rows]},
        ),
        Chart(
            title="Single calls: latency in ms",
            labels=[row.name for row in timed],
            series={"p50": [row.p50_ms for row in timed], "p99": [row.p99_ms for row in timed]},
        ),
    ]
