"""The figures that an audit compares, counted from the rows themselves."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, Select, Table, and_, func, select, true, union_all
from sqlalchemy.sql.elements import ColumnElement

from hotsku.domain.deduction import OrderState
from hotsku.domain.events import EventKind
from hotsku.ledger.leases import list_partitions
from hotsku.ledger.tables import archived_deductions, archived_steps, deductions, items, leases, parked, steps
from hotsku.ports import ItemFigures, LedgerFigures, PartitionFigures, Tally

_Key = tuple[int, int, int]
_NOTHING = Tally()
_DEDUCTIONS = (deductions, archived_deductions)
_STEPS = (steps, archived_steps)


def figures(connection: Connection, item_id: int | None) -> LedgerFigures:
    """Counts of one item, or of all; within one transaction they are one snapshot."""
    rows = list_partitions(connection, item_id)
    leased = _tallies(connection, [leases], "no", item_id)
    sold = _tallies(connection, _DEDUCTIONS, "seq", item_id)
    returned = _tallies(connection, _STEPS, "seq", item_id)
    rebooked = _tallies(connection, _STEPS, "seq", item_id, rebooked=True)
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
        unknown_states=sum(_others(connection, table, "state", OrderState, item_id) for table in _DEDUCTIONS)
        + sum(_others(connection, table, "kind", [EventKind.RETURNED], item_id) for table in _STEPS),
    )


def _items(connection: Connection, item_id: int | None) -> list[ItemFigures]:
    query = select(items.c.id, items.c.sku, items.c.total, items.c.pool, items.c.limit_per_buyer).order_by(items.c.id)
    rows = connection.execute(query.where(_of(items.c.id, item_id)))
    return [
        ItemFigures(item_id=id_, sku=sku, total=total, pool=pool, limit_per_buyer=limit)
        for id_, sku, total, pool, limit in rows
    ]


def _tallies(
    connection: Connection, tables: Sequence[Table], number: str, item_id: int | None, *, rebooked: bool = False
) -> Mapping[_Key, Tally]:
    """What the tables' rows add up to, by (item, partition, incarnation); `rebooked`: only steps with an order."""
    tallies: dict[_Key, Tally] = {}
    for table in tables:
        key = (table.c.item_id, table.c.partition, table.c.incarnation)
        query = select(*key, func.count(), func.sum(table.c.quantity), func.max(table.c[number])).group_by(*key)
        condition = table.c.order_id != "" if rebooked else true()
        for row in connection.execute(query.where(_of(table.c.item_id, item_id), condition)):
            known = tallies.get((row[0], row[1], row[2]), _NOTHING)
            tallies[(row[0], row[1], row[2])] = Tally(
                count=known.count + row[3], quantity=known.quantity + int(row[4]), last=max(known.last, row[5])
            )
    return tallies


def _parked(connection: Connection, item_id: int | None) -> dict[tuple[int | None, int | None, int | None], int]:
    key = (parked.c.item_id, parked.c.partition, parked.c.incarnation)
    query = select(*key, func.count()).where(parked.c.resolved_at.is_(None), _of(parked.c.item_id, item_id))
    return {(row[0], row[1], row[2]): row[3] for row in connection.execute(query.group_by(*key))}


def _doubled(connection: Connection, item_id: int | None) -> int:
    """Orders with more than one row: in one of the tables, or in both."""
    doubled = 0
    for table in _DEDUCTIONS:
        key = (table.c.item_id, table.c.buyer_id, table.c.order_id)
        orders = select(*key).where(_of(table.c.item_id, item_id)).group_by(*key).having(func.count() > 1)
        doubled += _count(connection, orders)
    busy, archived = deductions.c, archived_deductions.c
    same = and_(
        busy.item_id == archived.item_id, busy.buyer_id == archived.buyer_id, busy.order_id == archived.order_id
    )
    both = select(busy.seq).join_from(archived_deductions, deductions, same).where(_of(archived.item_id, item_id))
    return doubled + _count(connection, both)


def _over_limit(connection: Connection, item_id: int | None) -> int:
    bought = union_all(
        *(
            select(table.c.item_id, table.c.buyer_id, table.c.quantity, items.c.limit_per_buyer)
            .join_from(items, table, table.c.item_id == items.c.id)
            .where(items.c.limit_per_buyer.is_not(None), _of(items.c.id, item_id))
            for table in _DEDUCTIONS
        )
    ).subquery()
    buyers = (
        select(bought.c.item_id, bought.c.buyer_id)
        .group_by(bought.c.item_id, bought.c.buyer_id)
        .having(func.sum(bought.c.quantity) > func.max(bought.c.limit_per_buyer))
    )
    return _count(connection, buyers)


def _others(connection: Connection, table: Table, column: str, known: Iterable[str], item_id: int | None) -> int:
    other = table.c[column].not_in([str(each) for each in known])
    return _count(connection, select(table.c.item_id).where(other, _of(table.c.item_id, item_id)))


def _of(column: ColumnElement[int], item_id: int | None) -> ColumnElement[bool]:
    return true() if item_id is None else column == item_id


def _count(connection: Connection, query: Select[*tuple[object, ...]]) -> int:
    return connection.scalar(select(func.count()).select_from(query.subquery())) or 0
