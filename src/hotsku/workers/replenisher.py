"""The replenisher: leases stock from the pool and installs it where it is needed.

It works in rounds, one item at a time, whenever a need is heard or units came back to the pool. A round reads the
ledger and the shards, serves the asks of dry partitions, or reclaims for them; where nobody is dry it refills standbys
ahead of their demand. Every round tells the engines how many units are unsold, which is how a buyer hears "sold out".
Two replenishers at once do no harm: a lease is guarded by the number of the lease before it.
"""

import asyncio
from collections import Counter, deque

from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item
from hotsku.domain.leasing import Holding, Need, lease_size, plan_round
from hotsku.log import get_logger
from hotsku.ports import (
    NO_SPANS,
    Clock,
    Fenced,
    Grant,
    Ledger,
    Lost,
    Needs,
    News,
    PartitionStatus,
    Shard,
    Signals,
    Spans,
    Stale,
    Work,
)
from hotsku.stocking import install_missing, lease_and_install, open_item, reachable
from hotsku.workers.demand import Demand, ItemDemand
from hotsku.workers.retrying import AWAY, Outage, once
from hotsku.workers.scene import Scene

_log = get_logger("replenisher")

# What a round granted is not reclaimed for so long: its buyers are on their way.
_PROTECTED_MS = 100
_REFILLS_REMEMBERED = 100
_PARALLEL_ROUNDS = 16


