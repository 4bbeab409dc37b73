"""Applies a message to the ledger: rows first, then the partition, then the item's pool, in one transaction."""

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, select, update

from hotsku.domain.booking import Booking
from hotsku.domain.events import BIRTHS, Event, EventKind, Message, decode_events, encode_message
from hotsku.domain.validity import fault
from hotsku.ledger.dialect import Dialect
from hotsku.ledger.faults import LostRace
from hotsku.ledger.orders import bring_back, insert_steps, read_orders, write_orders
from hotsku.ledger.parking import park, park_detail
from hotsku.ledger.tables import deductions, items, partitions
from hotsku.ports import Applied

_MAX_INTEGER = 2**63 - 1


# A message with nothing else is a sale's: its rows go in as they are.
_PLAIN = (EventKind.DEDUCTED, EventKind.RETURNED)


def apply(
    connection: Connection,
    dialect: Dialect,
    ledger_id: str,
    message: Message,
    now_ms: int,
    unsure: Applied | None = None,
) -> Applied:
    """Apply the message's events above the watermark.

    Args:
        unsure: what an earlier attempt would have answered, whose COMMIT got no answer itself.

    Raises:
        CorruptMessage: its events are not what it says.
        LostRace: another transaction moved the watermark meanwhile.
    """
    row = _partition(connection, ledger_id, message)
    if row is None:
        park(connection, dialect, msgspec.json.encode(message), _stranger(ledger_id, message), now_ms)
        return Applied(status="parked", watermark=0)
    row_id, watermark, final_seq, state = row
    if message.last_seq <= watermark:
        if unsure is not None and unsure.status == "applied":
            return replace(unsure, watermark=watermark)
        return Applied(status="skipped", watermark=watermark)
    if message.first_seq > watermark + 1:
        return Applied(status="gap", watermark=watermark)
    new = [event for event in decode_events(message) if event.seq > watermark]
    if final_seq is not None:
        reason = f"beyond the end of a closed incarnation, {final_seq}"
        park(connection, dialect, _beyond(message, new), reason, now_ms)
        return Applied(status="parked", watermark=watermark)
    # Orders of a closed item may be archived: also one that begins anew, whose end was archived before we came.
    closed = state == "closed"
    rest = new if closed else _insert_plain(connection, dialect, message, watermark, new)
    booking = _book(connection, dialect, message, rest, look_for_births=closed)
    for event, reason in booking.refused:
        park_detail(connection, dialect, message, event, msgspec.json.encode(event), reason, now_ms)
    at_once = sum(event.quantity for event in new) - sum(event.quantity for event in rest)
    _move_partition(connection, row_id, watermark, message.last_seq, at_once, booking)
    _move_pool(connection, message.item_id, booking)
    return Applied(status="applied", watermark=message.last_seq, returned=booking.returned + booking.given_back)


def _partition(connection: Connection, ledger_id: str, message: Message) -> tuple[int, int, int | None, str] | None:
    """The partition's row: id, watermark, final seq, and its item's state; None where the message is a stranger's."""
    numbers = (message.item_id, message.partition, message.incarnation, message.last_seq)
    if message.ledger_id != ledger_id or any(abs(number) > _MAX_INTEGER for number in numbers):
        return None
    query = (
        select(partitions.c.id, partitions.c.watermark, partitions.c.final_seq, items.c.state)
        .join_from(partitions, items, partitions.c.item_id == items.c.id)
        .where(partitions.c.item_id == message.item_id, partitions.c.partition == message.partition)
        .where(partitions.c.incarnation == message.incarnation)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else row


def _stranger(ledger_id: str, message: Message) -> str:
    if message.ledger_id != ledger_id:
        return f"of ledger {message.ledger_id}, not {ledger_id}"
    return f"no item {message.item_id} with partition {message.partition} in incarnation {message.incarnation}"


def _beyond(message: Message, new: list[Event]) -> bytes:
    """The part of the message that is beyond the end, as a message."""
    return encode_message(message.ledger_id, message.sku, message.ref, message.incarnation, new)


def _insert_plain(
    connection: Connection, dialect: Dialect, message: Message, watermark: int, new: list[Event]
) -> list[Event]:
    """Insert a row for every deduction in one go, if the message has nothing else but returns. Returns the events that
    have none: they are booked one by one."""
    if not all(event.kind in _PLAIN and not event.metadata for event in new):
        return new
    rest = [event for event in new if event.kind is EventKind.RETURNED]
    if dialect.insert_deductions(connection, message, watermark, new) == len(new) - len(rest):
        return rest
    own = (
        select(deductions.c.seq)
        .where(deductions.c.item_id == message.item_id, deductions.c.partition == message.partition)
        .where(deductions.c.incarnation == message.incarnation, deductions.c.seq > watermark)
    )
    there = set(connection.scalars(own))
    return [event for event in new if event.seq not in there]


def _book(
    connection: Connection, dialect: Dialect, message: Message, events: list[Event], *, look_for_births: bool
) -> Booking:
    """Book events one by one: what they make of their orders, and the rows of steps.

    Args:
        look_for_births: among what is archived, too, where other orders are looked for in any case.
    """
    named = {(event.buyer_id, event.order_id) for event in events if event.order_id and fault(event) is None}
    orders = read_orders(connection, dialect, message.item_id, named)
    born = {(event.buyer_id, event.order_id) for event in events if event.kind in BIRTHS and not look_for_births}
    orders |= bring_back(connection, dialect, message.item_id, named - orders.keys() - born)
    booking = Booking(message.ref, message.incarnation, orders)
    booking.book(events)
    write_orders(connection, dialect, message.item_id, orders, booking.orders)
    insert_steps(connection, dialect, booking.steps)
    return booking


def _move_partition(
    connection: Connection, row_id: int, watermark: int, last_seq: int, at_once: int, booking: Booking
) -> None:
    result = connection.execute(
        update(partitions)
        .where(partitions.c.id == row_id, partitions.c.watermark == watermark, partitions.c.final_seq.is_(None))
        .values(
            applied=partitions.c.applied + at_once + booking.taken,
            returned=partitions.c.returned + booking.returned,
            held=partitions.c.held + booking.held,
            watermark=last_seq,
        )
    )
    if result.rowcount != 1:
        raise LostRace


def _move_pool(connection: Connection, item_id: int, booking: Booking) -> None:
    returned, given_back = booking.returned, booking.given_back
    if returned or given_back:
        connection.execute(
            update(items)
            .where(items.c.id == item_id)
            .values(pool=items.c.pool + returned + given_back, given_back=items.c.given_back + given_back)
        )
