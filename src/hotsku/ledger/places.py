"""Where messages go: the partitions that they name, as a transaction finds them, and what it makes of their figures."""

from collections.abc import Iterable

from msgspec import Struct
from sqlalchemy import Connection, RowMapping, select

from hotsku.domain.booking import Booking
from hotsku.domain.events import Message
from hotsku.ledger import json_rows
from hotsku.ledger.dialect import Dialect
from hotsku.ledger.tables import items

_MAX_INTEGER = 2**63 - 1

# item, partition, incarnation
PlaceKey = tuple[int, int, int]


class Place(Struct, kw_only=True, eq=False):
    """One incarnation of a partition.

    `watermark` is what the transaction found; `reached` goes on with the messages that it takes. `applied`, `returned`,
    `held` and `given_back` are what is to be added to the figures.
    """

    row_id: int
    item_id: int
    partition: int
    incarnation: int
    watermark: int
    final_seq: int | None
    item_closed: bool
    reached: int
    applied: int = 0
    returned: int = 0
    held: int = 0
    given_back: int = 0

    def add(self, booking: Booking) -> None:
        """Add what was booked."""
        self.applied += booking.taken
        self.returned += booking.returned
        self.held += booking.held
        self.given_back += booking.given_back


class _Key(Struct, frozen=True):
    """What a place is found by."""

    item_id: int
    partition: int
    incarnation: int


def key_of(message: Message) -> PlaceKey:
    """The place that the message names."""
    return message.item_id, message.partition, message.incarnation


def read_places(connection: Connection, dialect: Dialect, messages: Iterable[Message]) -> dict[PlaceKey, Place]:
    """Those of the places that there are. A message with a number that is none of a database's names none."""
    named = {key_of(message) for message in messages if abs(message.last_seq) <= _MAX_INTEGER}
    keys = [_Key(*key) for key in sorted(named) if all(abs(number) <= _MAX_INTEGER for number in key)]
    columns = ("id", "item_id", "partition", "incarnation", "watermark", "final_seq")
    rows = json_rows.select(connection, dialect, "partitions", keys, columns)
    states = select(items.c.id, items.c.state).where(items.c.id.in_({row["item_id"] for row in rows}))
    closed = {item_id for item_id, state in connection.execute(states) if state == "closed"} if rows else set()
    places = [_place(row, row["item_id"] in closed) for row in rows]
    return {(place.item_id, place.partition, place.incarnation): place for place in places}


def _place(row: RowMapping, item_closed: bool) -> Place:
    return Place(
        row_id=row["id"],
        item_id=row["item_id"],
        partition=row["partition"],
        incarnation=row["incarnation"],
        watermark=row["watermark"],
        final_seq=row["final_seq"],
        item_closed=item_closed,
        reached=row["watermark"],
    )
