"""Applies messages to the ledger: rows first, then the partitions, then the items' pools, in one transaction.

Each message is taken as if it were alone. Several share a transaction because what one costs by itself (a sync to disk,
pages of an index that others need as well, round trips) is then paid once.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, select, update

from hotsku.domain.booking import Booking
from hotsku.domain.events import BIRTHS, Event, EventKind, Message, decode_events, encode_message
from hotsku.domain.sales import Sale, sales_alone, sales_among
from hotsku.domain.validity import fault
from hotsku.ledger.dialect import Dialect, Run
from hotsku.ledger.faults import LostRace
from hotsku.ledger.orders import bring_back, insert_steps, read_orders, write_orders
from hotsku.ledger.parking import park, park_detail
from hotsku.ledger.places import Place, PlaceKey, key_of, read_places
from hotsku.ledger.tables import deductions, items, partitions
from hotsku.ports import Applied

# A message with nothing else is a sale's: its rows go in as they are.
_PLAIN = (EventKind.DEDUCTED, EventKind.RETURNED)
_SKIPPED = Applied(status="skipped", watermark=0)


def apply(
    connection: Connection,
    dialect: Dialect,
    ledger_id: str,
    messages: Sequence[Message],
    now_ms: int,
    unsure: Sequence[Applied] | None = None,
) -> list[Applied]:
    """Apply of each message the events above the watermark, in the messages' order.

    Args:
        unsure: what an earlier attempt would have answered, whose COMMIT got no answer itself.

    Returns:
        What became of each message.

    Raises:
        CorruptMessage: the events of one are not what it says.
        LostRace: another transaction moved a watermark meanwhile.
    """
    known = [message for message in messages if message.ledger_id == ledger_id]
    applying = _Applying(connection, dialect, now_ms, read_places(connection, dialect, known))
    before: Sequence[Applied | None] = unsure or [None] * len(messages)
    taken = [applying.take(ledger_id, message, earlier) for message, earlier in zip(messages, before, strict=True)]
    applying.finish()
    return [replace(each.answer, returned=each.answer.returned + each.returned) for each in taken]


class _Taken(Struct):
    """A message that a transaction has taken. `returned` counts the units that its events put into the pool."""

    message: Message
    answer: Applied
    returned: int = 0


class _Sold(Struct, frozen=True):
    """Sales of a message that wait to be inserted."""

    taken: _Taken
    place: Place
    sales: list[Sale]


class _Applying:
    """One transaction. What may wait for more of its kind waits: sales for a common statement, figures for the end."""

    def __init__(self, connection: Connection, dialect: Dialect, now_ms: int, places: Mapping[PlaceKey, Place]) -> None:
        self._connection = connection
        self._dialect = dialect
        self._now_ms = now_ms
        self._places = places
        self._sales: list[_Sold] = []

    def take(self, ledger_id: str, message: Message, earlier: Applied | None) -> _Taken:
        """Take one message. Its answer is complete after `finish`."""
        place = self._places.get(key_of(message)) if message.ledger_id == ledger_id else None
        if place is None:
            self._park(msgspec.json.encode(message), _stranger(ledger_id, message))
            return _Taken(message, Applied(status="parked", watermark=0))
        if message.last_seq <= place.reached:
            known = earlier if earlier is not None and earlier.status == "applied" else _SKIPPED
            return _Taken(message, replace(known, watermark=place.reached))
        if message.first_seq > place.reached + 1:
            return _Taken(message, Applied(status="gap", watermark=place.reached))
        if place.final_seq is not None:
            self._park(_beyond(message, place), f"beyond the end of a closed incarnation, {place.final_seq}")
            return _Taken(message, Applied(status="parked", watermark=place.reached))
        taken = _Taken(message, Applied(status="applied", watermark=message.last_seq))
        self._take_new(taken, place)
        place.reached = message.last_seq
        return taken

    def finish(self) -> None:
        """Write what waits, and move the figures."""
        self._write_sales()
        moved = [place for place in self._places.values() if place.reached > place.watermark]
        for place in sorted(moved, key=lambda place: place.row_id):
            _move_partition(self._connection, place)
        for item_id in sorted({place.item_id for place in moved}):
            _move_pool(self._connection, item_id, [place for place in moved if place.item_id == item_id])

    def _take_new(self, taken: _Taken, place: Place) -> None:
        sales, others = _parted(taken.message, place)
        if sales:
            self._sales.append(_Sold(taken, place, sales))
        if others:
            self._write_sales()  # what is booked may name them
            self._book(taken, place, others)

    def _write_sales(self) -> None:
        """Insert the sales that wait; those whose order has a row already are booked one by one."""
        waiting, self._sales = self._sales, []
        runs = [Run(sold.place.item_id, sold.place.partition, sold.place.incarnation, sold.sales) for sold in waiting]
        if not runs:
            return
        complete = self._dialect.insert_sales(self._connection, runs) == sum(len(run.sales) for run in runs)
        for sold in waiting:
            there = None if complete else _rows_there(self._connection, sold)
            left_out = [] if there is None else [sale for sale in sold.sales if sale.seq not in there]
            sold.place.applied += _units(sold.sales) - _units(left_out)
            if left_out:
                self._book(sold.taken, sold.place, [_event(sale) for sale in left_out])

    def _book(self, taken: _Taken, place: Place, events: list[Event]) -> None:
        """Book events one by one: what they make of their orders, the rows of steps, and what is refused."""
        message = taken.message
        named = {(event.buyer_id, event.order_id) for event in events if event.order_id and fault(event) is None}
        orders = read_orders(self._connection, self._dialect, message.item_id, named)
        # Orders of a closed item may be archived: also one that begins anew, whose end was archived before we came.
        looked_for = named - orders.keys()
        if not place.item_closed:
            looked_for -= {(event.buyer_id, event.order_id) for event in events if event.kind in BIRTHS}
        orders |= bring_back(self._connection, self._dialect, message.item_id, looked_for)
        booking = Booking(message.ref, message.incarnation, orders)
        booking.book(events)
        write_orders(self._connection, self._dialect, message.item_id, orders, booking.orders)
        insert_steps(self._connection, self._dialect, booking.steps)
        for event, reason in booking.refused:
            body = msgspec.json.encode(event)
            park_detail(self._connection, self._dialect, message, event, body, reason, self._now_ms)
        place.add(booking)
        taken.returned += booking.returned + booking.given_back

    def _park(self, body: bytes, reason: str) -> None:
        park(self._connection, self._dialect, body, reason, self._now_ms)


def _parted(message: Message, place: Place) -> tuple[list[Sale], list[Event]]:
    """The message's new events: those whose rows go in as they are, and those that are booked one by one.

    Raises:
        CorruptMessage: they are not what the message says.
    """
    if not place.item_closed and (sales := sales_alone(message)) is not None:
        return sales[place.reached + 1 - message.first_seq :], []
    new = _new_events(message, place)
    if place.item_closed or not all(event.kind in _PLAIN and not event.metadata for event in new):
        return [], new
    return sales_among(new)


def _new_events(message: Message, place: Place) -> list[Event]:
    return [event for event in decode_events(message) if event.seq > place.reached]


def _units(sales: Sequence[Sale]) -> int:
    return sum([sale.quantity for sale in sales])


def _event(sale: Sale) -> Event:
    return Event(
        seq=sale.seq,
        kind=EventKind.DEDUCTED,
        quantity=sale.quantity,
        at=sale.at,
        order_id=sale.order_id,
        buyer_id=sale.buyer_id,
    )


def _stranger(ledger_id: str, message: Message) -> str:
    if message.ledger_id != ledger_id:
        return f"of ledger {message.ledger_id}, not {ledger_id}"
    return f"no item {message.item_id} with partition {message.partition} in incarnation {message.incarnation}"


def _beyond(message: Message, place: Place) -> bytes:
    """The part of the message that is beyond the end, as a message."""
    new = _new_events(message, place)
    return encode_message(message.ledger_id, message.sku, message.ref, message.incarnation, new)


def _rows_there(connection: Connection, sold: _Sold) -> set[int]:
    """The seqs, among those of the sales, that have a row."""
    query = (
        select(deductions.c.seq)
        .where(deductions.c.item_id == sold.place.item_id, deductions.c.partition == sold.place.partition)
        .where(deductions.c.incarnation == sold.place.incarnation)
        .where(deductions.c.seq.between(sold.sales[0].seq, sold.sales[-1].seq))
    )
    return set(connection.scalars(query))


def _move_partition(connection: Connection, place: Place) -> None:
    result = connection.execute(
        update(partitions)
        .where(partitions.c.id == place.row_id, partitions.c.watermark == place.watermark)
        .where(partitions.c.final_seq.is_(None))
        .values(
            applied=partitions.c.applied + place.applied,
            returned=partitions.c.returned + place.returned,
            held=partitions.c.held + place.held,
            watermark=place.reached,
        )
    )
    if result.rowcount != 1:
        raise LostRace


def _move_pool(connection: Connection, item_id: int, moved: Sequence[Place]) -> None:
    returned = sum(place.returned for place in moved)
    given_back = sum(place.given_back for place in moved)
    if returned or given_back:
        connection.execute(
            update(items)
            .where(items.c.id == item_id)
            .values(pool=items.c.pool + returned + given_back, given_back=items.c.given_back + given_back)
        )
