"""Hands rows to a statement as JSON, which the database takes apart: one statement for any number of them."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, TextClause

from hotsku.domain.deduction import OrderState
from hotsku.domain.events import Message
from hotsku.ledger.dialect import GrantRow


def insert_details(
    connection: Connection, statement: TextClause, message: Message, watermark: int, events: bytes
) -> int:
    """Insert details from the events of a message. Returns how many."""
    values = {
        "item_id": message.item_id,
        "partition": message.partition,
        "incarnation": message.incarnation,
        "watermark": watermark,
        "events": events.decode(),
        "state": OrderState.CONFIRMED.value,
    }
    return connection.execute(statement, values).rowcount


def grant(connection: Connection, statement: TextClause, grants: Sequence[GrantRow]) -> int:
    """Update partitions. Returns how many."""
    return connection.execute(statement, {"grants": msgspec.json.encode(grants).decode()}).rowcount
