"""Tells every partition of an item its configuration."""

import asyncio
from contextlib import suppress

from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item
from hotsku.managing.waiting import Waiting
from hotsku.ports import Clock, Fenced, Ledger, Lost, Shard, Stale
from hotsku.stocking import open_item

NOT_READY = (Fenced, Stale, Lost)
_ATTEMPTS = 5


class Reaching:
    """Tells partitions."""

    def __init__(self, ledger: Ledger, shard: Shard, clock: Clock, waiting: Waiting, reach_ms: int) -> None:
        self._ledger = ledger
        self._shard = shard
        self._clock = clock
        self._waiting = waiting
        self._reach_ms = reach_ms

    async def configure(self, item: Item) -> list[int]:
        """Tell all that can be reached in time. Returns those that may still sell under an older configuration."""
        if any(row.state == "new" for row in await self._ledger.partitions(item.id)):
            with suppress(*NOT_READY):
                await open_item(self._ledger, self._shard, self._clock, item)
        left = refs_of(item)

        async def reach() -> bool:
            reached = await asyncio.gather(*(self._tell(ref, item) for ref in left))
            left[:] = [ref for ref, each in zip(left, reached, strict=True) if not each]
            return not left

        await self._waiting.until(reach, self._reach_ms)
        return [ref.partition for ref in left]

    async def _tell(self, ref: PartitionRef, item: Item) -> bool:
        for _ in range(_ATTEMPTS):
            row = await self._ledger.partition(ref)
            if row is None:
                return False
            try:
                await self._shard.configure(ref, row.incarnation, item)
            except Stale:
                continue
            except Fenced:
                # What is not open gets it before it opens; what is open may be armed again as it is. Where there were
                # copies, another server may have its older memory, and sell from it while it is trusted.
                return row.state in ("fenced", "rebuilding") and row.durability == "durable"
            except Lost:
                return False
            return True
        return False


def refs_of(item: Item) -> list[PartitionRef]:
    """All of the item's partitions."""
    return [PartitionRef(item.id, number) for number in range(item.spec.partitions)]
