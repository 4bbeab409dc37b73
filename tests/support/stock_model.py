"""A model of one item in plain Python: pool, partitions, streams, and engines whose parked orders ask.

The parked orders, the standing asks and the rounds are the real ones; only what is outside of the process is modelled.
Time goes in steps of 10 ms. Signals get lost, replies and flushes take their time, so that asks tell of a past.
"""

from random import Random

from hotsku.domain.events import PartitionRef
from hotsku.domain.leasing import Holding, plan_round
from hotsku.engine.parking import Parking
from hotsku.engine.request import Request
from hotsku.workers.demand import ItemDemand

STEP_MS = 10
_TICK_MS = 50
_PROTECTED_MS = 100
_RELAY_INTERVAL_MS = 1000
_LOST_SIGNALS = 0.1


class Partition:
    """What the shard has: units left, and events (their units, those returned among them) that the ledger lacks.

    An `unarmed` one decides nothing, but the ledger counts its units as unsold.
    """

    def __init__(self, ref: PartitionRef, left: int, *, armed: bool) -> None:
        self.ref = ref
        self.left = left
        self.armed = armed
        self.returned = 0
        self.sold = 0
        self.granted_ms = float("-inf")
        self.flush_ms = float(_RELAY_INTERVAL_MS)


class Desk:
    """One engine's orders at one partition."""

    def __init__(self, engine: str, partition: Partition) -> None:
        self.engine = engine
        self.partition = partition
        self.parking = Parking()
        self.known_left = partition.left


class StockModel:
    """One item's sale, from parked orders to the end."""

    def __init__(
        self, random: Random, pool: int, lefts: list[int], orders: list[tuple[int, int, Request]], unarmed: set[int]
    ) -> None:
        """
        Args:
            lefts: units of each partition.
            orders: engine, partition and the order, in the order of their arrival.
            unarmed: partitions whose shard is away.
        """
        self.pool = pool
        self.partitions = [Partition(PartitionRef(1, i), left, armed=i not in unarmed) for i, left in enumerate(lefts)]
        self.refused: list[tuple[int, int]] = []
        self._random = random
        self._now_ms = 0.0
        self._numbers: dict[str, int] = {}
        self._due = False
        self._demand = ItemDemand()
        self._desks: dict[tuple[int, int], Desk] = {}
        self._phases: dict[str, int] = {}
        for engine, number, order in orders:
            partition = self.partitions[number]
            desk = self._desks.setdefault((engine, number), Desk(f"engine-{engine}", partition))
            self._phases.setdefault(desk.engine, random.randrange(0, _TICK_MS, STEP_MS))
            desk.parking.park(order)

    @property
    def unsold(self) -> int:
        """Units that nobody has, wherever they are."""
        return self.pool + sum(partition.left + partition.returned for partition in self.partitions)

    @property
    def sellable(self) -> int:
        """The unsold units that a round can move, or a partition sell."""
        return self.pool + sum(p.left + p.returned for p in self.partitions if p.armed)

    def heads(self) -> list[int]:
        """The quantities of the first orders that wait where the shard is there."""
        heads = []
        for desk in self._desks.values():
            if desk.parking and desk.partition.armed:
                batch = desk.parking.take(len(desk.parking))
                heads.append(batch[0].quantity)
                desk.parking.put_back(batch)
        return heads

    def run(self, for_ms: float) -> None:
        """Let time pass."""
        end_ms = self._now_ms + for_ms
        while self._now_ms < end_ms:
            self._step()
            self._now_ms += STEP_MS

    def _step(self) -> None:
        for engine, phase in self._phases.items():
            if self._now_ms % _TICK_MS == phase:
                self._tick([desk for desk in self._desks.values() if desk.engine == engine])
        for partition in self.partitions:
            if partition.flush_ms <= self._now_ms:
                self._apply(partition)
        if self._due:
            self._due = False
            self._round()

    # --- the engines ---

    def _tick(self, desks: list[Desk]) -> None:
        """As the inventory's: what is parked is tried again, and the asks go out before the replies are there."""
        lost = self._random.random() < _LOST_SIGNALS
        for desk in desks:
            number = self._numbers[desk.engine] = self._numbers.get(desk.engine, 0) + 1
            incarnation = 1
            ask = desk.parking.ask(desk.partition.ref, incarnation, desk.known_left, number, self._now_ms)
            if ask and not lost:
                self._demand.hear_ask(desk.engine, number, ask, self._now_ms)
                self._due = True
        for desk in desks:
            self._retry(desk)

    def _retry(self, desk: Desk) -> None:
        partition = desk.partition
        if not partition.armed:
            return
        batch = desk.parking.take(1000)
        while batch and batch[0].quantity <= partition.left:
            order = batch.pop(0)
            partition.left -= order.quantity
            partition.sold += order.quantity
        desk.parking.put_back(batch)
        desk.known_left = partition.left

    def _verdict(self, heard: dict[str, int]) -> None:
        available = self.pool + sum(p.left + p.returned + p.sold for p in self.partitions)
        for desk in self._desks.values():
            for order in desk.parking.take_beyond(available, heard.get(desk.engine, 0)):
                self.refused.append((order.quantity, self.unsold))

    # --- the workers ---

    def _apply(self, partition: Partition) -> None:
        self._due = self._due or partition.returned > 0
        self.pool += partition.returned
        partition.returned = partition.sold = 0
        partition.flush_ms = self._now_ms + _RELAY_INTERVAL_MS

    def _round(self) -> None:
        heard = self._demand.heard()
        armed = {p.ref: p for p in self.partitions if p.armed}
        needs = [need for need in self._demand.needs(self._now_ms) if need.ref in armed]
        if not needs:
            return
        holdings = [Holding(p.ref, p.left, self._now_ms - p.granted_ms < _PROTECTED_MS) for p in armed.values()]
        plan = plan_round(self.pool, sum(p.returned for p in armed.values()), needs, holdings)
        for ref, units in plan.grants.items():
            self.pool -= units
            armed[ref].left += units
            armed[ref].granted_ms = self._now_ms
            self._demand.served(ref)
        for ref, units in plan.reclaims.items():
            armed[ref].left -= units
            armed[ref].returned += units
        if not plan.grants:
            self._flush(list(armed.values()))
        assert self.pool >= 0, plan
        assert all(p.left >= 0 for p in self.partitions), plan
        for desk in self._desks.values():  # news of stock has the parked orders tried at once
            if desk.partition.ref in plan.grants and self._random.random() >= _LOST_SIGNALS:
                desk.known_left += plan.grants[desk.partition.ref]
                self._retry(desk)
        self._verdict(heard)

    def _flush(self, partitions: list[Partition]) -> None:
        for partition in partitions:
            if partition.sold or partition.returned:
                soon = self._now_ms + self._random.randrange(0, 200, STEP_MS)
                partition.flush_ms = min(partition.flush_ms, soon)
