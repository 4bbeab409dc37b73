"""Rung 4 behind the strategies' interface: HotSKU itself, so that the ladder is measured with one yardstick."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from hotsku.domain.deduction import OrderState, Outcome
from hotsku.engine.inventory import Inventory
from hotsku.errors import HotSKUError
from hotsku.strategies.base import Answer, Count

_ANSWERS = {Outcome.SOLD_OUT: Answer.SOLD_OUT, Outcome.INSUFFICIENT: Answer.INSUFFICIENT}


class Partitions:
    """Sells through an inventory.

    Args:
        connect: opens the inventory, for example `lambda: hotsku.connect(shard_url=…)`.
        partitions: of every item that it creates; None: as many as HotSKU chooses.
    """

    def __init__(
        self, connect: Callable[[], AbstractAsyncContextManager[Inventory]], partitions: int | None = None
    ) -> None:
        self._connect = connect
        self._partitions = partitions
        self._exits = AsyncExitStack()

    async def open(self) -> None:
        """Connect."""
        self._inventory = await self._exits.enter_async_context(self._connect())

    async def close(self) -> None:
        """Send what was sold on to the ledger, and disconnect."""
        await self._exits.aclose()

    async def erase(self) -> None:
        """Nothing: what an inventory has sold stays in its ledger; remove the ledger and the shard's data instead."""

    async def create(self, sku: str, total: int) -> None:
        """Put an item on sale."""
        await self._inventory.create_item(sku, total, partitions=self._partitions)

    async def deduct(self, sku: str, quantity: int, order_id: str, buyer_id: str) -> Answer:
        """Sell to an order."""
        deduction = await self._inventory.deduct(sku, quantity, order_id=order_id, buyer_id=buyer_id)
        if deduction.outcome is Outcome.ACCEPTED:
            if deduction.state is OrderState.REFUNDED:
                return Answer.RELEASED
            return Answer.REPLAYED if deduction.replayed else Answer.ACCEPTED
        answer = _ANSWERS.get(deduction.outcome)
        if answer is None:
            raise HotSKUError(f"the item {sku!r} has rules that strategies do not know: {deduction.outcome}")
        return answer

    async def release(self, sku: str, order_id: str, buyer_id: str) -> bool:
        """Refund the order. Its units are back in the pool, and can be sold, when the ledger has that."""
        refund = await self._inventory.refund(sku, order_id=order_id, buyer_id=buyer_id)
        return refund.outcome is Outcome.REFUNDED and not refund.replayed

    async def count(self, sku: str) -> Count:
        """What shards and pool could still sell; the rest is sold."""
        view = await self._inventory.item(sku)
        return Count(view.total - view.available, view.available)
