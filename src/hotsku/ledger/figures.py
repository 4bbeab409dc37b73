"""The figures that an audit compares, counted from the rows themselves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, case, func, not_, or_, outerjoin, select, true, union_all
from sqlalchemy.sql.elements import ColumnElement

from hotsku.domain.deduction import OrderState
from hotsku.domain.events import BIRTHS, EventKind
from hotsku.domain.evidence import OrderRows, StepUnits
from hotsku.ledger.leases import list_partitions
from hotsku.ledger.tables import archived_deductions, archived_steps, deductions, items, leases, parked, steps
from hotsku.ports import ItemFigures, LedgerFigures, PartitionFigures, Tally

_Key = tuple[int, int, int]
_NOTHING = Tally()
_DEDUCTIONS = (deductions, archived_deductions)
_STEPS = (steps, archived_steps)
_ENDED = (OrderState.RELEASED.value, OrderState.EXPIRED.value)


def figures(connection: Connection, item_id: int | None) -> LedgerFigures:
    """Counts of one item, or of all; within one transaction they are one snapshot."""
    rows = list_partitions(connection, item_id)
    leased = _tallies(connection, [leases], "no", item_id)
    sold = _tallies(connection, _DEDUCTIONS, "seq", item_id)
    stepped = _tallies(connection, _STEPS, "seq", item_id)
    orders = _orders(connection, item_id)
    in_steps = _in_steps(connection, item_id)
    waiting = _parked(connection, item_id)
    keys = {(row.item_id, row.partition, row.incarnation) for row in rows}
    return LedgerFigures(
        items=_items(connection, item_id),
        partitions=[
            PartitionFigures(
                row=row,
                leases=leased.get(key, _NOTHING),
                deductions=sold.get(key, _NOTHING),
                steps=stepped.get(key, _NOTHING),
                parked=waiting.get(key, 0),
                orders=orders.get(key, OrderRows()),
                in_steps=in_steps.get(key, StepUnits()),
            )
            for row in rows
            for key in [(row.item_id, row.partition, row.incarnation)]
        ],
        strays=sum(tally.count for each in (leased, sold, stepped) for key, tally in each.items() if key not in keys),
        parked=sum(waiting.values()),
        doubled=_doubled(connection, item_id),
        over_limit=_over_limit(connection, item_id),
        unknown_states=sum(_misstated(connection, table, item_id) for table in _DEDUCTIONS)
        + sum(_unknown_kinds(connection, table, item_id) for table in _STEPS),
    )


def _items(connection: Connection, item_id: int | None) -> list[ItemFigures]:
    names = ItemFigures.__struct_fields__
    columns = [items.c["id" if name == "item_id" else name].label(name) for name in names]
    query = select(*columns).where(_of(items.c.id, item_id)).order_by(items.c.id)
    return [ItemFigures(**row) for row in connection.execute(query).mappings()]


def _tallies(connection: Connection, tables: Sequence[Table], number: str, item_id: int | None) -> Mapping[_Key, Tally]:
    """What the tables' rows add up to, by (item, partition, incarnation)."""
    tallies: dict[_Key, Tally] = {}
    for table in tables:
        sums = (func.count(), func.sum(table.c.quantity), func.max(table.c[number]))
        for key, found in _by_partition(connection, table, sums, item_id):
            known = tallies.get(key, _NOTHING)
            tallies[key] = Tally(
                count=known.count + found[0], quantity=known.quantity + found[1], last=max(known.last, found[2])
            )
    return tallies


def _orders(connection: Connection, item_id: int | None) -> Mapping[_Key, OrderRows]:
    """What the orders' states add up to, by the (item, partition, incarnation) of their births."""

    def units(table: Table) -> Mapping[str, ColumnElement[int]]:
        c = table.c
        ended, held = c.state.in_(_ENDED), c.state == OrderState.HELD.value
        return {
            "ended": case((ended, 1), else_=0),
            "ended_units": case((ended, c.quantity), else_=0),
            "holds": case((held, 1), else_=0),
            "on_hold": case((held, c.quantity), else_=0),
            "refunded": c.refunded,
            "limited": _limited(table),
        }

    return {key: OrderRows(**sums) for key, sums in _sums(connection, _DEDUCTIONS, units, item_id).items()}


