"""How busy a shard is and how long its orders wait, by formulas: gateways that coalesce, and a shard that syncs once
for all that came while it was busy (group commit).

Every gateway has one round of batches under way to a shard, and what arrives meanwhile is its next one. So nothing is
lost when a shard is slow: cycles get longer, batches larger, and each order cheaper. The formulas find the cycle at
which that comes to rest. `hotsku capacity --simulate` plays the same through order by order.
"""

from math import expm1, inf, sqrt

from msgspec import Struct

_STEPS = 100
_MOST_CYCLE_S = 1000.0
# What 99 of 100 do not exceed: in means of an exponential distribution, in deviations of a normal one.
_EXPONENTIAL_99, _NORMAL_99 = 4.6, 2.3


class Load(Struct, frozen=True, kw_only=True):
    """What one shard is to carry, of one kind of answers. Costs are microseconds of CPU.

    Attributes:
        per_s: orders a second.
        gateways: processes that call it; each has the same share.
        partitions: of the item, on this shard; a round has a call for each that has orders.
        order_us, call_us: what an order and a function call cost the shard.
        sync_ms: of an fsync, which the answers of a turn wait for together; 0 where nothing is written.
        travel_ms: to the shard and back.
        copied_ms: what the answers then wait for the replicas.
        gateway_us, gateway_call_us: what an order and a call cost a gateway.
        gateway_busy: the share of its time that a gateway spends on the orders of other shards.
    """

    per_s: float
    gateways: int
    partitions: int
    order_us: float
    call_us: float
    sync_ms: float
    travel_ms: float
    copied_ms: float
    gateway_us: float
    gateway_call_us: float
    gateway_busy: float


class Steady(Struct, frozen=True, kw_only=True):
    """Where it comes to rest. `cpu` is the share of its time that the shard's thread computes; an fsync is not in it.

    `cycle_ms` is the time from one round of a gateway to its next, `turn_ms` that of a turn of the shard.
    """

    cpu: float
    orders_a_call: float
    turn_ms: float
    cycle_ms: float
    p50_ms: float
    p99_ms: float


NEVER = Steady(cpu=inf, orders_a_call=inf, turn_ms=inf, cycle_ms=inf, p50_ms=inf, p99_ms=inf)
"""It does not come to rest: more orders arrive than can be answered, however large the batches are."""


def steady(load: Load) -> Steady:
    """Where the load comes to rest; `NEVER` where it does not."""
    low, high = 0.0, _MOST_CYCLE_S
    if _Cycle(load, high).too_short:
        return NEVER
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _Cycle(load, middle).too_short else (low, middle)
    return _Cycle(load, high).steady()


class _Cycle:
    """What follows if a gateway's cycle takes `cycle_s` seconds."""

    def __init__(self, load: Load, cycle_s: float) -> None:
        self._cycle_s = cycle_s
        self._gateways = load.gateways
        slots = load.gateways * load.partitions
        # Orders fall into the slots at random, so some of them have none in a cycle (Poisson).
        self._calls_per_s = slots * -expm1(-load.per_s * cycle_s / slots) / cycle_s if cycle_s else load.per_s
        self._orders_a_call = load.per_s / self._calls_per_s
        self._cpu = (self._calls_per_s * load.call_us + load.per_s * load.order_us) / 1e6
        self._under_way = -expm1(-load.per_s / load.gateways * cycle_s)
        self._work_s = self._cpu * cycle_s / (load.gateways * self._under_way) if cycle_s else inf
        sync_s, others = load.sync_ms / 1000, (load.gateways - 1) / load.gateways  # nobody waits for itself
        if self._cpu >= 1:
            self._turn_s = self._wait_s = inf
        else:
            # A turn has what came during the one before it, and no less than one gateway's round.
            self._turn_s = max(sync_s + self._work_s, sync_s / (1 - self._cpu))
            self._wait_s = others * self._cpu * self._work_s / (2 * (1 - self._cpu))
        self._in_turn = -expm1(-self._calls_per_s * others * self._turn_s)
        in_round = load.per_s / load.gateways * cycle_s / self._under_way if cycle_s else 1.0
        work_us = in_round * (load.gateway_us + load.gateway_call_us / self._orders_a_call)
        self._away_s = (load.travel_ms + load.copied_ms) / 1000 + work_us / 1e6 / (1 - load.gateway_busy)

    @property
    def too_short(self) -> bool:
        """Whether a round takes longer than that."""
        return self._round_s > self._cycle_s

    @property
    def _round_s(self) -> float:
        """From a gateway to the shard, the rest of the turn under way, one's own, and back."""
        return self._away_s + self._turn_s * (1 + self._in_turn / 2) + self._wait_s

    def steady(self) -> Steady:
        """An order waits for the rest of the cycle under way, if there is one, then goes through one."""
        late_s = _late(self._under_way) * self._cycle_s + self._late_wait_s
        # Under load a gateway's cycle and the turns are in step, and the rest of a turn is about the same each time.
        late_s += (1 - self._under_way) * (_late(self._in_turn) - self._in_turn / 2) * self._turn_s
        return Steady(
            cpu=self._cpu,
            orders_a_call=self._orders_a_call,
            turn_ms=self._turn_s * 1000,
            cycle_ms=self._cycle_s * 1000,
            p50_ms=(self._round_s + self._under_way * self._cycle_s / 2) * 1000,
            p99_ms=(self._round_s + late_s) * 1000,
        )

    @property
    def _late_wait_s(self) -> float:
        """How much longer than its mean one of a hundred waits for the rounds of others.

        A queue of few among many has an exponential tail. One of nearly all of them, who come again only when they were
        served, hardly changes its length: only the work in it differs.
        """
        queued = min(1.0, self._wait_s / self._work_s / self._gateways) if self._work_s else 0.0
        many = sqrt(self._wait_s * self._work_s) * _NORMAL_99
        return (1 - queued) * (_EXPONENTIAL_99 - 1) * self._wait_s + queued * many


def _late(share: float) -> float:
    """What one of a hundred waits longer than, where `share` of them wait, evenly, for up to 1."""
    return max(0.0, 1 - 0.01 / share) if share else 0.0
