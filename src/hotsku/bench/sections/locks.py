"""Every rung of the ladder on every database that answers, beside partitions."""

import asyncio
import secrets
from contextlib import AsyncExitStack
from pathlib import Path

from hotsku.bench.callers import Call, closed_loop
from hotsku.bench.report import Chart, Figure, Measured, Section, ratio
from hotsku.bench.rounds import Plan, Side, alternate
from hotsku.bench.selling import single_side
from hotsku.bench.servers import open_shop, running_server
from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.strategies.base import Answer, Strategy
from hotsku.strategies.databases.by_url import open_database
from hotsku.strategies.names import LOCKS, WITH_REDIS, make_strategy

NAME = "locks"
DATABASES = ("sqlite", "postgresql", "mariadb")
CALLERS = 64
# Callers of partitions gather in calls, so that more of them sell more.
_PARTITIONS = {callers: f"partitions (sqlite ledger), {callers} callers" for callers in (512, 2048)}
_STOCK = 50_000_000
# One row a unit: more than any of them sells.
_UNITS_PER_S = 10_000


async def measure(plan: Plan, folder: Path) -> Section:
    """64 callers for every strategy of rungs 1 to 3 (more only queue in the database), 512 and 2048 for partitions."""
    section = Section(name=NAME, title="The ladder: one hot item, every strategy on every database")
    async with AsyncExitStack() as exits:
        shop = await exits.enter_async_context(open_shop(plan.settings, folder))
        redis_server = await exits.enter_async_context(running_server(folder, on_disk=True))
        # First, so that their turns follow each other's and SQLite's: a database server works on after its turn.
        sides: dict[str, Side] = {name: single_side(plan, shop, callers, 8) for callers, name in _PARTITIONS.items()}
        for database in DATABASES:
            url = plan.urls.get(database) or f"sqlite:///{folder}/shop.db"
            why_not = await _why_silent(url)
            if why_not:
                section.notes.append(f"{database}: {why_not}")
                continue
            for name in (*LOCKS, *WITH_REDIS):
                if name != "skip_locked" or database != "sqlite":
                    redis_url = f"unix://{redis_server.spec.socket}"
                    sides[f"{name} ({database})"] = _strategy_side(plan, name, url, redis_url)
        rows = await alternate(plan, sides, dict.fromkeys(_PARTITIONS.values(), "durable"))
    section.rows = [*rows[len(_PARTITIONS) :], *rows[: len(_PARTITIONS)]]
    section.figures = _figures(section)
    section.charts = [
        Chart(
            title="The ladder: accepted deductions a second (logarithmic)",
            labels=[row.name for row in section.rows],
            series={"accepted/s": [row.accepted_per_s for row in section.rows]},
            log=True,
        )
    ]
    return section


def _strategy_side(plan: Plan, name: str, url: str, redis_url: str) -> Side:
    """A strategy in tables and connections of its own, in each turn: what lies open would cost the other sides."""

    async def side() -> Measured:
        strategy = make_strategy(name, url, redis_url=redis_url, prefix=f"bench_{secrets.token_hex(4)}_")
        await strategy.open()
        try:
            units = int(_UNITS_PER_S * (plan.seconds + 1)) if name == "skip_locked" else _STOCK
            await strategy.create("hot", units)
            # Every connection is open, and every statement prepared, before the clock starts.
            await asyncio.gather(*(strategy.deduct("hot", 1, f"warm-{number}", "") for number in range(CALLERS)))
            measured = await closed_loop(plan.clock, _call(strategy), CALLERS, plan.seconds)
            await strategy.count("hot")  # one_key writes what waits, so that it disturbs nobody else's round
            return measured
        finally:
            await strategy.erase()
            await strategy.close()

    return side


def _call(strategy: Strategy) -> Call:
    async def call(number: int) -> Answer:
        return await strategy.deduct("hot", 1, f"o{number:011d}", f"b{number:011d}")

    return call


async def _why_silent(url: str) -> str | None:
    try:
        database = open_database(url)
        try:
            await database.statements(lambda session: session.rows("SELECT 1", {}))
        finally:
            await database.close()
    except (BackendUnavailable, InvalidSettings) as error:
        return f"left out, it does not answer ({error})"
    return None


def _figures(section: Section) -> list[Figure]:
    partitions = max(section.row(name).accepted_per_s for name in _PARTITIONS.values())
    figures = []
    for database in DATABASES:
        locks = [row for row in section.rows if row.name in {f"{name} ({database})" for name in LOCKS}]
        if locks:
            best = max(locks, key=lambda row: row.accepted_per_s)
            figures.append(
                ratio(f"partitions to {best.name}, its best lock", partitions, best.accepted_per_s, least=50)
            )
        keys = [row for row in section.rows if row.name == f"one_key ({database})"]
        figures += [ratio(f"partitions to {row.name}", partitions, row.accepted_per_s) for row in keys]
    return figures
