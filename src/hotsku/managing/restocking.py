"""Changes an item's total; what the pool lacks for fewer, partitions give back."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item
from hotsku.domain.leasing import take_from_richest
from hotsku.errors import IdempotencyConflict, InvalidRequest
from hotsku.managing.closing import reclaim
from hotsku.managing.reaching import NOT_READY
from hotsku.ports import Adjusted, Clock, Ledger, Lost, PartitionRow, PartitionStatus, Shard
from hotsku.stocking import latest, reachable

# The seq that a partition was seen at, under its incarnation.
Seen = dict[tuple[PartitionRef, int], int]


class Restocking:
    """Adjusts items."""

    def __init__(self, ledger: Ledger, shard: Shard, clock: Clock) -> None:
        self._ledger = ledger
        self._shard = shard
        self._clock = clock

    async def adjust(self, item: Item, quantity: int, adjustment_id: str, seen: Seen) -> bool:
        """Try it. False where units are on their way to the pool: again, when the ledger has moved.

        Args:
            seen: empty at the first try, and then what that one left.

        Raises:
            InvalidRequest: there are not so many, also when the ledger has all that the shards had at the first try.
        """
        adjusted = await self._try(item, quantity, adjustment_id)
        if adjusted.status == "short" and -quantity > adjusted.actual:
            if not await self._has_all(item, seen):
                return False  # holds that have ended may be among what it lacks
            adjusted = await self._try(item, quantity, adjustment_id)
        if adjusted.status == "short":
            await self._collect(item, -quantity, adjusted)
        elif adjusted.status == "conflict":
            raise IdempotencyConflict(
                f"the adjustment {adjustment_id!r} was made with another quantity; it stands", "adjustment_id"
            )
        elif adjusted.status == "closed":
            raise InvalidRequest("sku", f"that of an item that is not closed; {item.sku!r} is")
        return adjusted.status == "done"

    async def _try(self, item: Item, quantity: int, adjustment_id: str) -> Adjusted:
        return await self._ledger.adjust(item.id, adjustment_id, quantity, self._clock.now_ms())

    async def _has_all(self, item: Item, seen: Seen) -> bool:
        rows = {row.ref: row for row in latest(await self._ledger.partitions(item.id)) if row.state == "open"}
        if not seen:
            statuses = await _reached(self._shard, rows.values())
            seen.update({(ref, status.incarnation): status.seq for ref, status in statuses.items()})
        known = {(row.ref, row.incarnation): row.watermark for row in rows.values()}
        return all(known.get(key, seq) >= seq for key, seq in seen.items())

    async def _collect(self, item: Item, units: int, adjusted: Adjusted) -> None:
        """Have partitions give back what the pool lacks of `units`.

        Raises:
            InvalidRequest: there are not so many.
        """
        if units > adjusted.actual:
            raise InvalidRequest("quantity", f"at most {adjusted.actual} fewer; all others are sold or held")
        rows = {row.ref: row for row in latest(await self._ledger.partitions(item.id)) if row.state == "open"}
        statuses = await _reached(self._shard, rows.values())
        returning = sum(max(0, status.returned - rows[ref].returned) for ref, status in statuses.items())
        lefts = {ref: status.left for ref, status in statuses.items()}
        taken = take_from_richest(lefts, max(0, units - adjusted.pool - returning))
        with suppress(*NOT_READY):
            await asyncio.gather(*(reclaim(self._shard, rows[ref], statuses[ref], part) for ref, part in taken.items()))


async def _reached(shard: Shard, rows: Iterable[PartitionRow]) -> dict[PartitionRef, PartitionStatus]:
    """Those that can be reached, and are armed for the ledger's incarnation."""
    wanted = {row.ref: row.incarnation for row in rows}
    try:
        statuses = await reachable(shard, list(wanted))
    except Lost:
        return {}
    return {ref: each for ref, each in statuses.items() if each.armed and each.incarnation == wanted[ref]}
