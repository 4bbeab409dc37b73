"""Whatever arrives, in whatever order: I1 to I4 hold at every commit, and in the end nothing is missing."""

import asyncio
from itertools import count
from typing import TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.databases import Database
from tests.support.ledger import NOW, books_hold, given_back, message, open_item, sale, spec

from hotsku.domain.events import BIRTHS, Event, EventKind, PartitionRef
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
# Steps that a shard takes, and others that no shard would.
_hold = st.tuples(st.just("hold"), _partitions, st.integers(1, 4), st.integers(0, 3))
_step = st.tuples(st.sampled_from([*["take"] * 5, "claim"]), _partitions, st.integers(0, 5), st.integers(0, 3))
Action: TypeAlias = tuple[str, int, int, int]
_actions = st.lists(
    st.one_of(_lease, _lease, _sell, _sell, _hold, _hold, _step, _step, _step, _return, _deliver, _deliver), max_size=50
)
STEPS = (
    EventKind.CONFIRMED,
    EventKind.RELEASED,
    EventKind.EXPIRED,
    EventKind.REFUNDED,
    EventKind.EXTENDED,
    EventKind.PAYMENT_BEGUN,
)
_ENDS = (EventKind.RELEASED, EventKind.EXPIRED)


class _Order:
    """An order as its shard would have it."""

    def __init__(self, quantity: int, *, held: bool) -> None:
        self.quantity, self.held, self.paying, self.left = quantity, held, False, quantity

    def allows(self, kind: EventKind) -> bool:
        if kind is EventKind.REFUNDED:
            return not self.held and self.left > 0
        return self.held and self.left > 0 and not (kind is EventKind.PAYMENT_BEGUN and self.paying)

    def take(self, kind: EventKind, quantity: int) -> None:
        self.held = self.held and kind is not EventKind.CONFIRMED and kind not in _ENDS
        self.paying = self.paying or kind is EventKind.PAYMENT_BEGUN
        self.left -= quantity if kind is EventKind.REFUNDED or kind in _ENDS else 0


class _Sale:
    """One item, the ledger's, and beside it what the shards would have: stock and streams in plain Python."""

    def __init__(self, ledger: SqlLedger, item: Item) -> None:
        self.ledger, self.item = ledger, item
        self.left = [0] * PARTITIONS
        self.leases = [0] * PARTITIONS
        self.streams: list[list[Event]] = [[] for _ in range(PARTITIONS)]
        self.orders: list[dict[str, _Order]] = [{} for _ in range(PARTITIONS)]
        self.claims = 0

    async def act(self, action: Action) -> None:
        kind, partition, number, other = action
        stream = self.streams[partition]
        if kind == "lease":
            await self._lease(partition, number)
        elif kind == "deliver":
            start = max(0, min(number, len(stream) - 1))
            await self._deliver(partition, stream[start : start + other])
        elif kind in ("take", "claim"):
            self._step(partition, STEPS[number], f"p-{partition}-{other}", claimed=kind == "claim")
        elif number <= self.left[partition]:
            seq = len(stream) + 1
            if kind == "return":
                stream.append(given_back(seq, number))
            elif kind == "hold":
                self._hold(partition, number, f"p-{partition}-{other}")
            else:
                stream.append(sale(seq, f"o-{other}", number))
            self.left[partition] -= number * (len(stream) == seq)

    def _hold(self, partition: int, quantity: int, order_id: str) -> None:
        """Hold an order, unless it lives. One that has ended begins anew."""
        stream, known = self.streams[partition], self.orders[partition].get(order_id)
        if known is None or (not known.left and stream_ends(stream, order_id)):
            self.orders[partition][order_id] = _Order(quantity, held=True)
            stream.append(_event(len(stream) + 1, EventKind.HELD, order_id, quantity))

    def _step(self, partition: int, kind: EventKind, order_id: str, *, claimed: bool) -> None:
        """Take a step that the order allows; a claimed one is in the stream though it does not."""
        stream, order = self.streams[partition], self.orders[partition].get(order_id)
        allowed = order is not None and order.allows(kind)
        if allowed and order is not None and not claimed:
            quantity = 1 if kind is EventKind.REFUNDED else order.quantity
            order.take(kind, quantity)
            stream.append(_event(len(stream) + 1, kind, order_id, quantity))
        elif claimed and not allowed and not (kind is EventKind.CONFIRMED and order and not order.held):
            self.claims += 1
            stream.append(_event(len(stream) + 1, kind, order_id, order.quantity if order else 1))

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
        assert item.pool + sum(row.preallocated for row in rows) + sold - item.given_back == TOTAL
        assert (figures.doubled, figures.strays, figures.unknown_states) == (0, 0, 0)
        assert figures.parked == sum(each.parked for each in figures.partitions) <= self.claims
        assert sum(each.orders.on_hold for each in figures.partitions) == sum(row.held for row in rows)
        for each in figures.partitions:
            assert (each.leases.count, each.leases.last) == (each.row.lease_no, each.row.lease_no)
            assert each.leases.quantity == each.row.granted
            births = each.deductions.quantity + each.in_steps.reborn
            assert (births, each.in_steps.returned) == (each.row.applied, each.row.returned)
            assert each.deductions.count + each.steps.count + each.parked == each.row.watermark

    async def check_end(self) -> None:
        figures = await self.ledger.figures(self.item.id)
        await books_hold(self.ledger, self.item.id, parked=figures.parked)
        for each in figures.partitions:
            stream = self.streams[each.row.partition]
            assert each.row.watermark == len(stream)
            assert each.row.preallocated == self.left[each.row.partition]
        births = [event for stream in self.streams for event in stream if event.kind in BIRTHS]
        assert sum(each.deductions.count for each in figures.partitions) == len({event.order_id for event in births})
        assert figures.parked == self.claims
        orders = [order for orders in self.orders for order in orders.values()]
        standing = await self.ledger.standing(self.item.id)
        assert standing.held == sum(order.quantity for order in orders if order.held)
        plain = {event.order_id: event.quantity for event in births if event.kind is EventKind.DEDUCTED}
        kept = [await self.ledger.order(self.item.id, order_id, "") for order_id in plain]
        sold = sum(row.quantity for row in kept if row) + sum(order.left for order in orders if not order.held)
        assert standing.sold == sold

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


def _event(seq: int, kind: EventKind, order_id: str, quantity: int) -> Event:
    return Event(seq=seq, kind=kind, quantity=quantity, at=NOW, order_id=order_id, expires_at=NOW)


def stream_ends(stream: list[Event], order_id: str) -> bool:
    """Whether the last that the order did was to end."""
    return [event.kind for event in stream if event.order_id == order_id][-1] in _ENDS


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
