"""Partitions, and the leases that move units from an item's pool to them."""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

import msgspec
from sqlalchemy import Connection, RowMapping, select, update
from sqlalchemy.exc import IntegrityError

from hotsku.domain.events import PartitionRef
from hotsku.ledger import sqlite
from hotsku.ledger.tables import items, leases, partitions
from hotsku.ports import Grant, Lease, PartitionRow

# One lease as its guards see it: item, partition, incarnation, the number it gets, units.
_Row = tuple[int, int, int, int, int]


class LostGuard(Exception):
    """A partition or the pool is not as a grant took it to be. The transaction is rolled back."""


def lease(connection: Connection, grants: Sequence[Grant], now_ms: int) -> list[Lease]:
    """Make every grant.

    Raises:
        LostGuard: one of them cannot be made, so none is.
    """
    rows = sorted(
        (grant.ref.item_id, grant.ref.partition, grant.incarnation, grant.lease_no + 1, grant.quantity)
        for grant in grants
    )
    _insert(connection, rows, now_ms)
    _grant(connection, rows)
    _take(connection, rows)
    return [_lease(row) for row in rows]


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
    """A new partition sells from now on; others stay as they are."""
    connection.execute(
        update(partitions)
        .where(partitions.c.item_id == ref.item_id, partitions.c.partition == ref.partition)
        .where(partitions.c.incarnation == incarnation, partitions.c.state == "new")
        .values(state="open")
    )


def mark_fast(connection: Connection, ref: PartitionRef, incarnation: int) -> None:
    """Not every write of the partition is synced from now on."""
    connection.execute(
        update(partitions)
        .where(partitions.c.item_id == ref.item_id, partitions.c.partition == ref.partition)
        .where(partitions.c.incarnation == incarnation)
        .values(durability="fast")
    )


def fence_partition(connection: Connection, ref: PartitionRef, incarnation: int, reason: str) -> None:
    """The partition gets no more leases. The first reason stays."""
    connection.execute(
        update(partitions)
        .where(partitions.c.item_id == ref.item_id, partitions.c.partition == ref.partition)
        .where(partitions.c.incarnation == incarnation, partitions.c.state != "fenced")
        .values(state="fenced", reason=reason[:200])
    )


def partition_row(row: RowMapping) -> PartitionRow:
    """The port's struct from a row of `partitions`."""
    return PartitionRow(**{name: row[name] for name in PartitionRow.__struct_fields__})


def _insert(connection: Connection, rows: Sequence[_Row], now_ms: int) -> None:
    try:
        connection.execute(sqlite.INSERT_LEASES, {"leases": _json(rows), "created_at": now_ms})
    except IntegrityError as error:
        raise LostGuard("a lease has this number already, or there is no such partition") from error


def _grant(connection: Connection, rows: Sequence[_Row]) -> None:
    # A partition may get several leases at once; their numbers must follow each other.
    grants = []
    for key, group in groupby(rows, key=itemgetter(0, 1, 2)):
        numbers, quantities = zip(*(row[3:] for row in group), strict=True)
        if numbers[-1] - numbers[0] + 1 != len(numbers):
            raise LostGuard("the numbers of a partition's leases do not follow each other")
        grants.append((*key, numbers[0] - 1, len(numbers), sum(quantities)))
    result = connection.execute(sqlite.GRANT_TO_PARTITIONS, {"grants": _json(grants)})
    if result.rowcount != len(grants):
        raise LostGuard("a partition has another number of leases, or is not open")


def _take(connection: Connection, rows: Sequence[_Row]) -> None:
    for item_id, group in groupby(rows, key=itemgetter(0)):
        quantity = sum(row[4] for row in group)
        result = connection.execute(
            update(items).where(items.c.id == item_id, items.c.pool >= quantity).values(pool=items.c.pool - quantity)
        )
        if result.rowcount != 1:
            raise LostGuard("the pool has fewer units")


def _lease(row: _Row) -> Lease:
    return Lease(PartitionRef(row[0], row[1]), row[2], row[3], row[4])


def _json(rows: Sequence[tuple[int, ...]]) -> str:
    return msgspec.json.encode(rows).decode()
