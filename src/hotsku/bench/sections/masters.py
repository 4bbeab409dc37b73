"""The same sale on clusters of 1, 2 and 3 masters, and on 3 with a replica each: what a million deductions cost."""

from contextlib import AsyncExitStack
from pathlib import Path

from hotsku.bench.clusters import open_cluster_shop
from hotsku.bench.failover import failover_figures
from hotsku.bench.report import Chart, Figure, Section
from hotsku.bench.rounds import Plan, Side, alternate
from hotsku.bench.sections.bulk import bulk_side
from hotsku.bench.selling import single_side
from hotsku.bench.servers import Shop

NAME = "masters"
CALLERS = 512
A_MASTER = 4
_LEAST, _MOST = 0.8, 1.2
_CLUSTERS = {"1 master": (1, 0), "2 masters": (2, 0), "3 masters": (3, 0), "3 + 3 replicas": (3, 1)}
_ONE, _TWO, _THREE, _COPIED = _CLUSTERS
_ALL = A_MASTER * 3


async def measure(plan: Plan, folder: Path) -> Section:
    """4 partitions a master, 512 callers for each master; then with 512 callers in all, with 12 partitions in all, and
    by `deduct_many`. All clusters run all the time; those that have nothing to do use next to nothing."""
    async with AsyncExitStack() as exits:
        shops = {}
        for name, (masters, replicas) in _CLUSTERS.items():
            plan.say(f"a cluster: {name}")
            opened = open_cluster_shop(plan.settings, folder, masters, replicas)
            shops[name], _ = await exits.enter_async_context(opened)
        rows = await alternate(plan, _sides(plan, shops))
    section = Section(name=NAME, title="Masters: the same durable sale on clusters, one client process", rows=rows)
    section.figures = [
        *_flat(section, "callers grow with the masters", _grown(_ONE), _grown(_TWO), _grown(_THREE)),
        *_flat(section, f"{_ALL} partitions in all", _spread(_ONE), _spread(_TWO), _fixed(_THREE)),
        *_flat(section, "deduct_many", _bulk(_ONE), _bulk(_TWO), _bulk(_THREE)),
        *_flat(section, "the same callers, more partitions", _fixed(_ONE), _fixed(_TWO), _fixed(_THREE)),
        _cost("with a replica each to without, 3 masters", section, _fixed(_COPIED), _fixed(_THREE)),
        *(Figure(name=f"a sale alone, {c}: p50", value=section.row(_alone(c)).p50_ms, unit="ms") for c in _APART),
    ]
    plan.say("a failover")
    section.figures += await failover_figures(plan, folder)
    section.charts = [
        Chart(
            title="CPU seconds a million deductions",
            labels=[row.name for row in rows if row.name not in map(_alone, _APART)],
            series={
                "client": [row.client_per_million for row in rows if row.name not in map(_alone, _APART)],
                "masters": [row.server_per_million for row in rows if row.name not in map(_alone, _APART)],
                "replicas": [row.replica_per_million for row in rows if row.name not in map(_alone, _APART)],
            },
        )
    ]
    section.notes.append(f"{A_MASTER} partitions a master, {CALLERS} callers, where a row does not say otherwise")
    return section


_APART = (_THREE, _COPIED)


def _sides(plan: Plan, shops: dict[str, Shop]) -> dict[str, Side]:
    orders = 40_000 if plan.quick else 200_000
    sides: dict[str, Side] = {}
    for name, (masters, _) in _CLUSTERS.items():
        shop, partitions = shops[name], A_MASTER * masters
        sides[_fixed(name)] = single_side(plan, shop, CALLERS, partitions)
        if masters > 1:
            sides[_grown(name)] = single_side(plan, shop, CALLERS * masters, partitions)
        if partitions < _ALL:
            sides[_spread(name)] = single_side(plan, shop, CALLERS, _ALL)
        sides[_bulk(name)] = bulk_side(plan, shop, orders, items=1, partitions=partitions)
    return sides | {_alone(name): single_side(plan, shops[name], 1, _ALL) for name in _APART}


def _fixed(cluster: str) -> str:
    return cluster


def _grown(cluster: str) -> str:
    masters, _ = _CLUSTERS[cluster]
    return cluster if masters == 1 else f"{cluster}, {CALLERS * masters} callers"


def _spread(cluster: str) -> str:
    return f"{cluster}, {_ALL} partitions"


def _bulk(cluster: str) -> str:
    return f"{cluster}, deduct_many"


def _alone(cluster: str) -> str:
    return f"{cluster}, 1 caller"


def _flat(section: Section, how: str, one: str, two: str, three: str) -> list[Figure]:
    """CPU of two and of three masters to that of one."""
    return [
        _cost(f"CPU of 2 masters to 1: {how}", section, two, one, flat=True),
        _cost(f"CPU of 3 masters to 1: {how}", section, three, one, flat=True),
    ]


def _cost(name: str, section: Section, row: str, base: str, *, flat: bool = False) -> Figure:
    value = section.row(row).cpu_per_million / section.row(base).cpu_per_million
    return Figure(name=name, value=value, unit="times", least=_LEAST if flat else None, most=_MOST if flat else None)
