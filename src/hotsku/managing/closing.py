"""Takes everything unsold of a closed item back."""

import asyncio

from hotsku.domain.identity import MAX_QUANTITY
from hotsku.domain.item import Item
from hotsku.managing.reaching import NOT_READY
from hotsku.ports import Ledger, PartitionRow, PartitionStatus, Shard
from hotsku.stocking import install_missing, latest

_HOLDS_A_SWEEP = 500


class Closing:
    """Has partitions give back what they have."""

    def __init__(self, ledger: Ledger, shard: Shard) -> None:
        self._ledger = ledger
        self._shard = shard

    async def give_back(self, item: Item) -> bool:
        """Have every partition that can be reached give back what it has. Whether the ledger has all of that."""
        rows = [row for row in latest(await self._ledger.partitions(item.id)) if row.state == "open"]
        return all(await asyncio.gather(*(self._give_back(row) for row in rows)))

    async def _give_back(self, row: PartitionRow) -> bool:
        """Whether the ledger has all that the partition gave back; True also where it cannot be reached."""
        try:
            status = await self.take_back(row)
        except NOT_READY:
            return True
        return row.watermark >= status.seq

    async def take_back(self, row: PartitionRow) -> PartitionStatus:
        """Have a partition that knows of the close give back what it has. Returns how it stands then.

        Raises:
            Fenced, Stale, Lost: it is not ready, or cannot be reached.
        """
        status = await self._shard.status(row.ref)
        if status.lease_no < row.lease_no:
            await install_missing(self._ledger, self._shard, row, status.lease_no)
        if status.holds:
            await self._release_holds(row)
        while (status := await self._shard.status(row.ref)).left:
            await reclaim(self._shard, row, status, status.left)
        return status

    async def _release_holds(self, row: PartitionRow) -> None:
        offset, more = 0, True
        while more:
            swept = await self._shard.release_holds(row.ref, row.incarnation, _HOLDS_A_SWEEP, offset)
            offset, more = swept.offset, swept.offset > 0


async def reclaim(shard: Shard, row: PartitionRow, status: PartitionStatus, units: int) -> None:
    """Take units out of a partition's buckets. Where a replenisher was quicker, it has taken this number: the next look
    at the status shows it."""
    await shard.reclaim(row.ref, row.incarnation, status.reclaim_no + 1, min(units, MAX_QUANTITY))
