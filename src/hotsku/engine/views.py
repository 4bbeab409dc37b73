"""What the inventory tells of items, their partitions, and what happened to an order."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from hotsku.domain.events import EventKind, PartitionRef
from hotsku.domain.item import Item, Routing, Standing
from hotsku.domain.times import from_ms, time_of
from hotsku.ports import EventRow, PartitionRow, PartitionStatus
from hotsku.stocking import unsold


class ItemView(Struct, frozen=True, kw_only=True):
    """An item and its figures: total = pool + preallocated + held + sold; actual = pool + preallocated, as the ledger
    knows it; `available` is what the shards and the pool could sell now, and what is on its way between them, 0 when
    the sale is over. `quarantined` units are pre-allocated: they wait because a shard that was lost may have sold them.
    `held` units wait for payment.
    `state`: "open", "sold_out", "not_open" (before `opens_at`), "paused", or "closed"."""

    sku: str
    total: int
    pool: int
    preallocated: int
    actual: int
    held: int
    sold: int
    available: int
    quarantined: int
    partitions: int
    routing: Routing
    limit_per_buyer: int | None
    opens_at: datetime | None
    closes_at: datetime | None
    hold_ttl: timedelta
    refund_restores_limit: bool
    state: str


class PartitionView(Struct, frozen=True, kw_only=True):
    """One partition in the registry.

    `shard` is the server that has it now. `state`: "selling"; "exhausted" (nothing left here nor in the pool: off the
    registry until stock comes back); "fenced" (its shard's memory is not the one that was armed); "recovering" (a
    new incarnation is on its way); "unreachable" (its shard does not answer); "new". `left_a`, `left_b`, `active`
    and `seq` are the shard's; `granted`, `applied`, `returned`, `preallocated` and `watermark` the ledger's. `lag`
    is how many events the ledger is behind.
    """

    sku: str
    partition: int
    shard: str
    state: str
    incarnation: int
    active: str
    left_a: int
    left_b: int
    threshold: int
    taken: int
    seq: int
    leases: int
    granted: int
    applied: int
    returned: int
    preallocated: int
    watermark: int
    lag: int


class OrderEvent(Struct, frozen=True, kw_only=True):
    """One event of an order's life. `quantity` is the order's units; of `refunded`, those that this step gave back.
    `expires_at` is there where the event set a hold's time; of `held` it is the last that the order had."""

    kind: EventKind
    quantity: int
    at: datetime
    expires_at: datetime | None
    payment_ref: str | None
    partition: int
    incarnation: int
    seq: int


def item_view(
    item: Item,
    standing: Standing,
    rows: Iterable[PartitionRow],
    statuses: Mapping[PartitionRef, PartitionStatus],
    now_ms: int,
) -> ItemView:
    """Put an item's figures together.

    Args:
        item: what never changes of it; its total and its state may be older than `standing`.
        rows: the item's partitions, from one snapshot with `standing`.
        statuses: of those that can be reached; what is in one that cannot sell (fenced) is not available.
    """
    spec = item.spec
    available = unsold(standing.pool, [(row, statuses[row.ref]) for row in rows if row.ref in statuses])
    state = _item_state(item, standing, available, now_ms)
    return ItemView(
        sku=spec.sku,
        total=standing.total,
        pool=standing.pool,
        preallocated=standing.preallocated,
        actual=standing.actual,
        held=standing.held,
        sold=standing.sold,
        available=0 if state == "closed" else available,
        quarantined=standing.quarantined,
        partitions=spec.partitions,
        routing=spec.routing,
        limit_per_buyer=spec.limit_per_buyer,
        opens_at=from_ms(spec.opens_at_ms),
        closes_at=from_ms(spec.closes_at_ms),
        hold_ttl=timedelta(milliseconds=spec.hold_ttl_ms),
        refund_restores_limit=spec.refund_restores_limit,
        state=state,
    )


def partition_view(sku: str, row: PartitionRow, known: PartitionStatus | None, pool: int, shard: str) -> PartitionView:
    """One partition, as its shard and the ledger have it; None: the shard does not answer."""
    status = known or PartitionStatus()
    return PartitionView(
        sku=sku,
        partition=row.partition,
        shard=shard,
        state="unreachable" if known is None else _partition_state(row, status, pool),
        incarnation=row.incarnation,
        active=status.active,
        left_a=status.left_a,
        left_b=status.left_b,
        threshold=status.threshold,
        taken=status.taken,
        seq=status.seq,
        leases=row.lease_no,
        granted=row.granted,
        applied=row.applied,
        returned=row.returned,
        preallocated=row.preallocated,
        watermark=row.watermark,
        lag=max(0, status.seq - row.watermark),
    )


def order_event(row: EventRow) -> OrderEvent:
    """One event, as the ledger has it."""
    return OrderEvent(
        kind=EventKind(row.kind),
        quantity=row.quantity,
        at=time_of(row.at_ms),
        expires_at=from_ms(row.expires_at_ms),
        payment_ref=row.payment_ref or None,
        partition=row.partition,
        incarnation=row.incarnation,
        seq=row.seq,
    )


def _item_state(item: Item, standing: Standing, available: int, now_ms: int) -> str:
    spec = item.spec
    if standing.state == "closed" or (spec.closes_at_ms is not None and now_ms >= spec.closes_at_ms):
        return "closed"
    if standing.state == "paused":
        return "paused"
    if spec.opens_at_ms is not None and now_ms < spec.opens_at_ms:
        return "not_open"
    return "open" if available else "sold_out"


def _partition_state(row: PartitionRow, status: PartitionStatus, pool: int) -> str:
    if row.state == "new":
        return "new"
    if row.state == "rebuilding":
        return "recovering"
    if row.state == "fenced" or not status.armed:
        return "fenced"
    return "exhausted" if status.left == 0 and pool == 0 else "selling"
