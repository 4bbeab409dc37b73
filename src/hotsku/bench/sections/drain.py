"""How fast the ledger takes in a backlog, against the same rows written by a plain bulk insert from Python."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

from hotsku.bench.cpu import CpuMeter, WorkerMeter
from hotsku.bench.ledgers import Detail, new_ledger, plain_insert
from hotsku.bench.report import Chart, Figure, Measured, Row, Section, ratio
from hotsku.bench.rounds import Plan
from hotsku.bench.selling import new_item
from hotsku.bench.servers import Shop, open_shop
from hotsku.domain.deduction import Order

NAME = "drain"
PARTITIONS = 8
_BACKLOG, _QUICK_BACKLOG = 1_000_000, 100_000
# A round takes minutes, and is steadier than one of seconds.
_ROUNDS_SHARE = 5
# As many as a transaction of the worker has.
_ROWS_A_TRANSACTION = 20_000
_CALL = 1000
_POLL_S = 0.02
# The first tenth is the worker waking up.
_SETTLED = 0.1
# What the worker does not write are rows of the same item, so that all fall in between, of incarnations of their own.
_PLAIN_INCARNATION, _FILLER_INCARNATION = 500, 999
_PLAIN_FIRST, _FILLER_FIRST = 10**9, 2 * 10**9
_FILL_A_TRANSACTION = 100_000
# Buyers are numbers of 11 digits.
_DIGITS = 10**11
_BITS = 2**64 - 1
_WORKER, _PLAIN = "worker", "bulk insert"


async def measure(plan: Plan, folder: Path) -> Section:
    """Both write the ledger's own table, with its indexes, on every database that answers: the backlog into an empty
    table, then once more into what is there, and into `plan.drain_table` rows where that is more."""
    orders = _QUICK_BACKLOG if plan.quick else _BACKLOG
    section = Section(name=NAME, title=f"The ledger takes in a backlog of {orders:,} details")
    for database, url in (("sqlite", ""), *plan.urls.items()):
        why_not = await _why_silent(url)
        if why_not:
            section.notes.append(f"{database}: {why_not}")
            continue
        await _measure_on(plan, section, database, _Place(url, folder, orders))
    section.charts = [
        Chart(
            title="Details a second into the ledger",
            labels=[row.name for row in section.rows],
            series={"details/s": [row.accepted_per_s for row in section.rows]},
        )
    ]
    section.notes.append(
        f"a bulk insert (executemany; PostgreSQL: COPY; MariaDB: LOAD DATA LOCAL) commits every {_ROWS_A_TRANSACTION:,}"
        " rows, as the worker does, and moves no figures; CPU is that of the worker, or of the bulk insert's client"
    )
    section.notes.append(f"rounds: {_rounds(plan)}")
    return section


class _Place(Struct, frozen=True):
    """Where is written: a server's URL ("" for SQLite), a folder, and how many orders at once."""

    url: str
    folder: Path
    orders: int

    @asynccontextmanager
    async def table(self, plan: Plan) -> AsyncIterator["_Table"]:
        """The table of a new ledger."""
        if not self.url:
            async with open_shop(plan.settings, self.folder) as shop:
                yield await _Table.of(plan, shop, self)
            return
        async with new_ledger(self.url) as url, open_shop(plan.settings, self.folder, url) as shop:
            yield await _Table.of(plan, shop, self)


async def _measure_on(plan: Plan, section: Section, database: str, place: _Place) -> None:
    sizes = [0, place.orders, *([plan.drain_table] if plan.drain_table > place.orders else [])]
    rows = {
        (side, size): Row(name=f"{side}, {database}, table of {size:,}") for size in sizes for side in (_WORKER, _PLAIN)
    }
    for number in range(_rounds(plan)):
        plan.say(f"round {number + 1}: {database}")
        for (side, size), measured in await _round(plan, place, sizes, plain_first=number % 2 == 1):
            rows[side, size].rounds = [*rows[side, size].rounds, measured]
    section.rows += [row.summed_up() for row in rows.values()]
    section.figures += judge(database, sizes, {key: row.accepted_per_s for key, row in rows.items()})


_Found = list[tuple[tuple[str, int], Measured]]


async def _round(plan: Plan, place: _Place, sizes: list[int], *, plain_first: bool) -> _Found:
    found: _Found = []
    for side in (_PLAIN, _WORKER) if plain_first else (_WORKER, _PLAIN):
        async with place.table(plan) as table:
            for size in sizes[:2]:
                found.append(((side, size), await table.write(side)))
        # Not one table for both, though it takes long to fill: sorted rows leave all pages of the index equally full,
        # and soon after a million more all of them split, on whoever writes then.
        for size in sizes[2:]:
            async with place.table(plan) as table:
                await asyncio.to_thread(table.fill, size)
                found.append(((side, size), await table.write(side)))
    return found


