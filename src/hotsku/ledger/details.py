"""Deductions, read: one order's, or an item's or a partition's page by page; whether archived or not."""

from collections.abc import Sequence
from heapq import merge
from itertools import islice
from operator import attrgetter

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, select, true, tuple_

from hotsku.domain.events import PartitionRef
from hotsku.ledger.tables import archived_deductions, deductions
from hotsku.ports import DetailRow

_COLUMNS = tuple(name for name in DetailRow.__struct_fields__ if name != "created_at_ms")
_place = attrgetter("partition", "incarnation", "seq")
_AT_ONCE = 500
_TABLES = (deductions, archived_deductions)


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


def list_details(
    connection: Connection, of: int | PartitionRef, after: DetailRow | None, limit: int
) -> list[DetailRow]:
    """Up to `limit` deductions of an item or a partition, by (partition, incarnation, seq), after that of `after`."""
    pages = [_page(connection, table, of, after, limit) for table in _TABLES]
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


def _page(
    connection: Connection, table: Table, of: int | PartitionRef, after: DetailRow | None, limit: int
) -> list[DetailRow]:
    rows: list[DetailRow] = []
    for condition in _ranges(table, of, after):
        if len(rows) < limit:
            query = select(table).where(condition).order_by(table.c.partition, table.c.incarnation, table.c.seq)
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
    return DetailRow(**{name: row[name] for name in _COLUMNS}, created_at_ms=row["created_at"])
