"""How many shards, partitions and gateways a sale needs, and what follows: arithmetic over measured constants, and
`steady` for what waits in queues. See docs/scaling.md.
"""

from collections.abc import Iterator
from math import ceil

from msgspec import Struct
from msgspec.structs import replace

from hotsku.domain.capacity import Constants, Sale, Sizing
from hotsku.domain.leasing import lease_size, share
from hotsku.domain.placement import POINTS
from hotsku.domain.queueing import NEVER, Load, Steady, steady
from hotsku.domain.spread import fullest

# More of them on a shard leave room for more shards, and cost more calls.
_PARTITIONS_A_SHARD = (8, 4, 2, 1)
_WORTH = 1.05
_SETTLING = 30
_MOST_BUSY = 0.95
_PATIENCE_S = 5.0
_MOST_WAITING = 1_000_000  # details of a partition that the ledger does not have: `MAX_BACKLOG` of deduct.lua
_MIB = 1 << 20


def size(sale: Sale, constants: Constants, partitions: int | None = None) -> Sizing:
    """The fewest shards that will do, with as many partitions on each as cost at most 5% more gateways.

    Args:
        partitions: of the item in all; None: chosen.
    """
    tried: list[_Tried] = []
    for shards in range(1, POINTS + 1):
        counts = [partitions] if partitions else [shards * each for each in _PARTITIONS_A_SHARD]
        tried = [_tried(sale, constants, shards, count) for count in counts]
        fitting = [each for each in tried if each.fits]
        if fitting:
            most = min(each.gateways for each in fitting) * _WORTH
            return _sized(sale, constants, next(each for each in fitting if each.gateways <= most))
    return _sized(sale, constants, tried[-1])


def loads(sale: Sale, constants: Constants, shards: int, partitions: int, gateways: int) -> tuple[Load, Load]:
    """What the fullest shard is to carry while there is stock, and afterwards."""
    most = fullest(partitions, shards)
    part = most / partitions
    busy = min(_MOST_BUSY, sale.requests_per_s * constants.gateway_us / 1e6 / gateways)
    sales = Load(
        per_s=sale.requests_per_s * part,
        gateways=gateways,
        partitions=most,
        order_us=constants.sale_us,
        call_us=constants.sale_call_us,
        sync_ms=constants.sync_ms,
        travel_ms=constants.travel_ms,
        copied_ms=constants.replica_ms,
        gateway_us=constants.gateway_us,
        gateway_call_us=constants.gateway_call_us,
        gateway_busy=busy * (1 - part),
    )
    # A no writes nothing: there is nothing to sync, and no copy to wait for.
    noes = replace(
        sales,
        order_us=constants.no_us,
        call_us=constants.no_call_us,
        sync_ms=0.0,
        copied_ms=0.0,
    )
    return sales, noes


class _Tried(Struct, frozen=True, kw_only=True):
    """So many shards and partitions, with the gateways that they need."""

    shards: int
    partitions: int
    gateways: int
    sales: Steady
    noes: Steady
    fits: bool


def _tried(sale: Sale, constants: Constants, shards: int, partitions: int) -> _Tried:
    """Smaller batches cost the gateways more, and more gateways make batches smaller: go on until that settles."""
    gateways = max(1, ceil(sale.requests_per_s * constants.gateway_us / 1e6 / constants.load))
    sales = noes = NEVER
    for _ in range(_SETTLING):
        sales, noes = map(steady, loads(sale, constants, shards, partitions, gateways))
        request_us = constants.gateway_us + constants.gateway_call_us / min(sales.orders_a_call, noes.orders_a_call)
        needed = ceil(sale.requests_per_s * request_us / 1e6 / constants.load)
        if needed <= gateways:
            break
        gateways = needed
    return _Tried(
        shards=shards,
        partitions=partitions,
        gateways=gateways,
        sales=sales,
        noes=noes,
        fits=_fits(sale, constants, shards, partitions) and max(sales.p99_ms, noes.p99_ms) <= constants.p99_ms,
    )


def _fits(sale: Sale, constants: Constants, shards: int, partitions: int) -> bool:
    """Calls get fewer by themselves when a shard is busy; what it does for each order does not."""
    per_s = sale.requests_per_s * fullest(partitions, shards) / partitions
    return per_s * max(constants.sale_us, constants.no_us) / 1e6 <= constants.load


def _sized(sale: Sale, constants: Constants, tried: _Tried) -> Sizing:
    part = fullest(tried.partitions, tried.shards) / tried.partitions
    bytes_an_order = (constants.waiting_bytes, constants.kept_bytes)
    leases = _leases(sale, constants, tried.partitions)
    details_per_s = min(constants.broker_per_s, constants.ledger_per_s)
    return Sizing(
        requests_per_s=sale.requests_per_s,
        sold_s=sale.sold_s,
        shards=tried.shards,
        partitions=tried.partitions,
        gateways=tried.gateways,
        sales=tried.sales,
        noes=tried.noes,
        first_lease=leases[0],
        second_lease=leases[1],
        lease_rounds=leases[2],
        lease_s=leases[2] * constants.lease_ms / 1000,
        memory_mib=[sale.orders * part * each / _MIB for each in bytes_an_order],
        broker_s=max(sale.sold_s, sale.orders / constants.broker_per_s),
        ledger_s=max(sale.sold_s, sale.orders / details_per_s),
        bottleneck="gateways" if tried.gateways > tried.shards else "shards",
        warnings=list(_warnings(sale, constants, tried, leases)),
    )


def _leases(sale: Sale, constants: Constants, partitions: int) -> tuple[int, int, int]:
    """What each partition is given first and second, and in how many rounds the pool is shared out after that."""
    first = share(sale.stock, partitions)
    second = share(sale.stock - first * partitions, partitions)
    pool, rounds = sale.stock - (first + second) * partitions, 0
    demand_per_s = sale.requests_per_s * sale.quantity / partitions
    while units := lease_size(demand_per_s, constants.lease_ms, pool, partitions, ran_dry=False):
        pool, rounds = pool - units * partitions, rounds + 1
    return first, second, rounds


def _warnings(sale: Sale, constants: Constants, tried: _Tried, leases: tuple[int, int, int]) -> Iterator[str]:
    if not tried.fits:
        yield (
            f"{tried.shards} shards, the most that share an item, do not answer 99 of 100 orders within "
            f"{constants.p99_ms:g} ms"
        )
    followed = sale.sold_s * min(constants.broker_per_s, constants.ledger_per_s)
    if (sale.orders - followed) / tried.partitions > _MOST_WAITING:
        yield f"more than {_MOST_WAITING:,} details of a partition wait for the ledger: it refuses sales meanwhile"
    if leases[0] == 0:
        yield "fewer units than twice the partitions: each is asked for by the order that wants it"
    if leases[2] * constants.lease_ms / 1000 > _PATIENCE_S:
        yield f"sharing out the pool takes longer than an order waits, {_PATIENCE_S:g} s"
