"""The end of an incarnation, and what becomes of the units that it had left."""

from sqlalchemy import ColumnElement, Connection, RowMapping, insert, literal, select, update

from hotsku.domain.events import EventKind, PartitionRef
from hotsku.ledger.faults import LostRace
from hotsku.ledger.leases import new_partition
from hotsku.ledger.tables import items, partitions, steps

# Of so many quarantines at most, one transaction ends all.
_AT_ONCE = 500

_LEFT = partitions.c.granted - partitions.c.applied - partitions.c.returned


def replace_incarnation(
    connection: Connection,
    ref: PartitionRef,
    incarnation: int,
    final_seq: int,
    durability: str,
    quarantine_until_ms: int | None,
    now_ms: int,
) -> bool:
    """Close a fenced incarnation at `final_seq`, and let the next one begin, rebuilding.

    Returns whether the next one is there.

    Raises:
        LostRace: another transaction changed the partition meanwhile.
    """
    if _find(connection, ref, incarnation + 1) is not None:
        return True
    row = _find(connection, ref, incarnation)
    if row is None or (row["state"], row["watermark"]) != ("fenced", final_seq):
        return False
    returned = row["left"] if quarantine_until_ms is None else 0
    if returned:
        _insert_last_steps(connection, partitions.c.id == row["id"], now_ms)
    connection.execute(insert(partitions).values(new_partition(ref, incarnation + 1, "rebuilding", durability)))
    closed = connection.execute(
        update(partitions)
        .where(partitions.c.id == row["id"], partitions.c.state == "fenced")
        .where(partitions.c.watermark == final_seq, row["left"] == _LEFT)
        .values(
            state="closed",
            final_seq=final_seq,
            returned=partitions.c.returned + returned,
            quarantined_until=quarantine_until_ms,
        )
    )
    if closed.rowcount != 1:
        raise LostRace
    _add_to_pool(connection, ref.item_id, returned)
    return True


def end_quarantines(connection: Connection, now_ms: int, unsure: list[PartitionRef]) -> list[PartitionRef]:
    """Return to the pools what closed incarnations hold whose quarantine is over; of many, some.

    Args:
        unsure: what an earlier attempt would have returned, whose COMMIT got no answer. Either it has ended those, or
            they are found again: in both cases they are ended now.

    Raises:
        LostRace: another transaction ends one of them at the same moment.
    """
    due = partitions.c.quarantined_until <= now_ms
    query = select(partitions, _LEFT.label("left")).where(due).order_by(partitions.c.id).limit(_AT_ONCE)
    rows = connection.execute(query).mappings().all()
    if not rows:
        return unsure
    chosen = partitions.c.id.in_([row["id"] for row in rows])
    _insert_last_steps(connection, chosen, now_ms)
    ended = connection.execute(
        update(partitions)
        .where(chosen, due)
        .values(returned=partitions.c.granted - partitions.c.applied, quarantined_until=None)
    )
    if ended.rowcount != len(rows):
        raise LostRace
    for item_id in sorted({row["item_id"] for row in rows}):
        _add_to_pool(connection, item_id, sum(row["left"] for row in rows if row["item_id"] == item_id))
    return sorted({*unsure, *(PartitionRef(row["item_id"], row["partition"]) for row in rows)})


def _find(connection: Connection, ref: PartitionRef, incarnation: int) -> RowMapping | None:
    query = (
        select(partitions, _LEFT.label("left"))
        .where(partitions.c.item_id == ref.item_id, partitions.c.partition == ref.partition)
        .where(partitions.c.incarnation == incarnation)
    )
    return connection.execute(query).mappings().one_or_none()


def _insert_last_steps(connection: Connection, chosen: ColumnElement[bool], now_ms: int) -> None:
    """Behind the last event of each chosen partition, a step that gives back what it has left."""
    values = {
        steps.c.item_id: partitions.c.item_id,
        steps.c.partition: partitions.c.partition,
        steps.c.incarnation: partitions.c.incarnation,
        steps.c.seq: partitions.c.watermark + 1,
        steps.c.kind: literal(EventKind.RETURNED.value),
        steps.c.buyer_id: literal(""),
        steps.c.order_id: literal(""),
        steps.c.quantity: _LEFT,
        steps.c.at: literal(now_ms),
    }
    connection.execute(insert(steps).from_select(list(values), select(*values.values()).where(chosen, _LEFT > 0)))


def _add_to_pool(connection: Connection, item_id: int, quantity: int) -> None:
    if quantity:
        connection.execute(update(items).where(items.c.id == item_id).values(pool=items.c.pool + quantity))
