"""Changes of an item's total: each once, by its id."""

from sqlalchemy import Connection, func, insert, select, update

from hotsku.errors import UnknownItem
from hotsku.ledger.tables import adjustments, items, partitions
from hotsku.ports import Adjusted


def adjust(connection: Connection, item_id: int, adjustment_id: str, quantity: int, now_ms: int) -> Adjusted:
    """Add `quantity` units to the total and the pool, or take -`quantity` from both, unless this was done before.

    Raises:
        UnknownItem: there is none.
    """
    done = connection.scalar(
        select(adjustments.c.quantity).where(
            adjustments.c.item_id == item_id, adjustments.c.adjustment_id == adjustment_id
        )
    )
    if done is not None:
        return _answer(connection, item_id, "done" if done == quantity else "conflict")
    moved = connection.execute(
        update(items)
        .where(items.c.id == item_id, items.c.state != "closed", items.c.pool + quantity >= 0)
        .values(total=items.c.total + quantity, pool=items.c.pool + quantity)
    )
    if moved.rowcount != 1:
        return _answer(connection, item_id, "short")
    # Behind the item's row, which it names: MySQL locks that for reading, and of two neither could go on to change it.
    row = {"item_id": item_id, "adjustment_id": adjustment_id, "quantity": quantity, "at": now_ms}
    connection.execute(insert(adjustments).values(row))
    return _answer(connection, item_id, "done")


def _answer(connection: Connection, item_id: int, status: str) -> Adjusted:
    preallocated = func.sum(partitions.c.granted - partitions.c.applied - partitions.c.returned)
    query = (
        select(items.c.state, items.c.pool, preallocated)
        .join_from(items, partitions, partitions.c.item_id == items.c.id)
        .where(items.c.id == item_id)
        .group_by(items.c.id)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UnknownItem(f"#{item_id}")
    state, pool, left = row
    if status == "short" and state == "closed":
        status = "closed"
    return Adjusted(status=status, pool=pool, actual=pool + int(left))
