"""How fast the ledger takes in a backlog, against the same rows written by a plain bulk insert from Python."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from hotsku.bench.ledgers import Detail, new_ledger, plain_insert
from hotsku.bench.report import Chart, Figure, Measured, Row, Section, ratio
from hotsku.bench.rounds import Plan, Side, alternate
from hotsku.bench.selling import new_item
from hotsku.bench.servers import Shop, open_shop
from hotsku.domain.deduction import Order

NAME = "drain"
PARTITIONS = 8
_ROWS_A_TRANSACTION = 500
_CALL = 1000
_POLL_S = 0.02
# The first tenth is the worker waking up.
_SETTLED = 0.1
# What was there before: rows of the same item, so that new ones fall in between, of an incarnation of their own.
_FILLER_INCARNATION = 999
_FILLER_FIRST = 10**9
_FILL_A_TRANSACTION = 100_000
_SQLITE = "sqlite"
# Steps through all numbers of 11 digits in an order that looks like none: buyers do not come sorted.
_STRIDE, _DIGITS = 61_803_398_877, 10**11


async def measure(plan: Plan, folder: Path) -> Section:
    """Both write the ledger's own table, with its indexes, on every database that answers; on SQLite also from
    `plan.drain_table` rows on where that is not 0."""
    orders = 40_000 if plan.quick else 1_000_000
    section = Section(name=NAME, title=f"The ledger takes in a backlog of {orders:,} details")
    for database, url in ((_SQLITE, ""), *plan.urls.items()):
        why_not = await _why_silent(url)
        if why_not:
            section.notes.append(f"{database}: {why_not}")
            continue
        for size in [0, plan.drain_table] if plan.drain_table and database == _SQLITE else [0]:
            place = _Place(url, folder, orders, size)
            where = f"{database}, table of {size:,}"
            sides = {f"worker, {where}": _worker_side(plan, place), f"bulk insert, {where}": _plain_side(plan, place)}
            worker, plain = await alternate(plan, sides)
            section.rows += [worker, plain]
            # A server takes half of the machine, and the worker the other: there the ratio says what a sale leaves it.
            least = 0.5 if database == _SQLITE else None
            name = f"worker to bulk insert, {where}"
            section.figures.append(ratio(name, worker.accepted_per_s, plain.accepted_per_s, least=least))
    if plan.drain_table:
        section.figures += _kept(section.rows)
    section.charts = [
        Chart(
            title="Details a second into the ledger",
            labels=[row.name for row in section.rows],
            series={"details/s": [row.accepted_per_s for row in section.rows]},
        )
    ]
    section.notes.append(
        f"a bulk insert (executemany; PostgreSQL: COPY) commits every {_ROWS_A_TRANSACTION} rows and moves no figures"
    )
    return section


class _Place(Struct, frozen=True):
    """Where a side writes: a server's URL ("" for SQLite), a folder, how many orders, behind how many rows."""

    url: str
    folder: Path
    orders: int
    size: int

    @asynccontextmanager
    async def shop(self, plan: Plan) -> AsyncIterator[Shop]:
        """A stack on a new ledger."""
        if not self.url:
            async with open_shop(plan.settings, self.folder) as shop:
                yield shop
            return
        async with new_ledger(self.url) as url, open_shop(plan.settings, self.folder, url) as shop:
            yield shop


async def _why_silent(url: str) -> str | None:
    if not url:
        return None
    try:
        async with new_ledger(url):
            return None
    except Exception as error:  # whatever its driver says
        return f"left out, it does not answer ({' '.join(str(error).split())})"


def _kept(rows: list[Row]) -> list[Figure]:
    """What a large table leaves of each side's speed. SQLite's rows are the first ones."""
    worker, plain = (rows[number + 2].accepted_per_s / rows[number].accepted_per_s for number in range(2))
    return [
        Figure(name="worker, large table to empty one", value=worker, unit="times"),
        Figure(name="bulk insert, large table to empty one", value=plain, unit="times"),
        ratio("what the worker keeps to what the bulk insert keeps", worker, plain, least=1),
    ]


def _worker_side(plan: Plan, place: _Place) -> Side:
    async def side() -> Measured:
        async with place.shop(plan) as shop:
            sku = await new_item(shop, PARTITIONS)
            await asyncio.to_thread(_fill, shop.settings.ledger_url, await shop.item_id(sku), place.size)
            for start in range(0, place.orders, _CALL):
                await shop.stock.deduct_many(sku, [_order(number) for number in range(start, start + _CALL)])
            async with shop.working():
                return await _watch(plan, shop, await shop.item_id(sku), place.orders)

    return side


async def _watch(plan: Plan, shop: Shop, item_id: int, orders: int) -> Measured:
    first: tuple[float, int] | None = None
    while True:
        applied = sum(row.applied for row in await shop.stack.ledger.partitions(item_id))
        now_ms = plan.clock.monotonic_ms()
        if first is None and applied >= orders * _SETTLED:
            first = now_ms, applied
        if first is not None and applied >= orders:
            return Measured(seconds=(now_ms - first[0]) / 1000, accepted=applied - first[1])
        await asyncio.sleep(_POLL_S)


def _plain_side(plan: Plan, place: _Place) -> Side:
    async def side() -> Measured:
        async with place.shop(plan) as shop:  # for its empty ledger, with every table and index
            item = await shop.item_id(await new_item(shop, PARTITIONS))
            await asyncio.to_thread(_fill, shop.settings.ledger_url, item, place.size)
            return await asyncio.to_thread(_plain, plan, shop.settings.ledger_url, item, place.orders)

    return side


def _plain(plan: Plan, ledger_url: str, item: int, orders: int) -> Measured:
    rows: list[Detail] = [
        (item, number % PARTITIONS, 1, number // PARTITIONS + 1, order.buyer_id, order.order_id)
        for number, order in enumerate(map(_order, range(orders)))
    ]
    with plain_insert(ledger_url) as insert:
        start_ms = plan.clock.monotonic_ms()
        for start in range(0, orders, _ROWS_A_TRANSACTION):
            insert(rows[start : start + _ROWS_A_TRANSACTION])
        return Measured(seconds=(plan.clock.monotonic_ms() - start_ms) / 1000, accepted=orders)


def _fill(ledger_url: str, item: int, size: int) -> None:
    """Rows of earlier orders, in large transactions."""
    if not size:
        return
    with plain_insert(ledger_url) as insert:
        for start in range(0, size, _FILL_A_TRANSACTION):
            many = range(start, min(size, start + _FILL_A_TRANSACTION))
            earlier = [(number, _order(_FILLER_FIRST + number)) for number in many]
            insert([(item, 0, _FILLER_INCARNATION, n + 1, order.buyer_id, order.order_id) for n, order in earlier])


def _order(number: int) -> Order:
    return Order(f"o{number:011d}", 1, f"b{number * _STRIDE % _DIGITS:011d}")
