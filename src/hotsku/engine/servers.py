"""What an engine keeps for each of the shards' servers: its rounds of batches, and its clock."""

from collections.abc import Iterable

from msgspec import Struct

from hotsku.domain.events import PartitionRef
from hotsku.engine.batch_sizes import BatchSizes
from hotsku.engine.rounds import Rounds
from hotsku.engine.shard_clock import ShardClock
from hotsku.ports import Clock, Lost, Shard


class Server(Struct, frozen=True):
    """One server, as the batches to it need it."""

    rounds: Rounds
    clock: ShardClock


class Servers:
    """The servers by their names. A partition is on one of them, and may move.

    Attributes:
        order_batches, step_batches: the sizes of the batches that they decided.
    """

    def __init__(self, shard: Shard, clock: Clock) -> None:
        self._shard = shard
        self._clock = clock
        self._by_name: dict[str, Server] = {}
        self.order_batches = BatchSizes()
        self.step_batches = BatchSizes()

    def of(self, ref: PartitionRef) -> Server:
        """The server that has the partition now.

        One that is new has this machine's clock until its first reply: a batch whose deadline is wrong by that is done
        later, or refused as late and sent again; nothing worse.
        """
        name = self._shard.name_of(ref)
        server = self._by_name.get(name)
        if server is None:
            server = self._by_name[name] = Server(Rounds(), ShardClock(self._clock, self._clock.now_ms()))
        return server

    async def meet(self, refs: Iterable[PartitionRef]) -> None:
        """Read the clocks of the servers that have these partitions and are new; one that is away is left out."""
        for ref in refs:
            if self._shard.name_of(ref) in self._by_name:
                continue
            try:
                now_ms = await self._shard.now_ms(ref)
            except Lost:
                continue
            self.of(ref).clock.observe(now_ms)
