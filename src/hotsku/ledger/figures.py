"""The figures that an audit compares, counted from the rows themselves."""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, Select, Table, func, select, true
from sqlalchemy.sql.elements import ColumnElement

from hotsku.domain.deduction import OrderState
from hotsku.domain.events import EventKind
from hotsku.ledger.leases import list_partitions
from hotsku.ledger.tables import deductions, items, leases, parked, steps
from hotsku.ports import ItemFigures, LedgerFigures, PartitionFigures, Tally

_Key = tuple[int, int, int]
_NOTHING = Tally()


def figures(connection: Connection, item_id: int | None) -> LedgerFigures:
    """Counts of one item, or of all; within one transaction they are one snapshot."""
    rows = list_partitions(connection, item_id)
    leased = _tallies(connection, leases, leases.c.no, item_id)
    sold = _tallies(connection, deductions, deductions.c.seq, item_id)
    returned = _tallies(connection, steps, steps.c.seq, item_id)
    rebooked = _tallies(connection, steps, steps.c.seq, item_id, steps.c.order_id != "")
    waiting = _parked(connection, item_id)
    keys = {(row.item_id, row.partition, row.incarnation) for row in rows}
    return LedgerFigures(
        items=_items(connection, item_id),
        partitions=[
            PartitionFigures(
                row=row,
                leases=leased.get(key, _NOTHING),
                deductions=sold.get(key, _NOTHING),
                returns=returned.get(key, _NOTHING),
                parked=waiting.get(key, 0),
                rebooked=rebooked.get(key, _NOTHING).quantity,
            )
            for row in rows
            for key in [(row.item_id, row.partition, row.incarnation)]
        ],
        strays=sum(tally.count for each in (leased, sold, returned) for key, tally in each.items() if key not in keys),
        parked=sum(waiting.values()),
        doubled=_doubled(connection, item_id),
        over_limit=_over_limit(connection, item_id),
        unknown_states=_others(connection, deductions.c.state, OrderState, deductions.c.item_id, item_id)
        + _others(connection, steps.c.kind, [EventKind.RETURNED], steps.c.item_id, item_id),
    )


def _items(connection: Connection, item_id: int | None) -> list[ItemFigures]:
    query = select(items.c.id, items.c.sku, items.c.total, items.c.pool, items.c.limit_per_buyer).order_by(items.c.id)
    rows = connection.execute(query.where(_of(items.c.id, item_id)))
    return [
        ItemFigures(item_id=id_, sku=sku, total=total, pool=pool, limit_per_buyer=limit)
        for id_, sku, total, pool, limit in rows
    ]


def _tallies(
    connection: Connection,
    table: Table,
    number: ColumnElement[int],
    item_id: int | None,
    only: ColumnElement[bool] | None = None,
) -> Mapping[_Key, Tally]:
    key = (table.c.item_id, table.c.partition, table.c.incarnation)
    query = select(*key, func.count(), func.sum(table.c.quantity), func.max(number))
    condition = true() if only is None else only
    rows = connection.execute(query.where(_of(table.c.item_id, item_id), condition).group_by(*key))
    return {(row[0], row[1], row[2]): Tally(count=row[3], quantity=row[4], last=row[5]) for row in rows}


def _parked(connection: Connection, item_id: int | None) -> dict[tuple[int | None, int | None, int | None], int]:
    key = (parked.c.item_id, parked.c.partition, parked.c.incarnation)
    query = select(*key, func.count()).where(parked.c.resolved_at.is_(None), _of(parked.c.item_id, item_id))
    return {(row[0], row[1], row[2]): row[3] for row in connection.execute(query.group_by(*key))}


def _doubled(connection: Connection, item_id: int | None) -> int:
    key = (deductions.c.item_id, deductions.c.buyer_id, deductions.c.order_id)
    orders = select(*key).where(_of(deductions.c.item_id, item_id)).group_by(*key).having(func.count() > 1)
    return _count(connection, orders)


def _over_limit(connection: Connection, item_id: int | None) -> int:
    buyers = (
        select(deductions.c.item_id, deductions.c.buyer_id)
        .join_from(items, deductions, deductions.c.item_id == items.c.id)
        .where(items.c.limit_per_buyer.is_not(None), _of(items.c.id, item_id))
        .group_by(deductions.c.item_id, deductions.c.buyer_id)
        .having(func.sum(deductions.c.quantity) > func.max(items.c.limit_per_buyer))
    )
    return _count(connection, buyers)


def _others(
    connection: Connection,
    column: ColumnElement[str],
    known: Iterable[str],
    of: ColumnElement[int],
    item_id: int | None,
) -> int:
    return _count(connection, select(of, column).where(column.not_in([str(each) for each in known]), _of(of, item_id)))


def _of(column: ColumnElement[int], item_id: int | None) -> ColumnElement[bool]:
    return true() if item_id is None else column == item_id


def _count(connection: Connection, query: Select[*tuple[object, ...]]) -> int:
    return connection.scalar(select(func.count()).select_from(query.subquery())) or 0