class Replenisher:
    """The role that moves stock to demand.

    `counts` says how many rounds there were since the start, how many leases they made, and how often they took units
    back.
    """

    name = "replenisher"

    def __init__(self, ledger: Ledger, shard: Shard, signals: Signals, clock: Clock, spans: Spans = NO_SPANS) -> None:
        self._ledger = ledger
        self._shard = shard
        self._signals = signals
        self._clock = clock
        self._spans = spans
        self._demand = Demand()
        self._items: dict[int, Item] = {}
        self._due: dict[int, None] = {}
        self._busy: set[int] = set()
        self._wake = asyncio.Event()
        self._away = False
        self._granted_ms: dict[PartitionRef, float] = {}
        self._refill_ms: deque[float] = deque(maxlen=_REFILLS_REMEMBERED)
        self.counts: Counter[str] = Counter()
        signals.subscribe(needs=self._hear, work=self._hear_applied)

    async def run(self) -> None:
        """Work until cancelled."""
        self._busy.clear()
        await once(Outage(self.name), self._finish_what_a_crash_left)
        async with asyncio.TaskGroup() as rounds:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for item_id in [i for i in self._due if i not in self._busy][: _PARALLEL_ROUNDS - len(self._busy)]:
                    del self._due[item_id]
                    self._busy.add(item_id)
                    rounds.create_task(self._round_of(item_id))

    def _hear(self, needs: Needs) -> None:
        self._make_due(self._demand.hear(needs, self._clock.monotonic_ms()))

    def _hear_applied(self, work: Work) -> None:
        now = self._clock.monotonic_ms()
        self._make_due({ref.item_id for ref, _, _ in work.applied if self._demand.of(ref.item_id).needs(now)})

    def _make_due(self, items: set[int]) -> None:
        self._due.update(dict.fromkeys(items))
        if items:
            self._wake.set()

    async def _round_of(self, item_id: int) -> None:
        with self._spans.span("replenisher round", item_id=item_id):
            await self._try_round(item_id)

    async def _try_round(self, item_id: int) -> None:
        try:
            item = self._items.get(item_id) or await self._ledger.item_by_id(item_id)
            if item is not None:
                self._items[item_id] = item
                await self._round(item, self._demand.of(item_id))
        except (Fenced, Stale) as error:
            _log.info("a partition is fenced; its asks wait", item=item_id, why=type(error).__name__)
        except AWAY as error:
            if not self._away:
                _log.warning("a back end is away; the needs will be told again", item=item_id, why=str(error))
            self._away = True
        else:
            self._away = False
        finally:
            self._busy.discard(item_id)
            if self._due:
                self._wake.set()

    # --- one round ---

    async def _round(self, item: Item, demand: ItemDemand) -> None:
        self.counts["rounds"] += 1
        heard = demand.heard()
        scene = await self._look(item)
        if await self._install_missing(scene):
            return  # what was missing may be what was asked for: the engines ask again if it was not
        now = self._clock.monotonic_ms()
        if scene.standing.state == "closed":
            if demand.needs(now):  # they missed that it is over
                self._signals.publish(News(item_id=item.id, available=0, heard=heard))
            demand.rest(now)
            return
        needs = [need for need in demand.needs(now) if need.ref in scene.statuses]
        if needs:
            await self._serve(scene, demand, needs)
            self._signals.publish(News(item_id=item.id, available=scene.available, heard=heard))
        else:
            await self._refill(scene, demand)

    async def _look(self, item: Item) -> Scene:
        refs = [PartitionRef(item.id, number) for number in range(item.spec.partitions)]
        statuses = await reachable(self._shard, refs)
        # The shards first, the rows last: units that the shards have sold or given up, and the ledger books meanwhile,
        # can only make the item's available units too high.
        standing = await self._ledger.standing(item.id)
        rows = {row.ref: row for row in await self._ledger.partitions(item.id) if row.state == "open"}
        armed = {
            ref: status
            for ref, status in statuses.items()
            if status.armed and ref in rows and status.incarnation == rows[ref].incarnation
        }
        return Scene(item, standing, rows, armed)

    async def _install_missing(self, scene: Scene) -> bool:
        installed = []
        for ref, status in scene.statuses.items():
            if status.lease_no < scene.rows[ref].lease_no:
                units = await install_missing(self._ledger, self._shard, scene.rows[ref], status.lease_no)
                installed.append((ref, units))
        if installed:
            self._signals.publish(News(installed=installed))
        return bool(installed)

    async def _serve(self, scene: Scene, demand: ItemDemand, needs: list[Need]) -> None:
        now = self._clock.monotonic_ms()
        holdings = [
            Holding(ref, status.left, now - self._granted_ms.get(ref, -_PROTECTED_MS) < _PROTECTED_MS)
            for ref, status in scene.statuses.items()
        ]
        plan = plan_round(scene.standing.pool, scene.returning, needs, holdings)
        if plan.grants:
            await self._grant(scene, self._with_top_ups(scene, demand, needs, plan.grants))
            for ref in plan.grants:
                demand.served(ref)
            if len(plan.grants) < len(needs):
                self._make_due({scene.item.id})  # the next round reclaims for the others
            return
        await asyncio.gather(*(self._reclaim(scene.statuses[ref], ref, units) for ref, units in plan.reclaims.items()))
        # No others: the ledger takes one message after the other, and buyers wait for these.
        flush = list(dict.fromkeys([*plan.reclaims, *scene.awaited]))
        if flush:
            self._signals.publish(Work(flush=flush))

    async def _reclaim(self, status: PartitionStatus, ref: PartitionRef, units: int) -> None:
        self.counts["reclaims"] += 1
        with self._spans.span("replenisher reclaim", item_id=ref.item_id, partition=ref.partition, units=units):
            await self._shard.reclaim(ref, status.incarnation, status.reclaim_no + 1, units)

    def _with_top_ups(
        self, scene: Scene, demand: ItemDemand, needs: list[Need], grants: dict[PartitionRef, int]
    ) -> dict[PartitionRef, int]:
        """The grants and, where every need is served in full, a lease ahead of demand on top: else a partition that is
        asked of all the time would live from hand to mouth, however full the pool is."""
        if any(grants.get(need.ref, 0) < need.waiting for need in needs):
            return grants
        more = self._lease_sizes(scene, demand, list(grants), scene.standing.pool - sum(grants.values()))
        return {ref: units + more.get(ref, 0) for ref, units in grants.items()}

    async def _refill(self, scene: Scene, demand: ItemDemand) -> None:
        refills = [ref for ref in demand.refills(self._clock.monotonic_ms()) if ref in scene.statuses]
        sizes = self._lease_sizes(scene, demand, refills, scene.standing.pool)
        if not sizes:
            demand.rest(self._clock.monotonic_ms())
            return
        await self._grant(scene, sizes)
        for ref in sizes:
            demand.refilled(ref)

    def _lease_sizes(
        self, scene: Scene, demand: ItemDemand, refs: list[PartitionRef], pool: int
    ) -> dict[PartitionRef, int]:
        """What each of the partitions gets ahead of its demand."""
        sizes = {}
        for ref in refs:
            per_s, dry = demand.demand_per_s(ref), demand.ran_dry(ref)
            units = lease_size(per_s, self._refill_p99_ms(), pool, scene.item.spec.partitions, ran_dry=dry)
            if units:
                sizes[ref] = units
                pool -= units
        return sizes

    async def _grant(self, scene: Scene, sizes: dict[PartitionRef, int]) -> None:
        started = self._clock.monotonic_ms()
        grants = [
            Grant(ref, scene.rows[ref].incarnation, scene.statuses[ref].lease_no, units) for ref, units in sizes.items()
        ]
        with self._spans.span(
            "replenisher lease", sku=scene.item.spec.sku, partitions=len(grants), units=sum(sizes.values())
        ):
            leases = await lease_and_install(self._ledger, self._shard, self._clock, grants)
        now = self._clock.monotonic_ms()
        if leases is None:
            return  # another replenisher was quicker
        self.counts["leases"] += len(leases)
        self._refill_ms.append(now - started)
        for ref in sizes:
            self._granted_ms[ref] = now
        self._signals.publish(News(installed=[(lease.ref, lease.quantity) for lease in leases]))

    def _refill_p99_ms(self) -> float:
        ordered = sorted(self._refill_ms)
        return ordered[int(len(ordered) * 0.99)] if ordered else 0.0

    # --- after a crash ---

    async def _finish_what_a_crash_left(self) -> None:
        """Open the items whose creator died, and install the leases whose replenisher died."""
        rows = await self._ledger.partitions()
        for item_id in sorted({row.item_id for row in rows if row.state == "new"}):
            item = await self._ledger.item_by_id(item_id)
            if item is not None:
                await self._attempt_to_open(item)
        self._make_due({row.item_id for row in rows if row.state == "open"})

    async def _attempt_to_open(self, item: Item) -> None:
        try:
            await open_item(self._ledger, self._shard, self._clock, item)
        except (Fenced, Stale, Lost) as error:
            _log.warning("the item cannot be opened yet", sku=item.sku, why=type(error).__name__)
