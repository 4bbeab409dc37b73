"""Orders that a message steps on: read as they are, and written as they have become."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Table, and_, delete, insert, select

from hotsku.domain.booked import BookedOrder, BookedStep, OrderKey
from hotsku.ledger import json_rows
from hotsku.ledger.dialect import Dialect
from hotsku.ledger.faults import LostRace
from hotsku.ledger.tables import archived_deductions, deductions

_AT_ONCE = 500

# (partition, incarnation, seq)
_Place = tuple[int, int, int]
_PLACE = ("partition", "incarnation", "seq")


class _Name(Struct, frozen=True):
    """What an order is found by."""

    item_id: int
    buyer_id: str
    order_id: str


class _Change(Struct, frozen=True, kw_only=True):
    """What steps change of a row, behind its place."""

    item_id: int
    partition: int
    incarnation: int
    seq: int
    state: str
    paying: bool
    expires_at: int
    refunded: int
    step_incarnation: int
    step_seq: int
    step_at: int
    payment_ref: str


def read_orders(
    connection: Connection, dialect: Dialect, item_id: int, keys: Iterable[OrderKey]
) -> dict[OrderKey, BookedOrder]:
    """Those of the orders that have a row."""
    return _read(connection, dialect, deductions, item_id, keys)


def bring_back(
    connection: Connection, dialect: Dialect, item_id: int, keys: Iterable[OrderKey]
) -> dict[OrderKey, BookedOrder]:
    """Those of the orders that are archived. They are stepped on, so their rows are among the busy ones again.

    Raises:
        LostRace: one of them is moved by another one.
    """
    orders = _read(connection, dialect, archived_deductions, item_id, keys)
    columns = [column.name for column in deductions.c]
    for chosen in _at(archived_deductions, item_id, [_place(order) for order in orders.values()]):
        copy = insert(deductions).from_select(columns, select(archived_deductions).where(chosen))
        inserted = connection.execute(copy, execution_options={"preserve_rowcount": True}).rowcount
        if inserted != connection.execute(delete(archived_deductions).where(chosen)).rowcount:
            raise LostRace
    return orders


def write_orders(
    connection: Connection,
    dialect: Dialect,
    item_id: int,
    before: Mapping[OrderKey, BookedOrder],
    after: Mapping[OrderKey, BookedOrder],
) -> None:
    """Make the rows what they have become.

    Raises:
        LostRace: one of them is not there any more.
    """
    born: list[BookedOrder] = []
    changed: list[_Change] = []
    for key, order in after.items():
        known = before.get(key)
        if known is None or _place(known) != _place(order):
            born.append(order)
        elif known is not order:
            changed.append(msgspec.convert(order, _Change, from_attributes=True))
    anew = [_place(before[key]) for order in born if (key := (order.buyer_id, order.order_id)) in before]
    _delete(connection, item_id, anew)
    json_rows.insert(connection, dialect, "deductions", born)
    if json_rows.update(connection, dialect, "deductions", changed, ("item_id", *_PLACE)) != len(changed):
        raise LostRace


def insert_steps(connection: Connection, dialect: Dialect, rows: Sequence[BookedStep]) -> None:
    """Insert rows of steps."""
    json_rows.insert(connection, dialect, "steps", rows)


def _read(
    connection: Connection, dialect: Dialect, table: Table, item_id: int, keys: Iterable[OrderKey]
) -> dict[OrderKey, BookedOrder]:
    names = [_Name(item_id, buyer_id, order_id) for buyer_id, order_id in keys]
    rows = json_rows.select(connection, dialect, table.name, names, BookedOrder.__struct_fields__)
    # SQLite has integers for what is true or false.
    orders = [msgspec.convert(dict(row), BookedOrder, strict=False) for row in rows]
    return {(order.buyer_id, order.order_id): order for order in orders}


def _delete(connection: Connection, item_id: int, places: Sequence[_Place]) -> None:
    for chosen in _at(deductions, item_id, places):
        connection.execute(delete(deductions).where(chosen))


def _at(table: Table, item_id: int, places: Iterable[_Place]) -> Iterator[ColumnElement[bool]]:
    """Conditions that choose the rows at the places, some at once."""
    for (partition, incarnation), group in groupby(sorted(places), key=itemgetter(0, 1)):
        of_one = and_(table.c.item_id == item_id, table.c.partition == partition, table.c.incarnation == incarnation)
        seqs = [seq for *_, seq in group]
        for start in range(0, len(seqs), _AT_ONCE):
            yield and_(of_one, table.c.seq.in_(seqs[start : start + _AT_ONCE]))


def _place(order: BookedOrder) -> _Place:
    return order.partition, order.incarnation, order.seq
