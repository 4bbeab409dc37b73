"""The rush on one shard, played through: gateways gather orders into batches, one round under way each; the shard takes
what has come, decides it, syncs once, and answers. Time is the simulation's own, chance comes from a seed.

The other shards are alike, so one of them is enough; what a gateway does for the others takes its share of the
gateway's time. Stock is taken to be where it is wanted: leases are not played.
"""

import random
from collections import deque
from heapq import heappop, heappush
from math import inf

from msgspec import Struct

from hotsku.domain.queueing import Load

MAX_BATCH = 1000

# Noes count from so long after the last sale: by then the queue of the sales is gone.
SETTLED_S = 0.1
_SALE, _NO = 0, 1
_GATEWAY, _SHARD, _TURN, _REPLY = range(4)


class Answers(Struct, frozen=True, kw_only=True):
    """Those of one kind: how many, by how many calls, how long they took, and how busy the shard was with them."""

    orders: int
    orders_a_call: float
    cpu: float
    p50_ms: float
    p99_ms: float


class Simulated(Struct, frozen=True, kw_only=True):
    """What a shard went through. `sold_s`: when its last unit was sold; None where some are left."""

    seconds: float
    sold_s: float | None
    sales: Answers
    noes: Answers


class _Batch(Struct):
    """The orders of one call, by when each arrived."""

    arrived: list[float]
    sales: int = 0


class _Gateway(Struct):
    """One process. `waiting` has the arrival times by partition, `next_at` is when the next order arrives."""

    waiting: list[deque[float]]
    next_at: float


class Simulation:
    """One shard and its gateways."""

    def __init__(self, sales: Load, noes: Load, stock: int, seed: int) -> None:
        """
        Args:
            sales, noes: the load while there is stock, and afterwards: they differ in costs alone.
            stock: the shard's orders that are accepted.
        """
        self._loads = (sales, noes)
        self._left = stock
        self._chance = random.Random(seed)
        self._gateways = [self._gateway(sales) for _ in range(sales.gateways)]
        self._events: list[tuple[float, int, int, int, list[_Batch]]] = []
        self._numbers = 0
        self._queue: list[tuple[int, list[_Batch]]] = []
        self._taken: list[tuple[int, list[_Batch]]] = []
        self._deciding = False
        self._sold_at: float | None = None
        self._noes_from = 0.0 if stock == 0 else inf
        self._orders, self._calls, self._work_s = [0, 0], [0, 0], [0.0, 0.0]
        self._latencies: tuple[list[float], list[float]] = ([], [])

    def run(self, seconds: float) -> Simulated:
        """Let orders arrive for so many seconds, and the last of them be answered."""
        self._end = seconds
        for number, gateway in enumerate(self._gateways):
            self._at(gateway.next_at, _GATEWAY, number)
        steps = {_GATEWAY: self._open, _SHARD: self._arrive, _TURN: self._answer, _REPLY: self._hear}
        while self._events:
            now, _, kind, number, batches = heappop(self._events)
            steps[kind](now, number, batches)
        sold = min(self._sold_at or seconds, seconds)
        noes_from = min(self._noes_from, seconds)
        return Simulated(
            seconds=seconds,
            sold_s=self._sold_at,
            sales=self._answers(_SALE, sold),
            noes=self._answers(_NO, seconds - noes_from),
        )

    # --- a gateway ---

    def _open(self, now: float, number: int, _: list[_Batch]) -> None:
        """Begin a round with what has arrived; where nothing has, when something does."""
        gateway, load = self._gateways[number], self._loads[_SALE]
        self._gather(gateway, now)
        batches = [
            _Batch([waiting.popleft() for _ in range(min(len(waiting), MAX_BATCH))])
            for waiting in gateway.waiting
            if waiting
        ]
        if not batches:
            if gateway.next_at <= self._end:
                self._at(gateway.next_at, _GATEWAY, number)
            return
        orders = sum(len(batch.arrived) for batch in batches)
        work_us = orders * load.gateway_us / 2 + len(batches) * load.gateway_call_us
        sent = now + work_us / 1e6 / (1 - load.gateway_busy)
        self._at(sent + load.travel_ms / 2000, _SHARD, number, batches)

    def _hear(self, now: float, number: int, batches: list[_Batch]) -> None:
        """Tell the callers, and begin the next round."""
        load = self._loads[_SALE]
        orders = sum(len(batch.arrived) for batch in batches)
        told = now + orders * load.gateway_us / 2e6 / (1 - load.gateway_busy)
        for batch in batches:
            kind, since = (_SALE, 0.0) if batch.sales else (_NO, self._noes_from)
            self._latencies[kind].extend([told - arrived for arrived in batch.arrived if arrived >= since])
        self._at(told, _GATEWAY, number)

    def _gather(self, gateway: _Gateway, now: float) -> None:
        load, chance = self._loads[_SALE], self._chance
        rate, partitions = load.per_s / load.gateways, load.partitions
        until = min(now, self._end)
        at = gateway.next_at
        while at <= until:
            gateway.waiting[int(chance.random() * partitions)].append(at)
            at += chance.expovariate(rate)
        gateway.next_at = at

    def _gateway(self, load: Load) -> _Gateway:
        first = self._chance.expovariate(load.per_s / load.gateways)
        return _Gateway([deque() for _ in range(load.partitions)], first)

    # --- the shard ---

    def _arrive(self, now: float, number: int, batches: list[_Batch]) -> None:
        self._queue.append((number, batches))
        if not self._deciding:
            self._turn(now)

    def _turn(self, now: float) -> None:
        """Decide all that has come; one sync for it, where anything was sold."""
        self._taken, self._queue = self._queue, []
        self._deciding = True
        selling = False
        for _, batches in self._taken:
            for batch in batches:
                batch.sales = min(len(batch.arrived), self._left)
                self._left -= batch.sales
                kind = _SALE if batch.sales else _NO
                selling = selling or kind == _SALE
                load = self._loads[kind]
                work_s = (load.call_us + len(batch.arrived) * load.order_us) / 1e6
                now += work_s
                if now <= self._end and (kind == _SALE or now >= self._noes_from):
                    self._orders[kind] += len(batch.arrived)
                    self._calls[kind] += 1
                    self._work_s[kind] += work_s
        if selling:
            now += self._loads[_SALE].sync_ms / 1000
            if not self._left:
                self._sold_at, self._noes_from = now, now + SETTLED_S
        self._at(now, _TURN, 0)

    def _answer(self, now: float, _number: int, _batches: list[_Batch]) -> None:
        for number, batches in self._taken:
            kind = _SALE if any(batch.sales for batch in batches) else _NO
            load = self._loads[kind]
            self._at(now + (load.copied_ms + load.travel_ms / 2) / 1000, _REPLY, number, batches)
        self._deciding = False
        if self._queue:
            self._turn(now)

    def _at(self, when: float, kind: int, number: int, batches: list[_Batch] | None = None) -> None:
        self._numbers += 1
        heappush(self._events, (when, self._numbers, kind, number, batches or []))

    def _answers(self, kind: int, seconds: float) -> Answers:
        ordered = sorted(self._latencies[kind])
        return Answers(
            orders=len(ordered),
            orders_a_call=self._orders[kind] / self._calls[kind] if self._calls[kind] else 0.0,
            cpu=self._work_s[kind] / seconds if seconds else 0.0,
            p50_ms=_percentile_ms(ordered, 0.5),
            p99_ms=_percentile_ms(ordered, 0.99),
        )


def _percentile_ms(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0
