"""How much stock goes where: lease sizes, switch thresholds, and the rounds that serve dry partitions. All pure.

Stock moves to demand. A partition that sells gets leases ahead of its demand (`lease_size`); one that ran dry asks, and
a round (`plan_round`) serves the asks from the pool, or reclaims from the richest partitions so that the next can.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from hotsku.domain.events import PartitionRef

# Leases of fewer units cost more ledger transactions than they spare skew.
_MIN_LEASE = 16
_DEMAND_WINDOW_MS = 250
_DEMAND_MEMORY_MS = 10_000
_MIN_HORIZON_MS = 2000
_REFILLS_AHEAD = 20


def share(pool: int, partitions: int) -> int:
    """The most that one lease may take: the pool halved, over the partitions. So the skew at the end stays small."""
    return pool // (2 * partitions)


def switch_threshold(quantity: int) -> int:
    """Below how many units the active bucket gives way to the standby, after a lease of `quantity` units."""
    return max(1, quantity // 4)


def lease_size(demand_per_s: float, refill_p99_ms: float, pool: int, partitions: int, *, ran_dry: bool) -> int:
    """Units of the next lease of a partition; 0 when the pool is so low that only asks are served.

    Args:
        demand_per_s: the partition's demand in units a second.
        refill_p99_ms: how long a refill takes at its 99th percentile.
        pool: units in the pool.
        partitions: the item's number of partitions.
        ran_dry: whether the partition ran dry since its last lease.
    """
    horizon_s = max(_MIN_HORIZON_MS, _REFILLS_AHEAD * refill_p99_ms) / 1000
    wanted = max(_MIN_LEASE, round(demand_per_s * horizon_s)) * (2 if ran_dry else 1)
    return min(wanted, share(pool, partitions))


class DemandMeter:
    """The highest demand of a partition over 250 ms within the last 10 s, from samples of its `taken` counter."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None
        self._rates: deque[tuple[int, float]] = deque()

    def observe(self, at_ms: int, taken: int) -> None:
        """Note that `taken` units had gone by `at_ms` of the shard's clock. Samples may repeat or come late."""
        if self._last is None:
            self._last = (at_ms, taken)
            return
        elapsed_ms, units = at_ms - self._last[0], taken - self._last[1]
        if elapsed_ms < _DEMAND_WINDOW_MS or units < 0:
            return
        self._last = (at_ms, taken)
        self._rates.append((at_ms, units * 1000 / elapsed_ms))
        while self._rates[0][0] < at_ms - _DEMAND_MEMORY_MS:
            self._rates.popleft()

    @property
    def per_s(self) -> float:
        """Units a second; 0 until two samples are there."""
        return max((rate for _, rate in self._rates), default=0.0)


class Need(Struct, frozen=True):
    """What a dry partition lacks, over all engines: `waiting` units in all, `smallest` for its first order."""

    ref: PartitionRef
    waiting: int
    smallest: int
    age_ms: int


class Holding(Struct, frozen=True):
    """What a partition has left. `protected`: it was granted units a moment ago, which are not to be reclaimed yet."""

    ref: PartitionRef
    left: int
    protected: bool


class Round(Struct, frozen=True):
    """What a round does: units to lease, units to reclaim."""

    grants: dict[PartitionRef, int]
    reclaims: dict[PartitionRef, int]


def merge_needs(needs: Iterable[Need]) -> list[Need]:
    """One need for each partition, of those that several engines have; the oldest first."""
    merged: dict[PartitionRef, Need] = {}
    for need in needs:
        known = merged.get(need.ref)
        if known is not None:
            need = Need(
                need.ref,
                known.waiting + need.waiting,
                min(known.smallest, need.smallest),
                max(known.age_ms, need.age_ms),
            )
        merged[need.ref] = need
    return sorted(merged.values(), key=lambda need: (-need.age_ms, need.ref))


def plan_round(pool: int, returning: int, needs: Sequence[Need], holdings: Sequence[Holding]) -> Round:
    """Serve the needs from the pool; where it can serve none, reclaim for the smallest of them that this can serve.

    Args:
        pool: units in the pool.
        returning: units that were reclaimed and have not reached the pool yet.
        needs: one a partition, oldest first (see `merge_needs`).
        holdings: every partition of the item.
    """
    grants = _grant(pool, needs)
    if grants:
        return Round(grants, {})
    coming = pool + returning
    wanted = sum(need.waiting for need in needs) - coming
    # A need that is out of reach (what it lacks is protected, or fenced) must not keep the larger ones waiting.
    for target in sorted(needs, key=lambda need: (need.smallest, -need.age_ms)):
        if coming >= target.smallest:
            break  # enough is on its way
        reclaims = _reclaim(target, target.smallest - coming, wanted, needs, holdings)
        if reclaims:
            return Round({}, reclaims)
    return Round({}, {})


def _grant(pool: int, needs: Sequence[Need]) -> dict[PartitionRef, int]:
    """Each need that fits gets its smallest, oldest first; what remains fills them up to their sums."""
    grants: dict[PartitionRef, int] = {}
    for need in needs:
        if need.smallest <= pool:
            grants[need.ref] = need.smallest
            pool -= need.smallest
    for need in needs:
        if need.ref in grants:
            more = min(pool, need.waiting - need.smallest)
            grants[need.ref] += more
            pool -= more
    return grants


def _reclaim(
    target: Need, least: int, wanted: int, needs: Sequence[Need], holdings: Sequence[Holding]
) -> dict[PartitionRef, int]:
    """Take what is above the average from the richest, up to all that is wanted; then as much as is needed from anyone,
    from partitions that are dry themselves last. Nothing, when even all of it would not serve the target."""
    asking = {need.ref for need in needs}
    donors = [h for h in holdings if h.left > 0 and not h.protected and h.ref != target.ref]
    if sum(donor.left for donor in donors) < least:
        return {}
    donors.sort(key=lambda h: (h.ref in asking, -h.left, h.ref))
    average = sum(h.left for h in holdings) // len(holdings)
    reclaims: dict[PartitionRef, int] = {}
    taken = 0
    for donor in donors:
        units = min(donor.left - average, wanted - taken)
        if donor.ref not in asking and units > 0:
            reclaims[donor.ref] = units
            taken += units
    for donor in donors:
        units = min(donor.left - reclaims.get(donor.ref, 0), least - taken)
        if units > 0:
            reclaims[donor.ref] = reclaims.get(donor.ref, 0) + units
            taken += units
    return reclaims


def take_from_richest(lefts: Mapping[PartitionRef, int], units: int) -> dict[PartitionRef, int]:
    """Which partitions are to give back how much, so that `units` come together: the richest give, down to one level.
    All that they have, where that is not enough."""
    level = _level(lefts.values(), units)
    taken: dict[PartitionRef, int] = {}
    for down_to in (level + 1, level):  # the last step down need not be everybody's
        for ref in sorted(lefts, key=lambda ref: (-lefts[ref], ref)):
            part = min(lefts[ref] - taken.get(ref, 0) - down_to, units)
            if part > 0:
                taken[ref] = taken.get(ref, 0) + part
                units -= part
    return taken


def _level(lefts: Collection[int], units: int) -> int:
    """The highest level above which so many units lie; 0 where there are fewer."""
    low, high = 0, max(lefts, default=0)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(max(0, left - middle) for left in lefts) >= units:
            low = middle
        else:
            high = middle - 1
    return low
