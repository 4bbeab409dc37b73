"""Partitions, and the leases that move units from an item's pool to them."""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from sqlalchemy import Connection, RowMapping, insert, select, tuple_, update

from hotsku.domain.events import PartitionRef
from hotsku.ledger.dialect import Dialect, GrantRow
from hotsku.ledger.faults import LostGuard
from hotsku.ledger.tables import items, leases, partitions
from hotsku.ports import Grant, Lease, PartitionRow

# A lease: item, partition, incarnation, the number that it gets, units.
_Row = tuple[int, int, int, int, int]
_COLUMNS = ("item_id", "partition", "incarnation", "no", "quantity", "created_at")
_AT_ONCE = 500


def lease(
    connection: Connection, dialect: Dialect, grants: Sequence[Grant], now_ms: int, unsure: list[Lease] | None
) -> list[Lease]:
    """Make every grant.

    Args:
        unsure: what an earlier attempt would have made, whose COMMIT got no answer.

    Raises:
        LostGuard: one of them cannot be made, so none is.
    """
    rows = sorted(
        (grant.ref.item_id, grant.ref.partition, grant.incarnation, grant.lease_no + 1, grant.quantity)
        for grant in grants
    )
    made = [_lease(row) for row in rows]
    # The partitions first: MySQL locks what a foreign key names for reading, and of two that read a row neither can go
    # on to change it.
    if not _grant(connection, dialect, rows):
        # All of them being there as we would have made them, the earlier attempt has come to its end. No partition has
        # the expected number of leases then, so nothing was granted now, and there is nothing to undo.
        if unsure is not None and _all_there(connection, rows, now_ms):
            return made
        raise LostGuard("a partition has another number of leases, or is not open")
    connection.execute(insert(leases), [dict(zip(_COLUMNS, (*row, now_ms), strict=True)) for row in rows])
    _take(connection, rows)
    return made


def leases_after(connection: Connection, ref: PartitionRef, incarnation: int, no: int) -> list[Lease]:
    """The partition's leases with higher numbers than `no`, in order."""
    key = (leases.c.item_id, leases.c.partition, leases.c.incarnation, leases.c.no)
    query = (
        select(*key, leases.c.quantity)
        .where(key[0] == ref.item_id, key[1] == ref.partition, key[2] == incarnation, key[3] > no)
        .order_by(leases.c.no)
    )
    return [_lease(row) for row in connection.execute(query)]


def list_partitions(connection: Connection, item_id: int | None, ref: PartitionRef | None = None) -> list[PartitionRow]:
    """Every (partition, incarnation) of the item, or of all items, or of one partition; in that order."""
    query = select(partitions).order_by(partitions.c.item_id, partitions.c.partition, partitions.c.incarnation)
    if item_id is not None:
        query = query.where(partitions.c.item_id == item_id)
    if ref is not None:
        query = query.where(partitions.c.item_id == ref.item_id, partitions.c.partition == ref.partition)
    return [partition_row(row) for row in connection.execute(query).mappings()]


def open_partition(connection: Connection, ref: PartitionRef, incarnation: int) -> None:
    """A new or rebuilt partition sells from now on; others stay as they are."""
    connection.execute(
        update(partitions)
        .where(partitions.c.item_id == ref.item_id, partitions.c.partition == ref.partition)
        .where(partitions.c.incarnation == incarnation, partitions.c.state.in_(("new", "rebuilding")))
        .values(state="open")
    )


def mark_fast(connection: Connection, ref: PartitionRef, incarnation: int) -> bool:
    """Not every write of the partition is synced, or on every copy, from now on. False where it is fenced or over."""
    result = connection.execute(
        update(partitions)
        .where(partitions.c.item_id == ref.item_id, partitions.c.partition == ref.partition)
        .where(partitions.c.incarnation == incarnation, partitions.c.state.in_(("new", "open", "rebuilding")))
        .values(durability="fast")
    )
    return result.rowcount == 1


def fence_partition(connection: Connection, ref: PartitionRef, incarnation: int, reason: str) -> None:
    """A new or open partition gets no more leases; others stay as they are. The first reason stays."""
    connection.execute(
        update(partitions)
        .where(partitions.c.item_id == ref.item_id, partitions.c.partition == ref.partition)
        .where(partitions.c.incarnation == incarnation, partitions.c.state.in_(("new", "open")))
        .values(state="fenced", reason=reason[:200])
    )


def new_partition(ref: PartitionRef, incarnation: int, state: str, durability: str) -> dict[str, object]:
    """A row of `partitions` without any units."""
    figures = dict.fromkeys(("lease_no", "granted", "applied", "returned", "held", "watermark"), 0)
    return {
        "item_id": ref.item_id,
        "partition": ref.partition,
        "incarnation": incarnation,
        "state": state,
        "durability": durability,
        **figures,
    }


def partition_row(row: RowMapping) -> PartitionRow:
    """The port's struct from a row of `partitions`."""
    return PartitionRow(**{name: row[name.removesuffix("_ms")] for name in PartitionRow.__struct_fields__})


def _all_there(connection: Connection, rows: Sequence[_Row], now_ms: int) -> bool:
    key = (leases.c.item_id, leases.c.partition, leases.c.incarnation, leases.c.no)
    found: set[tuple[int, ...]] = set()
    for start in range(0, len(rows), _AT_ONCE):
        some = [row[:4] for row in rows[start : start + _AT_ONCE]]
        query = select(*key, leases.c.quantity).where(tuple_(*key).in_(some), leases.c.created_at == now_ms)
        found.update(tuple(row) for row in connection.execute(query))
    return found == set(rows)


def _grant(connection: Connection, dialect: Dialect, rows: Sequence[_Row]) -> bool:
    """Add the units to their partitions, if all of them are as the leases' numbers say."""
    # A partition may get several leases at once; their numbers must follow each other.
    grants: list[GrantRow] = []
    for key, group in groupby(rows, key=itemgetter(0, 1, 2)):
        numbers, quantities = zip(*(row[3:] for row in group), strict=True)
        if numbers[-1] - numbers[0] + 1 != len(numbers):
            raise LostGuard("the numbers of a partition's leases do not follow each other")
        grants.append((*key, numbers[0] - 1, len(numbers), sum(quantities)))
    return dialect.grant(connection, grants) == len(grants)


def _take(connection: Connection, rows: Sequence[_Row]) -> None:
    for item_id, group in groupby(rows, key=itemgetter(0)):
        quantity = sum(row[4] for row in group)
        result = connection.execute(
            update(items)
            .where(items.c.id == item_id, items.c.pool >= quantity, items.c.state != "closed")
            .values(pool=items.c.pool - quantity)
        )
        if result.rowcount != 1:
            raise LostGuard("the pool has fewer units, or the item is closed")


def _lease(row: _Row) -> Lease:
    return Lease(PartitionRef(row[0], row[1]), row[2], row[3], row[4])
