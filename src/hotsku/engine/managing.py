"""What is done to a whole item while it sells: pause, resume, close, restock."""

from functools import cached_property

from hotsku.engine.catalogue import Catalogue
from hotsku.engine.views import ItemView
from hotsku.managing import Management, StateChange
from hotsku.managing.half_done import following


class Managing(Catalogue):
    """The part of the inventory that changes items. All raise `UnknownItem`, `BackendUnavailable` where the change was
    not made, and `OutcomeUnknown` where it may have been; the same call again finishes what one began."""

    async def pause(self, sku: str) -> StateChange:
        """Sell nothing more of an item until `resume`. Orders that were accepted go on: they are confirmed, released,
        refunded as ever.

        Returns:
            When no partition sells any more, but for those that the answer names as unreachable.
        """
        return await self._management.pause(await self._known_item(sku))

    async def resume(self, sku: str) -> StateChange:
        """Sell a paused item again. The answer is that of `pause`.

        Raises:
            InvalidRequest: the item is closed.
        """
        return await self._management.resume(await self._known_item(sku))

    async def close_item(self, sku: str) -> StateChange:
        """End an item's sale for good. Holds that are not in payment are released; payments under way may end; carts'
        lines stay until their carts are decided. An accepted order hears its answer as before.

        Returns:
            When all that is unsold is back in the pool, but for what the answer names.
        """
        return await self._management.close(await self._known_item(sku))

    async def restock(self, sku: str, quantity: int, adjustment_id: str) -> ItemView:
        """Add units to an item, or with a negative quantity take some away, once for each `adjustment_id`.

        Args:
            quantity: at most 10^9 either way. Never below what is sold and held; partitions give back what the pool
                lacks.

        Returns:
            The item afterwards.

        Raises:
            InvalidRequest: names the field; more are to go than are unsold, or the item is closed.
            IdempotencyConflict: the id was used with another quantity.
            OutcomeUnknown: the units may have come, or gone. Call again with the same id: under another one it would
                be done twice.
        """
        item = await self._known_item(sku)
        await self._management.restock(item, quantity, adjustment_id)
        with following(f"the restock {adjustment_id!r} of {sku!r}"):
            return await self._view(await self._known_item(sku))

    @cached_property
    def _management(self) -> Management:
        return Management(self._ledger, self._shard, self._signals, self._clock)