class _Table:
    """A ledger's table of details."""

    def __init__(self, plan: Plan, shop: Shop, place: _Place, sku: str, item: int) -> None:
        self._plan = plan
        self._shop = shop
        self._place = place
        self._sku = sku
        self._item = item
        self._written = 0

    @classmethod
    async def of(cls, plan: Plan, shop: Shop, place: _Place) -> "_Table":
        """The table of the shop's ledger, with an item to sell."""
        sku = await new_item(shop, PARTITIONS)
        return cls(plan, shop, place, sku, await shop.item_id(sku))

    async def write(self, side: str) -> Measured:
        """Write as many details as a backlog has, none of which is there yet."""
        first = self._written
        self._written += self._place.orders
        if side == _PLAIN:
            return await asyncio.to_thread(self._insert, first)
        for start in range(first, self._written, _CALL):
            await self._shop.stock.deduct_many(self._sku, [_order(each) for each in range(start, start + _CALL)])
        before = await self._applied()
        async with self._shop.working() as worker:
            return await self._watch(before, WorkerMeter(worker))

    def fill(self, size: int) -> None:
        """Rows of earlier orders. Their buyers are from everywhere among those to come, but sorted, which is quick."""
        with plain_insert(self._shop.settings.ledger_url, self._place.folder) as insert:
            for start in range(0, size, _FILL_A_TRANSACTION):
                self._plan.say(f"{start:,} of {size:,} rows of earlier orders")
                many = range(start, min(size, start + _FILL_A_TRANSACTION))
                insert([_filler(self._item, number, size) for number in many])

    async def _applied(self) -> int:
        return sum(row.applied for row in await self._shop.stack.ledger.partitions(self._item))

    async def _watch(self, before: int, meter: WorkerMeter) -> Measured:
        orders = self._place.orders
        start: tuple[float, int] | None = None
        while True:
            applied = await self._applied() - before
            now_ms = self._plan.clock.monotonic_ms()
            if start is None and applied >= orders * _SETTLED:
                start = now_ms, applied
                meter.start()
            if start is not None and applied >= orders:
                return meter.stop(Measured(seconds=(now_ms - start[0]) / 1000, accepted=applied - start[1]))
            await asyncio.sleep(_POLL_S)

    def _insert(self, first: int) -> Measured:
        rows = list(_plain_rows(self._item, first, self._place.orders))
        with plain_insert(self._shop.settings.ledger_url, self._place.folder) as insert:
            meter = CpuMeter([])
            start_ms = self._plan.clock.monotonic_ms()
            for start in range(0, len(rows), _ROWS_A_TRANSACTION):
                insert(rows[start : start + _ROWS_A_TRANSACTION])
            seconds = (self._plan.clock.monotonic_ms() - start_ms) / 1000
            return meter.stop(Measured(seconds=seconds, accepted=len(rows)))


def _rounds(plan: Plan) -> int:
    return max(1, plan.rounds // _ROUNDS_SHARE)


async def _why_silent(url: str) -> str | None:
    if not url:
        return None
    try:
        async with new_ledger(url):
            return None
    except Exception as error:  # whatever its driver says
        return f"left out, it does not answer ({' '.join(str(error).split())})"


def judge(database: str, sizes: list[int], per_s: dict[tuple[str, int], float]) -> Iterator[Figure]:
    """The worker against the bulk insert at every size, and what a larger table leaves of each."""
    for size in sizes:
        name = f"worker to bulk insert, {database}, table of {size:,}"
        yield ratio(name, per_s[_WORKER, size], per_s[_PLAIN, size], least=0.5)
    for small, large in pairwise(sizes):
        kept = {side: per_s[side, large] / per_s[side, small] for side in (_WORKER, _PLAIN)}
        sizes_ = f"{database}, {small:,} to {large:,} rows"
        yield from (Figure(name=f"{side} keeps, {sizes_}", value=kept[side], unit="times") for side in kept)
        # From an empty table on, both begin with what is always quick.
        name = f"what the worker keeps to what the bulk insert keeps, {sizes_}"
        yield ratio(name, kept[_WORKER], kept[_PLAIN], least=1 if small else None)


def _plain_rows(item: int, first: int, count: int) -> Iterator[Detail]:
    """Details of as many orders over as many partitions as the worker's, of other buyers."""
    for number in range(first, first + count):
        order = _order(_PLAIN_FIRST + number)
        place = (item, number % PARTITIONS, _PLAIN_INCARNATION, number // PARTITIONS + 1)
        yield *place, order.buyer_id, order.order_id


def _filler(item: int, number: int, size: int) -> Detail:
    buyer = f"b{number * (_DIGITS // size):011d}"
    return item, 0, _FILLER_INCARNATION, number + 1, buyer, f"o{_FILLER_FIRST + number:011d}"


def _order(number: int) -> Order:
    return Order(f"o{number:011d}", 1, f"b{_mixed(number) % _DIGITS:011d}")


def _mixed(number: int) -> int:
    """A number of 64 bits that looks random (the end of splitmix64), as buyers come.

    Steps of equal length would spread each transaction of the bulk insert evenly over the index, a row a page, but not
    those of the worker, which get what each partition sold: in a small table the bulk insert would write more pages.
    """
    number = number * 0x9E3779B97F4A7C15 & _BITS
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _BITS
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _BITS
    return number ^ number >> 31
