"""How fast the ledger takes in a backlog, against the same rows written by a plain bulk insert from Python."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

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
_INSERT = (
    'INSERT INTO deductions (item_id, "partition", incarnation, seq, buyer_id, order_id, quantity, state, created_at) '
    "VALUES (?, ?, ?, ?, ?, ?, 1, 'confirmed', 1700000000000)"
)
# Steps through all numbers of 11 digits in an order that looks like none: buyers do not come sorted.
_STRIDE, _DIGITS = 61_803_398_877, 10**11

_Rows = Iterator[tuple[int, int, int, int, str, str]]


async def measure(plan: Plan, folder: Path) -> Section:
    """Both write the ledger's own table, with its indexes; from `plan.drain_table` rows on where that is not 0."""
    orders = 40_000 if plan.quick else 1_000_000
    sizes = [0, plan.drain_table] if plan.drain_table else [0]
    section = Section(name=NAME, title=f"The ledger (SQLite) takes in a backlog of {orders:,} details")
    for size in sizes:
        sides: dict[str, Side] = {
            f"worker, table of {size:,}": _worker_side(plan, folder, orders, size),
            f"executemany, table of {size:,}": _plain_side(plan, folder, orders, size),
        }
        rows = await alternate(plan, sides)
        section.rows += rows
        section.figures.append(ratio(f"worker to executemany, table of {size:,}", *_rates(rows), least=0.5))
    if len(sizes) > 1:
        worker, plain = (_kept(section.rows, number) for number in range(2))
        section.figures += [
            Figure(name="worker, large table to empty one", value=worker, unit="times"),
            Figure(name="executemany, large table to empty one", value=plain, unit="times"),
            ratio("what the worker keeps to what executemany keeps", worker, plain, least=1),
        ]
    section.charts = [
        Chart(
            title="Details a second into the ledger",
            labels=[row.name for row in section.rows],
            series={"details/s": [row.accepted_per_s for row in section.rows]},
        )
    ]
    section.notes.append(
        f"executemany commits every {_ROWS_A_TRANSACTION} rows, WAL, synchronous FULL, and moves no figures"
    )
    return section


def _kept(rows: list[Row], number: int) -> float:
    """What the large table leaves of a side's speed."""
    return rows[number + 2].accepted_per_s / rows[number].accepted_per_s


def _rates(rows: list[Row]) -> tuple[float, float]:
    return rows[0].accepted_per_s, rows[1].accepted_per_s


def _worker_side(plan: Plan, folder: Path, orders: int, size: int) -> Side:
    async def side() -> Measured:
        async with open_shop(plan.settings, folder) as shop:
            sku = await new_item(shop, PARTITIONS)
            await asyncio.to_thread(_fill, shop.settings.ledger_path, await shop.item_id(sku), size)
            for start in range(0, orders, _CALL):
                await shop.stock.deduct_many(sku, [_order(number) for number in range(start, start + _CALL)])
            async with shop.working():
                return await _watch(plan, shop, await shop.item_id(sku), orders)

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


def _plain_side(plan: Plan, folder: Path, orders: int, size: int) -> Side:
    async def side() -> Measured:
        async with open_shop(plan.settings, folder) as shop:  # for its empty ledger, with every table and index
            path, item = shop.settings.ledger_path, await shop.item_id(await new_item(shop, PARTITIONS))
            await asyncio.to_thread(_fill, path, item, size)
            return await asyncio.to_thread(_plain, plan, path, item, orders)

    return side


def _plain(plan: Plan, path: Path, item: int, orders: int) -> Measured:
    rows = [
        (item, number % PARTITIONS, 1, number // PARTITIONS + 1, order.buyer_id, order.order_id)
        for number, order in enumerate(map(_order, range(orders)))
    ]
    with closing(_connect(path)) as connection:
        start_ms = plan.clock.monotonic_ms()
        for start in range(0, orders, _ROWS_A_TRANSACTION):
            _insert(connection, iter(rows[start : start + _ROWS_A_TRANSACTION]))
        return Measured(seconds=(plan.clock.monotonic_ms() - start_ms) / 1000, accepted=orders)


def _fill(path: Path, item: int, size: int) -> None:
    """Rows of earlier orders, in large transactions."""
    with closing(_connect(path)) as connection:
        for start in range(0, size, _FILL_A_TRANSACTION):
            many = range(start, min(size, start + _FILL_A_TRANSACTION))
            earlier = ((number, _order(_FILLER_FIRST + number)) for number in many)
            _insert(
                connection,
                ((item, 0, _FILLER_INCARNATION, n + 1, order.buyer_id, order.order_id) for n, order in earlier),
            )


def _insert(connection: sqlite3.Connection, rows: _Rows) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(_INSERT, rows)
    connection.execute("COMMIT")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _order(number: int) -> Order:
    return Order(f"o{number:011d}", 1, f"b{number * _STRIDE % _DIGITS:011d}")
