"""What the inventory tells of items and partitions."""

from datetime import UTC, datetime, timedelta

from msgspec import Struct

from hotsku.domain.item import Item, Routing, Standing
from hotsku.errors import InvalidRequest
from hotsku.ports import PartitionRow, PartitionStatus

# Shards have 0 for "no limit", so that a sale cannot open or close then.
_EPOCH = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


class ItemView(Struct, frozen=True, kw_only=True):
    """An item and its figures: total = pool + preallocated + held + sold; actual = pool + preallocated, as the ledger
    knows it; `available` is what the shards and the pool could sell now. `quarantined` units are pre-allocated: they
    wait because a shard that was lost may have sold them."""

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


def item_view(item: Item, standing: Standing, statuses: list[PartitionStatus], now_ms: int) -> ItemView:
    """Put an item's figures together.

    Args:
        statuses: of the item's partitions that can be reached; those that cannot sell (fenced) do not count as
            available.
    """
    spec = item.spec
    available = standing.pool + sum(status.left for status in statuses if status.armed)
    return ItemView(
        sku=spec.sku,
        total=spec.total,
        pool=standing.pool,
        preallocated=standing.preallocated,
        actual=standing.actual,
        held=0,
        sold=standing.sold,
        available=available,
        quarantined=standing.quarantined,
        partitions=spec.partitions,
        routing=spec.routing,
        limit_per_buyer=spec.limit_per_buyer,
        opens_at=from_ms(spec.opens_at_ms),
        closes_at=from_ms(spec.closes_at_ms),
        hold_ttl=timedelta(milliseconds=spec.hold_ttl_ms),
        refund_restores_limit=spec.refund_restores_limit,
        state=_item_state(item, available, now_ms),
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


def to_ms(field: str, value: datetime | None) -> int | None:
    """Milliseconds since the epoch of a timezone-aware time.

    Raises:
        InvalidRequest: `value` is naive, not after 1970, or no time at all.
    """
    if value is None:
        return None
    if type(value) is not datetime or value.utcoffset() is None or value <= _EPOCH:
        raise InvalidRequest(field, "a timezone-aware datetime after 1970")
    return int(value.timestamp() * 1000)


def from_ms(value: int | None) -> datetime | None:
    """The time in UTC."""
    return None if value is None else datetime.fromtimestamp(value / 1000, UTC)


def _item_state(item: Item, available: int, now_ms: int) -> str:
    if item.spec.opens_at_ms is not None and now_ms < item.spec.opens_at_ms:
        return "not_open"
    if item.spec.closes_at_ms is not None and now_ms >= item.spec.closes_at_ms:
        return "closed"
    return "open" if available else "sold_out"


def _partition_state(row: PartitionRow, status: PartitionStatus, pool: int) -> str:
    if row.state == "new":
        return "new"
    if row.state == "rebuilding":
        return "recovering"
    if row.state == "fenced" or not status.armed:
        return "fenced"
    return "exhausted" if status.left == 0 and pool == 0 else "selling"
