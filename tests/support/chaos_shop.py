"""A shop for schedules of faults: engines and workers that may die at any point, and everything that buyers were told.

Engines trust, and workers wait, for seconds instead of minutes, in the same proportions as they do outside.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random

from hotsku import Deduction, HotSKUError, Outcome
from hotsku.ports import DetailRow
from hotsku.settings import Settings
from hotsku.stack import open_stack
from hotsku.stocking import latest, reachable
from hotsku.workers.applier import Applier
from hotsku.workers.auditor import Auditor
from hotsku.workers.loop import WorkerLoop
from hotsku.workers.recoverer import Recoverer
from hotsku.workers.relay import Relay
from hotsku.workers.renewal import Renewal
from hotsku.workers.replenisher import Replenisher
from tests.support.chaos_buyers import LIMIT, Buyers
from tests.support.chaos_engine import SKU, Engine
from tests.support.faulty import Faults, FaultyStack, faulty_stack
from tests.support.workers import until

CALLERS = 24
QUARANTINE_MS = 8_000
LOST_AFTER_MS = 1_500


class ChaosShop:
    """One item on sale over one stack, two engines and one set of workers or more."""

    def __init__(self, stack: FaultyStack, exits: AsyncExitStack, random: Random) -> None:
        self.stack = stack
        self.faults = stack.faults
        self.buyers = Buyers()
        self.engines = [Engine(stack), Engine(stack)]
        self.workers: list[WorkerLoop] = []
        self.died = Counter[str]()
        self._exits = exits
        self._random = random
        self._numbers = itertools.count()

    # --- the sale ---

    async def open(self, total: int, partitions: int) -> None:
        """Put the item on sale."""
        for engine in self.engines:
            await engine.inventory.__aenter__()
        await self.start_workers()
        await self.stack.signals.listening()
        await self.engines[0].inventory.create_item(SKU, total, partitions=partitions, limit_per_buyer=LIMIT)

    async def sell(self, done: asyncio.Event, pause_s: float) -> None:
        """Buyers come until `done` is set, or until one hears that nothing is left."""
        over = asyncio.Event()

        async def caller() -> None:
            while not (done.is_set() or over.is_set()):
                answer = await self._order(f"o-{next(self._numbers)}")
                if answer.outcome is Outcome.SOLD_OUT:
                    over.set()
                if self.buyers.accepted and self._random.random() < 0.15:
                    await self._order(self._random.choice(list(self.buyers.accepted)))
                await asyncio.sleep(self._random.uniform(0, 2 * pause_s))

        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(caller())

    async def _order(self, order_id: str) -> Deduction:
        """Send an order, at any engine, until its outcome is known."""
        if order_id not in self.buyers.ordered:
            buyer = f"b-{self._random.randrange(400)}"
            self.buyers.ordered[order_id] = (buyer, self._random.choice((1, 1, 1, 2, 3)))
        buyer_id, quantity = self.buyers.ordered[order_id]
        while True:
            engine = self._random.choice([each for each in self.engines if each.alive])
            try:
                answer = await engine.deduct(order_id, buyer_id, quantity)
            except HotSKUError:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                if engine.alive:
                    raise
            else:
                self.buyers.heard(answer)
                return answer

    # --- what may die ---

    async def start_workers(self) -> None:
        """Another set of workers, beside those that live."""
        stack = self.stack
        shard = stack.shard()
        self._exits.callback(shard.close)
        broker = await self._exits.enter_async_context(stack.broker())
        renewal = Renewal(
            shard,
            stack.ledger,
            stack.signals,
            stack.clock,
            durability_of_new=stack.shards.partition_durability,
            quarantine_ms=QUARANTINE_MS,
        )
        roles = (
            Relay(shard, stack.ledger, broker, stack.signals, stack.clock, interval_ms=self._random.choice((20, 500))),
            Applier(broker, stack.ledger, stack.signals),
            Replenisher(stack.ledger, shard, stack.signals, stack.clock),
            Recoverer(
                shard,
                stack.ledger,
                stack.signals,
                stack.clock,
                renewal,
                prepare=stack.shards.prepare,
                lost_after_ms=LOST_AFTER_MS,
            ),
        )
        loop = WorkerLoop(roles, stack.clock)
        loop.start()
        self._exits.push_async_callback(loop.stop)
        self.workers.append(loop)

    async def kill_workers(self) -> None:
        """All of them, wherever they are."""
        for loop in self.workers:
            self.died += loop.failures
            await loop.stop()
        self.workers.clear()

    async def kill_role(self, name: str) -> None:
        """One role of each set, wherever it is."""
        for loop in self.workers:
            for task in loop._tasks:
                if task.get_name() == name:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

    async def replace_engine(self, number: int) -> None:
        """One dies with what it has in flight; another takes its place."""
        await self.engines[number].die()
        engine = Engine(self.stack)
        await engine.inventory.__aenter__()
        self.engines[number] = engine

    # --- the end ---

    async def until_open(self, timeout_s: float) -> None:
        """Wait until every partition is open and armed under its newest incarnation, and no unit is quarantined."""
        shard = self.stack.shard()

        async def all_open() -> bool:
            with suppress(HotSKUError):
                rows = await self.stack.ledger.partitions()
                statuses = await reachable(shard, [row.ref for row in latest(rows)])
                return all(
                    row.state == "open"
                    and row.ref in statuses
                    and statuses[row.ref].armed
                    and statuses[row.ref].incarnation == row.incarnation
                    for row in latest(rows)
                ) and not any(row.quarantined_until_ms for row in rows)
            return False

        try:
            await until(all_open, timeout_s)
        except TimeoutError:
            rows = latest(await self.stack.ledger.partitions())
            statuses = await reachable(shard, [row.ref for row in rows])
            shown = [(row, statuses.get(row.ref)) for row in rows]
            raise AssertionError(f"not all is open after {timeout_s} s: {shown}") from None
        finally:
            shard.close()

    async def settled(self, timeout_s: float) -> None:
        """Wait until the audit is right and nothing moves."""
        auditor = Auditor(self.stack.ledger, self.engines[0]._shard)

        async def at_rest() -> bool:
            report = await auditor.audit()
            return report.ok and report.at_rest

        try:
            await until(at_rest, timeout_s)
        except TimeoutError:
            raise AssertionError(f"the audit: {(await auditor.audit()).problems}") from None

    async def rows(self, total: int) -> list[DetailRow]:
        """The orders that the ledger has."""
        item = await self.stack.ledger.item(SKU)
        assert item is not None
        return await self.stack.ledger.details(item.id, None, total + 1)

    async def close(self) -> None:
        for engine in self.engines:
            await engine.die()


@asynccontextmanager
async def open_chaos_shop(settings: Settings, random: Random) -> AsyncIterator[ChaosShop]:
    """A shop on these servers."""
    async with open_stack(settings) as stack, AsyncExitStack() as exits:
        shop = ChaosShop(faulty_stack(stack, Faults(random)), exits, random)
        exits.push_async_callback(shop.close)
        yield shop
