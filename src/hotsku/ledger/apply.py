"""Applies a message to the ledger: rows first, then the partition, then the item's pool, in one transaction."""

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, insert, select, update

from hotsku.domain.events import Event, EventKind, Message, decode_events, encode_message
from hotsku.ledger.details import sold_orders
from hotsku.ledger.dialect import Dialect
from hotsku.ledger.faults import LostRace
from hotsku.ledger.parking import park, park_detail
from hotsku.ledger.tables import deductions, items, partitions, steps
from hotsku.ledger.validity import fault
from hotsku.ports import Applied

_MAX_INTEGER = 2**63 - 1


# Deductions without a row of their own, by seq: whether their order has one under another seq.
_Missing = dict[int, bool]


class _Sorted(Struct):
    """A message's new events: what they do to the figures, and where their details go."""

    taken: int = 0
    given_back: int = 0
    returned: list[Event] = []
    refused: list[tuple[Event, str]] = []


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
    row_id, watermark, final_seq = row
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
    outcome = _sort(new, _insert_details(connection, dialect, message, watermark, new))
    _insert_steps(connection, message, outcome.returned)
    for event, reason in outcome.refused:
        park_detail(connection, dialect, message, event, msgspec.json.encode(event), reason, now_ms)
    _move_partition(connection, row_id, watermark, message.last_seq, outcome)
    _move_pool(connection, message.item_id, outcome.given_back)
    return Applied(status="applied", watermark=message.last_seq, returned=outcome.given_back)


def _partition(connection: Connection, ledger_id: str, message: Message) -> tuple[int, int, int | None] | None:
    """The partition's row: id, watermark, final seq; None where the message is a stranger's."""
    numbers = (message.item_id, message.partition, message.incarnation, message.last_seq)
    if message.ledger_id != ledger_id or any(abs(number) > _MAX_INTEGER for number in numbers):
        return None
    query = (
        select(partitions.c.id, partitions.c.watermark, partitions.c.final_seq)
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


def _insert_details(
    connection: Connection, dialect: Dialect, message: Message, watermark: int, new: list[Event]
) -> _Missing:
    """Insert a row for every new deduction; returns those that got none."""
    sold = [event for event in new if event.kind is EventKind.DEDUCTED]
    if not sold or dialect.insert_deductions(connection, message, watermark, new) == len(sold):
        return {}
    own = (
        select(deductions.c.seq)
        .where(deductions.c.item_id == message.item_id, deductions.c.partition == message.partition)
        .where(deductions.c.incarnation == message.incarnation, deductions.c.seq > watermark)
    )
    there = set(connection.scalars(own))
    missing = [event for event in sold if event.seq not in there]
    orders = {(event.buyer_id, event.order_id) for event in missing if fault(event) is None}
    elsewhere = sold_orders(connection, message.item_id, sorted(orders))
    return {event.seq: (event.buyer_id, event.order_id) in elsewhere for event in missing}


def _sort(new: list[Event], missing: _Missing) -> _Sorted:
    """What becomes of each new event.

    A deduction without a row is either an order that another seq has sold already (its units go back to the pool, or
    they would be stranded), or its detail is refused: its units have gone all the same.
    """
    outcome = _Sorted()
    for event in new:
        if event.kind is EventKind.DEDUCTED and event.seq not in missing:
            outcome.taken += event.quantity
            continue
        reason = fault(event)
        if event.kind is EventKind.DEDUCTED and not missing[event.seq]:
            outcome.taken += event.quantity
            outcome.refused.append((event, reason or "the ledger has no place for it"))
            continue
        outcome.given_back += event.quantity
        if reason is None:
            outcome.returned.append(event)
        else:
            outcome.refused.append((event, reason))
    return outcome


def _insert_steps(connection: Connection, message: Message, returned: list[Event]) -> None:
    if not returned:
        return
    rows = [
        {
            "item_id": message.item_id,
            "partition": message.partition,
            "incarnation": message.incarnation,
            "seq": event.seq,
            "kind": EventKind.RETURNED.value,
            "buyer_id": event.buyer_id,
            "order_id": event.order_id,
            "quantity": event.quantity,
            "at": event.at,
        }
        for event in returned
    ]
    connection.execute(insert(steps), rows)


def _move_partition(connection: Connection, row_id: int, watermark: int, last_seq: int, outcome: _Sorted) -> None:
    result = connection.execute(
        update(partitions)
        .where(partitions.c.id == row_id, partitions.c.watermark == watermark, partitions.c.final_seq.is_(None))
        .values(
            applied=partitions.c.applied + outcome.taken,
            returned=partitions.c.returned + outcome.given_back,
            watermark=last_seq,
        )
    )
    if result.rowcount != 1:
        raise LostRace


def _move_pool(connection: Connection, item_id: int, quantity: int) -> None:
    if quantity:
        connection.execute(update(items).where(items.c.id == item_id).values(pool=items.c.pool + quantity))
