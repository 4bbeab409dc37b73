"""Items: made once, read often."""

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, RowMapping, case, func, insert, select, update

from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item, ItemSpec, ItemState, Standing
from hotsku.errors import IdempotencyConflict, UnknownItem
from hotsku.ledger.leases import new_partition
from hotsku.ledger.tables import adjustments, items, partitions
from hotsku.ports import Created


def create_item(
    connection: Connection, spec: ItemSpec, durability: str, now_ms: int, earlier: Created | None = None
) -> Created:
    """Make the item and its partitions, or find that it was made the same.

    Args:
        earlier: what an attempt would have returned whose COMMIT got no answer. The item is its own if it has its id:
            another's in its place got another one.

    Raises:
        IdempotencyConflict: it was made otherwise; names what differs.
    """
    known = item_where(connection, items.c.sku == spec.sku)
    if known is not None:
        _check_same(replace(known.spec, total=_first_total(connection, known)), spec)
        return Created(known, earlier is not None and earlier.new and earlier.item.id == known.id)
    connection.execute(insert(items).values(_values(spec) | {"created_at": now_ms}))
    item_id = connection.scalars(select(items.c.id).where(items.c.sku == spec.sku)).one()
    rows = [new_partition(PartitionRef(item_id, number), 1, "new", durability) for number in range(spec.partitions)]
    connection.execute(insert(partitions), rows)
    return Created(Item(item_id, spec), new=True)


def item_where(connection: Connection, condition: ColumnElement[bool]) -> Item | None:
    """The one item that fits, if any."""
    row = connection.execute(select(items).where(condition)).mappings().one_or_none()
    return None if row is None else _item(row)


def list_items(connection: Connection, after: str | None, limit: int) -> list[Item]:
    """Up to `limit` items in the order of their SKUs, after the SKU `after`."""
    query = select(items).order_by(items.c.sku).limit(limit)
    if after is not None:
        query = query.where(items.c.sku > after)
    return [_item(row) for row in connection.execute(query).mappings()]


def set_item_state(connection: Connection, item_id: int, state: ItemState) -> Item:
    """Open, pause or close the item; what is closed stays closed. Returns the item as it is then.

    Raises:
        UnknownItem: there is none.
    """
    connection.execute(
        update(items)
        .where(items.c.id == item_id, items.c.state.not_in((state, "closed")))
        .values(state=state, version=items.c.version + 1)
    )
    item = item_where(connection, items.c.id == item_id)
    if item is None:
        raise UnknownItem(f"#{item_id}")
    return item


def standing(connection: Connection, item_id: int) -> Standing:
    """The item's figures, in one statement.

    Raises:
        UnknownItem: there is none.
    """
    preallocated = partitions.c.granted - partitions.c.applied - partitions.c.returned
    quarantined = case((partitions.c.quarantined_until.is_not(None), preallocated), else_=0)
    sums = (preallocated, partitions.c.applied, quarantined, partitions.c.held)
    query = (
        select(items.c.total, items.c.pool, items.c.given_back, items.c.state, *(func.sum(each) for each in sums))
        .join_from(items, partitions, partitions.c.item_id == items.c.id)
        .where(items.c.id == item_id)
        .group_by(items.c.id)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UnknownItem(f"#{item_id}")
    total, pool, given_back, state, *figures = row
    left, applied, quarantined_units, held = map(int, figures)
    return Standing(
        total=total,
        pool=pool,
        preallocated=left,
        sold=applied - given_back - held,
        quarantined=quarantined_units,
        held=held,
        state=state,
    )


def _values(spec: ItemSpec) -> dict[str, object]:
    return {
        "sku": spec.sku,
        "total": spec.total,
        "pool": spec.total,
        "partitions": spec.partitions,
        "limit_per_buyer": spec.limit_per_buyer,
        "opens_at": spec.opens_at_ms,
        "closes_at": spec.closes_at_ms,
        "hold_ttl_ms": spec.hold_ttl_ms,
        "routing": spec.routing,
        "refund_restores_limit": spec.refund_restores_limit,
        "state": "open",
    }


def _item(row: RowMapping) -> Item:
    spec = ItemSpec(
        sku=row["sku"],
        total=row["total"],
        partitions=row["partitions"],
        limit_per_buyer=row["limit_per_buyer"],
        opens_at_ms=row["opens_at"],
        closes_at_ms=row["closes_at"],
        hold_ttl_ms=row["hold_ttl_ms"],
        routing=row["routing"],
        refund_restores_limit=row["refund_restores_limit"],
    )
    return Item(row["id"], spec, row["state"], row["version"])


def _first_total(connection: Connection, item: Item) -> int:
    """The total that the item was made with."""
    query = select(func.coalesce(func.sum(adjustments.c.quantity), 0)).where(adjustments.c.item_id == item.id)
    return item.spec.total - int(connection.execute(query).scalar_one())


def _check_same(known: ItemSpec, asked: ItemSpec) -> None:
    differing = [name for name in ItemSpec.__struct_fields__ if getattr(known, name) != getattr(asked, name)]
    if differing:
        parts = ", ".join(_difference(name, getattr(known, name), getattr(asked, name)) for name in differing)
        raise IdempotencyConflict(f"the item {known.sku!r} exists with other figures: {parts}", "sku")


def _difference(name: str, known: object, asked: object) -> str:
    # Callers gave times and durations of their own types, not these milliseconds.
    return f"another {name.removesuffix('_ms')}" if name.endswith("_ms") else f"{name} is {known}, not {asked}"
