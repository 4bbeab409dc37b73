"""Applies a message to the ledger: rows first, then the partition, then the item's pool, in one transaction."""

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, insert, select, update

from hotsku.domain.deduction import OrderState
from hotsku.domain.events import Event, EventKind, Message, decode_events
from hotsku.domain.identity import check_buyer_id, check_id, check_quantity
from hotsku.errors import InvalidRequest
from hotsku.ledger import sqlite
from hotsku.ledger.database import LostRace
from hotsku.ledger.parking import park, park_detail
from hotsku.ledger.tables import items, partitions, steps
from hotsku.ports import Applied

_MAX_INTEGER = 2**63 - 1
_MAX_TIME_MS = 10**14


# Deductions without a row of their own, by seq: whether their order has one under another seq.
_Missing = dict[int, bool]


class _Sorted(Struct):
    """A message's new events: what they do to the figures, and where their details go."""

    taken: int = 0
    given_back: int = 0
    returned: list[Event] = []
    refused: list[tuple[Event, str]] = []


def apply(connection: Connection, ledger_id: str, message: Message, now_ms: int) -> Applied:
    """Apply the message's events above the watermark.

    Raises:
        CorruptMessage: its events are not what it says.
        LostRace: another transaction moved the watermark meanwhile.
    """
    row = _partition(connection, ledger_id, message)
    if row is None:
        park(connection, msgspec.json.encode(message), _stranger(ledger_id, message), now_ms)
        return Applied(status="parked", watermark=0)
    row_id, watermark = row
    if message.last_seq <= watermark:
        return Applied(status="skipped", watermark=watermark)
    if message.first_seq > watermark + 1:
        return Applied(status="gap", watermark=watermark)
    new = [event for event in decode_events(message) if event.seq > watermark]
    outcome = _sort(new, _insert_details(connection, message, watermark, new))
    _insert_steps(connection, message, outcome.returned)
    for event, reason in outcome.refused:
        park_detail(connection, message, event, msgspec.json.encode(event), reason, now_ms)
    _move_partition(connection, row_id, watermark, message.last_seq, outcome)
    _move_pool(connection, message.item_id, outcome.given_back)
    return Applied(status="applied", watermark=message.last_seq, returned=outcome.given_back)


def _partition(connection: Connection, ledger_id: str, message: Message) -> tuple[int, int] | None:
    numbers = (message.item_id, message.partition, message.incarnation, message.last_seq)
    if message.ledger_id != ledger_id or any(abs(number) > _MAX_INTEGER for number in numbers):
        return None
    query = (
        select(partitions.c.id, partitions.c.watermark)
        .where(partitions.c.item_id == message.item_id, partitions.c.partition == message.partition)
        .where(partitions.c.incarnation == message.incarnation)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else row


def _stranger(ledger_id: str, message: Message) -> str:
    if message.ledger_id != ledger_id:
        return f"of ledger {message.ledger_id}, not {ledger_id}"
    return f"no item {message.item_id} with partition {message.partition} in incarnation {message.incarnation}"


def _insert_details(connection: Connection, message: Message, watermark: int, new: list[Event]) -> _Missing:
    """Insert a row for every new deduction; returns those that got none."""
    place = {
        "item_id": message.item_id,
        "partition": message.partition,
        "incarnation": message.incarnation,
        "watermark": watermark,
        "events": bytes(message.events).decode(),
    }
    inserted = connection.execute(sqlite.INSERT_DEDUCTIONS, place | {"state": OrderState.CONFIRMED.value}).rowcount
    if inserted == sum(event.kind is EventKind.DEDUCTED for event in new):
        return {}
    rows = connection.execute(sqlite.MISSING_DEDUCTIONS, place)
    return {seq: bool(sold) for seq, sold in rows}


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
        fault = _fault(event)
        if event.kind is EventKind.DEDUCTED and not missing[event.seq]:
            outcome.taken += event.quantity
            outcome.refused.append((event, fault or "the ledger has no place for it"))
            continue
        outcome.given_back += event.quantity
        if fault is None:
            outcome.returned.append(event)
        else:
            outcome.refused.append((event, fault))
    return outcome


def _fault(event: Event) -> str | None:
    """Why the event's detail cannot be a row, or None."""
    try:
        check_quantity(event.quantity)
        if event.kind is EventKind.DEDUCTED:
            check_id("order_id", event.order_id)
            check_buyer_id(event.buyer_id)
    except InvalidRequest as error:
        return str(error)
    return None if 0 <= event.at <= _MAX_TIME_MS else f"at must be milliseconds from 0 to {_MAX_TIME_MS}"


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
        .where(partitions.c.id == row_id, partitions.c.watermark == watermark)
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
