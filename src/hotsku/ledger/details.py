"""Deductions and steps, read: one order's, or an item's or a partition's page by page; whether archived or not."""

from collections.abc import Sequence
from heapq import merge
from itertools import islice
from operator import attrgetter, itemgetter

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, select, true, tuple_

from hotsku.domain.events import PartitionRef
from hotsku.ledger.tables import archived_deductions, archived_steps, deductions, steps
from hotsku.ports import DetailRow, EventRow

_place = attrgetter("partition", "incarnation", "seq")
_EventPlace = tuple[int, int, int]
_AT_ONCE = 500
_TABLES = (deductions, archived_deductions)
_STEPS = (steps, archived_steps)


def detail_of(connection: Connection, item_id: int, order_id: str, buyer_id: str) -> DetailRow | None:
    """The order's deduction, if any."""
    for table in _TABLES:
        query = select(table).where(
            table.c.item_id == item_id, table.c.buyer_id == buyer_id, table.c.order_id == order_id
        )
        row = connection.execute(query).mappings().one_or_none()
        if row is not None:
            return _detail(row)
    return None


def history_of(connection: Connection, item_id: int, order_id: str, buyer_id: str) -> list[EventRow]:
    """Every event of the order, in the order of their happening: the births of all its attempts, and its steps.

    `expires_at_ms` of a birth is the last that the attempt had.
    """
    events: list[tuple[_EventPlace, EventRow]] = []
    birth = detail_of(connection, item_id, order_id, buyer_id)
    if birth is not None:
        events.append((_place(birth), _birth(birth)))
    for table in _STEPS:
        query = select(table).where(
            table.c.item_id == item_id, table.c.buyer_id == buyer_id, table.c.order_id == order_id
        )
        rows = connection.execute(query).mappings()
        events += [((row["partition"], row["incarnation"], row["seq"]), _event(row)) for row in rows]
    return [event for _, event in sorted(events, key=itemgetter(0))]


def list_details(
    connection: Connection,
    of: int | PartitionRef,
    after: DetailRow | None,
    limit: int,
    state: str | None = None,
    before_ms: int | None = None,
) -> list[DetailRow]:
    """Up to `limit` deductions of an item or a partition, by (partition, incarnation, seq), after that of `after`.

    Args:
        state: only those in this state.
        before_ms: only those made before then.
    """
    pages = [_page(connection, table, of, after, limit, _wanted(table, state, before_ms)) for table in _TABLES]
    return list(islice(merge(*pages, key=_place), limit))


def sold_orders(connection: Connection, item_id: int, orders: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the orders, each a (buyer, order), that have a row."""
    key = (deductions.c.buyer_id, deductions.c.order_id)
    sold: set[tuple[str, str]] = set()
    for start in range(0, len(orders), _AT_ONCE):
        some = orders[start : start + _AT_ONCE]
        query = select(*key).where(deductions.c.item_id == item_id, tuple_(*key).in_(some))
        sold.update((buyer, order) for buyer, order in connection.execute(query))
    return sold


def _wanted(table: Table, state: str | None, before_ms: int | None) -> ColumnElement[bool]:
    in_state = true() if state is None else table.c.state == state
    return and_(in_state, true() if before_ms is None else table.c.created_at < before_ms)


def _page(
    connection: Connection,
    table: Table,
    of: int | PartitionRef,
    after: DetailRow | None,
    limit: int,
    wanted: ColumnElement[bool],
) -> list[DetailRow]:
    rows: list[DetailRow] = []
    for condition in _ranges(table, of, after):
        if len(rows) < limit:
            query = select(table).where(condition, wanted).order_by(table.c.partition, table.c.incarnation, table.c.seq)
            rows += map(_detail, connection.execute(query.limit(limit - len(rows))).mappings())
    return rows


def _ranges(table: Table, of: int | PartitionRef, after: DetailRow | None) -> list[ColumnElement[bool]]:
    """The wanted rows as ranges of the primary key, in order: MySQL finds no range in a comparison of tuples."""
    c = table.c
    item = c.item_id == (of.item_id if isinstance(of, PartitionRef) else of)
    partition = true() if isinstance(of, int) else c.partition == of.partition
    if after is None:
        return [and_(item, partition)]
    within = and_(item, c.partition == after.partition)
    ranges = [
        and_(within, c.incarnation == after.incarnation, c.seq > after.seq),
        and_(within, c.incarnation > after.incarnation),
    ]
    return ranges if isinstance(of, PartitionRef) else [*ranges, and_(item, c.partition > after.partition)]


def _detail(row: RowMapping) -> DetailRow:
    return DetailRow(**{name: row[name.removesuffix("_ms")] for name in DetailRow.__struct_fields__})


def _event(row: RowMapping) -> EventRow:
    return EventRow(**{name: row[name.removesuffix("_ms")] for name in EventRow.__struct_fields__})


def _birth(row: DetailRow) -> EventRow:
    return EventRow(
        kind=row.born,
        quantity=row.quantity,
        partition=row.partition,
        incarnation=row.incarnation,
        seq=row.seq,
        at_ms=row.created_at_ms,
        expires_at_ms=row.expires_at_ms,
    )
