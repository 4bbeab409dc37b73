"""Items, and the figures that the ledger keeps of them. Times are milliseconds since the epoch, in UTC."""

from typing import Literal, get_args

from msgspec import Struct

from hotsku.domain.identity import check_id, check_quantity
from hotsku.errors import InvalidRequest

Routing = Literal["sticky", "random", "round_robin"]
ItemState = Literal["open", "paused", "closed"]

MAX_PARTITIONS = 1024
DEFAULT_HOLD_TTL_MS = 15 * 60 * 1000

# One partition for every so many units, never more than so many on a shard. The batch of each has a price of its own
# there, and a few already keep it busy; over several shards, more of them spread an item more evenly.
_UNITS_PER_PARTITION = 250
_PARTITIONS_OF_ONE_SHARD = 4
_PARTITIONS_PER_SHARD = 8


class ItemSpec(Struct, frozen=True, kw_only=True):
    """What an item is created with. Two creations of one SKU must agree in all of it."""

    sku: str
    total: int
    partitions: int
    limit_per_buyer: int | None = None
    opens_at_ms: int | None = None
    closes_at_ms: int | None = None
    hold_ttl_ms: int = DEFAULT_HOLD_TTL_MS
    routing: Routing = "sticky"
    refund_restores_limit: bool = False


class Item(Struct, frozen=True):
    """An item as the ledger has it; `id` is the integer that keys and messages use.

    `version` counts the changes of its state: a partition keeps the newest configuration that it has heard of.
    """

    id: int
    spec: ItemSpec
    state: ItemState = "open"
    version: int = 1

    @property
    def sku(self) -> str:
        return self.spec.sku


class Standing(Struct, frozen=True):
    """One item's figures, read from the ledger in one statement: total = pool + preallocated + held + sold.

    `quarantined` units are part of `preallocated`.
    """

    total: int
    pool: int
    preallocated: int
    sold: int
    quarantined: int = 0
    held: int = 0
    state: ItemState = "open"

    @property
    def actual(self) -> int:
        """Units that are not sold, as the ledger knows it."""
        return self.pool + self.preallocated


def check_spec(spec: ItemSpec) -> ItemSpec:
    """Return `spec` if every part of it is allowed.

    Raises:
        InvalidRequest: names the first part that is not.
    """
    check_id("sku", spec.sku)
    check_quantity(spec.total, "total")
    if type(spec.partitions) is not int or not 1 <= spec.partitions <= MAX_PARTITIONS:
        raise InvalidRequest("partitions", f"an integer from 1 to {MAX_PARTITIONS}")
    if spec.limit_per_buyer is not None:
        check_quantity(spec.limit_per_buyer, "limit_per_buyer")
    if spec.routing not in get_args(Routing):
        raise InvalidRequest("routing", "one of " + ", ".join(get_args(Routing)))
    if spec.limit_per_buyer is not None and spec.routing != "sticky":
        raise InvalidRequest("routing", "sticky where limit_per_buyer is set")
    if type(spec.hold_ttl_ms) is not int or not 1 <= spec.hold_ttl_ms <= 10**11:
        raise InvalidRequest("hold_ttl", "longer than zero and shorter than three years")
    if spec.opens_at_ms is not None and spec.closes_at_ms is not None and spec.closes_at_ms <= spec.opens_at_ms:
        raise InvalidRequest("closes_at", "after opens_at")
    if type(spec.refund_restores_limit) is not bool:
        raise InvalidRequest("refund_restores_limit", "true or false")
    return spec


def default_partitions(total: int, shards: int = 1) -> int:
    """How many partitions an item gets that does not say: one for every 250 units, at most 4 where there is one shard,
    at most 8 a shard where there are more, and at least 1."""
    most = _PARTITIONS_OF_ONE_SHARD if shards == 1 else _PARTITIONS_PER_SHARD * shards
    return max(1, min(total // _UNITS_PER_PARTITION, most))