def _limited(table: Table) -> ColumnElement[int]:
    """The units of an order that count against its buyer's limit."""
    restored = case((items.c.refund_restores_limit, table.c.refunded), else_=0)
    return case((table.c.state.in_(_ENDED), 0), else_=table.c.quantity - restored)


def _in_steps(connection: Connection, item_id: int | None) -> Mapping[_Key, StepUnits]:
    """The units in steps, by (item, partition, incarnation)."""

    def units(table: Table) -> Mapping[str, ColumnElement[int]]:
        kind = table.c.kind
        wanted = {
            "returned": kind == EventKind.RETURNED.value,
            "rebooked": and_(kind == EventKind.RETURNED.value, table.c.order_id != ""),
            "reborn": kind.in_(sorted(BIRTHS)),
            "ended": kind.in_((EventKind.RELEASED.value, EventKind.EXPIRED.value)),
            "refunded": kind == EventKind.REFUNDED.value,
        }
        return {name: case((each, table.c.quantity), else_=0) for name, each in wanted.items()}

    return {key: StepUnits(**sums) for key, sums in _sums(connection, _STEPS, units, item_id).items()}


def _sums(
    connection: Connection,
    tables: Sequence[Table],
    units: Callable[[Table], Mapping[str, ColumnElement[int]]],
    item_id: int | None,
) -> Mapping[_Key, Mapping[str, int]]:
    """The named units of all tables' rows, by (item, partition, incarnation)."""
    sums: dict[_Key, dict[str, int]] = {}
    for table in tables:
        named = units(table)
        for key, figures in _by_partition(connection, table, [func.sum(each) for each in named.values()], item_id):
            known = sums.setdefault(key, dict.fromkeys(named, 0))
            for name, figure in zip(named, figures, strict=True):
                known[name] += figure
    return sums


def _by_partition(
    connection: Connection, table: Table, sums: Sequence[ColumnElement[Any]], item_id: int | None
) -> Iterator[tuple[_Key, list[int]]]:
    key = (table.c.item_id, table.c.partition, table.c.incarnation)
    # Strays of no item are counted as well.
    query = select(*key, *sums).select_from(outerjoin(table, items, table.c.item_id == items.c.id)).group_by(*key)
    for row in connection.execute(query.where(_of(table.c.item_id, item_id))):
        yield (row[0], row[1], row[2]), [int(figure) for figure in row[3:]]


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
            select(table.c.item_id, table.c.buyer_id, _limited(table).label("units"), items.c.limit_per_buyer)
            .join_from(items, table, table.c.item_id == items.c.id)
            .where(items.c.limit_per_buyer.is_not(None), _of(items.c.id, item_id))
            for table in _DEDUCTIONS
        )
    ).subquery()
    buyers = (
        select(bought.c.item_id, bought.c.buyer_id)
        .group_by(bought.c.item_id, bought.c.buyer_id)
        .having(func.sum(bought.c.units) > func.max(bought.c.limit_per_buyer))
    )
    return _count(connection, buyers)


def _misstated(connection: Connection, table: Table, item_id: int | None) -> int:
    """Orders of a state or birth that there is not, or whose refunds do not fit their state."""
    c = table.c
    refunds = case(
        (c.state == OrderState.REFUNDED.value, c.refunded == c.quantity),
        (c.state == OrderState.CONFIRMED.value, and_(c.refunded >= 0, c.refunded < c.quantity)),
        else_=c.refunded == 0,
    )
    unknown = or_(c.state.not_in([str(state) for state in OrderState]), c.born.not_in(sorted(BIRTHS)))
    return _count(connection, select(c.item_id).where(or_(unknown, not_(refunds)), _of(c.item_id, item_id)))


def _unknown_kinds(connection: Connection, table: Table, item_id: int | None) -> int:
    unknown = table.c.kind.not_in([str(kind) for kind in EventKind])
    return _count(connection, select(table.c.item_id).where(unknown, _of(table.c.item_id, item_id)))


def _of(column: ColumnElement[int], item_id: int | None) -> ColumnElement[bool]:
    return true() if item_id is None else column == item_id


def _count(connection: Connection, query: Select[*tuple[object, ...]]) -> int:
    return connection.scalar(select(func.count()).select_from(query.subquery())) or 0
