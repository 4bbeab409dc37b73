"""Whatever arrives, in whatever order: I1 to I4 hold at every commit, and in the end nothing is missing."""

import asyncio
from itertools import count
from typing import TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.databases import Database
from tests.support.ledger import NOW, given_back, message, open_item, sale, spec

from hotsku.domain.events import Event, PartitionRef
from hotsku.domain.item import Item
from hotsku.ledger import SqlLedger
from hotsku.ports import Grant

TOTAL = 60
PARTITIONS = 3

_partitions = st.integers(0, PARTITIONS - 1)
_lease = st.tuples(st.just("lease"), _partitions, st.integers(1, 25), st.just(0))
# Few order ids, so that the same order is sold by several partitions, and again by one of them.
_sell = st.tuples(st.just("sell"), _partitions, st.integers(1, 4), st.integers(0, 9))
_return = st.tuples(st.just("return"), _partitions, st.integers(1, 9), st.just(0))
_deliver = st.tuples(st.just("deliver"), _partitions, st.integers(0, 8), st.integers(1, 8))
Action: TypeAlias = tuple[str, int, int, int]
_actions = st.lists(st.one_of(_lease, _lease, _sell, _sell, _sell, _return, _deliver, _deliver), max_size=40)


class _Sale:
    """One item, the ledger's, and beside it what the shards would have: stock and streams in plain Python."""

    def __init__(self, ledger: SqlLedger, item: Item) -> None:
        self.ledger, self.item = ledger, item
        self.left = [0] * PARTITIONS
        self.leases = [0] * PARTITIONS
        self.streams: list[list[Event]] = [[] for _ in range(PARTITIONS)]

    async def act(self, action: Action) -> None:
        kind, partition, number, other = action
        stream = self.streams[partition]
        if kind == "lease":
            await self._lease(partition, number)
        elif kind == "deliver":
            start = max(0, min(number, len(stream) - 1))
            await self._deliver(partition, stream[start : start + other])
        elif number <= self.left[partition]:
            seq = len(stream) + 1
            stream.append(sale(seq, f"o-{other}", number) if kind == "sell" else given_back(seq, number))
            self.left[partition] -= number

    async def finish(self) -> None:
        for partition, stream in enumerate(self.streams):
            await self._deliver(partition, stream)
            await self._deliver(partition, stream)

    async def check(self) -> None:
        figures = await self.ledger.figures(self.item.id)
        rows = [each.row for each in figures.partitions]
        (item,) = figures.items
        sold = sum(row.applied for row in rows)
        assert item.pool >= 0
        assert min(row.preallocated for row in rows) >= 0
        assert item.pool + sum(row.preallocated for row in rows) + sold == TOTAL
        assert (figures.doubled, figures.strays, figures.parked) == (0, 0, 0)
        for each in figures.partitions:
            assert (each.leases.count, each.leases.last) == (each.row.lease_no, each.row.lease_no)
            assert each.leases.quantity == each.row.granted
            assert (each.deductions.quantity, each.returns.quantity) == (each.row.applied, each.row.returned)
            assert each.deductions.count + each.returns.count == each.row.watermark

    async def check_end(self) -> None:
        figures = await self.ledger.figures(self.item.id)
        for each in figures.partitions:
            stream = self.streams[each.row.partition]
            assert each.row.watermark == len(stream)
            assert each.row.preallocated == self.left[each.row.partition]
        orders = {event.order_id for stream in self.streams for event in stream if event.order_id}
        assert sum(each.deductions.count for each in figures.partitions) == len(orders)

    async def _lease(self, partition: int, quantity: int) -> None:
        grant = Grant(PartitionRef(self.item.id, partition), 1, self.leases[partition], quantity)
        pool = (await self.ledger.standing(self.item.id)).pool
        made = await self.ledger.lease([grant], NOW)
        assert (made is None) == (quantity > pool)
        if made:
            self.leases[partition] += 1
            self.left[partition] += quantity

    async def _deliver(self, partition: int, events: list[Event]) -> None:
        if not events:
            return
        row = await self.ledger.partition(PartitionRef(self.item.id, partition))
        assert row is not None
        applied = await self.ledger.apply(message(self.ledger, self.item.id, events, partition=partition))
        if events[-1].seq <= row.watermark:
            assert applied.status == "skipped"
        else:
            assert applied.status == ("gap" if events[0].seq > row.watermark + 1 else "applied")


async def _play(ledger: SqlLedger, sku: str, actions: list[Action]) -> None:
    played = _Sale(ledger, await open_item(ledger, spec(sku, TOTAL, PARTITIONS)))
    for action in actions:
        await played.act(action)
        await played.check()
    await played.finish()
    await played.check()
    await played.check_end()


def test_conservation_holds_at_every_commit(database: Database) -> None:
    ledger, number = database.open_only(), count()
    with asyncio.Runner() as runner:

        @settings(suppress_health_check=[HealthCheck.too_slow], max_examples=50 if database.kind == "sqlite" else 15)
        @given(_actions)
        def check(actions: list[Action]) -> None:
            runner.run(_play(ledger, f"item-{next(number)}", actions))

        check()
    ledger.close_now()
