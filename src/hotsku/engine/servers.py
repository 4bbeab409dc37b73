"""What an engine keeps for each of the shards' servers: its clock, and the calls to it."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from msgspec import Struct

from hotsku.domain.events import PartitionRef
from hotsku.engine.batch_sizes import BatchSizes
from hotsku.engine.calls import Calls
from hotsku.engine.shard_clock import ShardClock
from hotsku.engine.timing import Timing
from hotsku.ports import BatchReply, Clock, Lost, OrderBatch, Shard, StepBatch, StepReply


class _Server(Struct, frozen=True):
    clock: ShardClock
    orders: Calls[OrderBatch, BatchReply]
    steps: Calls[StepBatch, StepReply]


class Servers:
    """The servers by their names. A partition is on one of them, and may move.

    Attributes:
        order_batches, step_batches: the sizes of the batches that they decided.
    """

    def __init__(self, shard: Shard, clock: Clock, timing: Timing) -> None:
        self._shard = shard
        self._clock = clock
        self._timing = timing
        self._by_name: dict[str, _Server] = {}
        self.order_batches = BatchSizes()
        self.step_batches = BatchSizes()

    def orders_of(self, ref: PartitionRef) -> Calls[OrderBatch, BatchReply]:
        """The calls with orders to the server that has the partition now."""
        return self._of(ref).orders

    def steps_of(self, ref: PartitionRef) -> Calls[StepBatch, StepReply]:
        """The calls with steps to the server that has the partition now."""
        return self._of(ref).steps

    async def meet(self, refs: Iterable[PartitionRef]) -> None:
        """Read the clocks of the servers that have these partitions and are new; one that is away is left out."""
        new = {name: ref for ref in refs if (name := self._shard.name_of(ref)) not in self._by_name}
        await asyncio.gather(*map(self._meet, new.values()))

    async def _meet(self, ref: PartitionRef) -> None:
        with suppress(Lost):
            now_ms = await self._shard.now_ms(ref)
            self._of(ref).clock.observe(now_ms)

    def _of(self, ref: PartitionRef) -> _Server:
        """One that is new has this machine's clock until its first reply: a batch whose deadline is wrong by that is
        done later, or refused as late and sent again; nothing worse."""
        name = self._shard.name_of(ref)
        server = self._by_name.get(name)
        if server is None:
            clock = ShardClock(self._clock, self._clock.now_ms())
            server = self._by_name[name] = _Server(
                clock, Calls(self._shard.deduct, clock, self._timing), Calls(self._shard.step, clock, self._timing)
            )
        return server
