"""Moves the details of items that are over out of the tables that sales write to.

Two tables beside the busy ones, and not the databases' own partitioning: that asks for DDL for every item, which the
role that sells has no right to, is written in three ways on three databases, and SQLite has none. The audit counts the
archived rows themselves, as it does the others: a tally of them would not notice one that was lost.
"""

from sqlalchemy import ColumnElement, Connection, Table, delete, insert, select, update

from hotsku.errors import InvalidRequest, UnknownItem
from hotsku.ledger.faults import LostRace
from hotsku.ledger.tables import archived_deductions, archived_steps, deductions, items, steps
from hotsku.ports import Archived

_MOVES = ((deductions, archived_deductions), (steps, archived_steps))


def archive_item(connection: Connection, item_id: int, limit: int, now_ms: int) -> Archived:
    """Move up to `limit` rows of a closed item, of one partition's incarnation.

    Raises:
        UnknownItem: there is none.
        InvalidRequest: it is not closed.
        LostRace: another one archives it at the same moment.
    """
    row = connection.execute(select(items.c.sku, items.c.state).where(items.c.id == item_id)).one_or_none()
    if row is None:
        raise UnknownItem(f"#{item_id}")
    if row.state != "closed":
        raise InvalidRequest("sku", f"that of a closed item; {row.sku} is {row.state}: close it first")
    for busy, archived in _MOVES:
        moved = _move(connection, busy, archived, item_id, limit)
        if moved:
            return Archived(moved=moved, done=False)
    connection.execute(
        update(items).where(items.c.id == item_id, items.c.archived_at.is_(None)).values(archived_at=now_ms)
    )
    return Archived(moved=0, done=True)


def _move(connection: Connection, busy: Table, archived: Table, item_id: int, limit: int) -> int:
    chosen = _first(connection, busy, item_id, limit)
    if chosen is None:
        return 0
    copy = insert(archived).from_select([column.name for column in busy.c], select(busy).where(*chosen))
    inserted = connection.execute(copy, execution_options={"preserve_rowcount": True}).rowcount
    deleted = connection.execute(delete(busy).where(*chosen)).rowcount
    if inserted != deleted:
        raise LostRace
    return deleted


def _first(connection: Connection, busy: Table, item_id: int, limit: int) -> list[ColumnElement[bool]] | None:
    """Names up to `limit` rows of the item: the first ones of the first incarnation that has any."""
    key = (busy.c.partition, busy.c.incarnation, busy.c.seq)
    first = connection.execute(select(*key).where(busy.c.item_id == item_id).order_by(*key).limit(1)).one_or_none()
    if first is None:
        return None
    of_one = [busy.c.item_id == item_id, busy.c.partition == first[0], busy.c.incarnation == first[1]]
    beyond = select(busy.c.seq).where(*of_one).order_by(busy.c.seq).offset(limit).limit(1)
    end = connection.scalar(beyond)
    return of_one if end is None else [*of_one, busy.c.seq < end]
