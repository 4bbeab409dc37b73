"""Deductions, read: one order's, or an item's page by page."""

from sqlalchemy import Connection, RowMapping, select, tuple_

from hotsku.ledger.tables import deductions
from hotsku.ports import DetailRow

_COLUMNS = tuple(name for name in DetailRow.__struct_fields__ if name != "created_at_ms")
_PLACE = (deductions.c.partition, deductions.c.incarnation, deductions.c.seq)


def detail_of(connection: Connection, item_id: int, order_id: str, buyer_id: str) -> DetailRow | None:
    """The order's deduction, if any."""
    query = select(deductions).where(
        deductions.c.item_id == item_id, deductions.c.buyer_id == buyer_id, deductions.c.order_id == order_id
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _detail(row)


def list_details(connection: Connection, item_id: int, after: DetailRow | None, limit: int) -> list[DetailRow]:
    """Up to `limit` deductions of the item, by (partition, incarnation, seq), after the one of `after`."""
    query = select(deductions).where(deductions.c.item_id == item_id).order_by(*_PLACE).limit(limit)
    if after is not None:
        query = query.where(tuple_(*_PLACE) > (after.partition, after.incarnation, after.seq))
    return [_detail(row) for row in connection.execute(query).mappings()]


def _detail(row: RowMapping) -> DetailRow:
    return DetailRow(**{name: row[name] for name in _COLUMNS}, created_at_ms=row["created_at"])
