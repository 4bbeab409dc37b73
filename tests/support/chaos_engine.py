"""An engine that may die, freeze and thaw at any point. It trusts for seconds instead of half a minute."""

import asyncio
import itertools
import secrets
from collections.abc import Sequence

from hotsku import Deduction, Inventory
from hotsku.engine.item_path import ItemPaths
from hotsku.engine.needs import NeedsBoard
from hotsku.engine.timing import Timing
from hotsku.ports import BatchReply, OrderBatch, Refusal
from hotsku.shard.shard import WireShard
from hotsku.workers.auditor import Auditor
from tests.support.faulty import Faults, FaultyStack, faulty_stack

SKU = "sku"
TIMING = Timing(trust_ms=4_000, look_ms=700, patience_ms=3_000)


class HeldShard(WireShard):
    """Holds back replies while it is not `thawed`."""

    def __init__(self, stack: FaultyStack) -> None:
        super().__init__(stack.shards.router(), stack.keys)
        self.thawed = asyncio.Event()
        self.thawed.set()

    async def deduct(self, deadline_ms: int, batches: Sequence[OrderBatch]) -> list[BatchReply | Refusal]:
        replies = await super().deduct(deadline_ms, batches)
        await self.thawed.wait()
        return replies


class Engine:
    """An engine as a process of its own has it."""

    def __init__(self, shared: FaultyStack) -> None:
        self.alive = True
        self.callers: set[asyncio.Task[Deduction]] = set()
        self._faults = Faults(shared.faults.random)
        stack = faulty_stack(shared, self._faults)
        self._shard = HeldShard(shared)
        board = NeedsBoard(secrets.token_hex(4), stack.signals, stack.clock)
        ids = itertools.count()
        self._paths = ItemPaths(
            ledger=stack.ledger,
            shard=self._shard,
            clock=stack.clock,
            board=board,
            relay_max_events=stack.settings.relay_max_events,
            draw_id=lambda: f"{board.engine_id}-{next(ids)}",
            pick=secrets.randbelow,
            timing=TIMING,
        )
        self.inventory = Inventory(
            ledger=stack.ledger,
            shard=self._shard,
            signals=stack.signals,
            clock=stack.clock,
            paths=self._paths,
            board=board,
            durability=stack.shards.partition_durability(),
            audit=Auditor(stack.ledger, self._shard).audit,
        )

    async def deduct(self, order_id: str, buyer_id: str, quantity: int) -> Deduction:
        """A call that ends with the engine."""
        call = asyncio.ensure_future(self.inventory.deduct(SKU, quantity, order_id=order_id, buyer_id=buyer_id))
        self.callers.add(call)
        try:
            return await call
        finally:
            self.callers.discard(call)

    def freeze(self) -> None:
        """It hears neither shards nor ledger: what it was told before is heard when it thaws, and is old then."""
        self._shard.thawed.clear()
        self._faults.ledger_away = True

    def thaw(self) -> None:
        """It goes on."""
        self._faults.ledger_away = False
        self._shard.thawed.set()

    async def die(self) -> None:
        """As kill -9: what is in flight stays in flight, and nobody hears of it."""
        self.alive = False
        servers = self._paths._servers._by_name.values()
        calls = [task for server in servers for task in (*server.orders._tasks, *server.steps._tasks)]
        dying = [*calls, *self.inventory._tasks, *self.callers]
        for task in dying:
            task.cancel()
        await asyncio.gather(*dying, return_exceptions=True)
        self._shard.close()
