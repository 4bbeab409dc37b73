"""Pauses, resumes, closes and restocks items."""

from functools import partial

from msgspec import Struct

from hotsku.domain.identity import MAX_QUANTITY, check_id
from hotsku.domain.item import Item, ItemState
from hotsku.errors import BackendUnavailable, InvalidRequest
from hotsku.managing.closing import Closing
from hotsku.managing.half_done import following, making
from hotsku.managing.reaching import Reaching, refs_of
from hotsku.managing.restocking import Restocking
from hotsku.managing.waiting import Waiting
from hotsku.ports import Clock, Ledger, News, Shard, Signals


class StateChange(Struct, frozen=True, kw_only=True):
    """What became of a pause, a resume or a close.

    `unreachable` partitions do not have it yet: their shards are away, or have restarted. They get it when they are
    back, and sell as before until then. `outstanding` units of a closed item are not back in the pool: they lie in such
    partitions, or in quarantine, or the ledger is behind; they come by themselves. What carts hold is not among them.
    """

    sku: str
    state: ItemState
    unreachable: list[int] = []
    outstanding: int = 0


class Management:
    """Changes items. Any number may do it at once."""

    def __init__(
        self,
        ledger: Ledger,
        shard: Shard,
        signals: Signals,
        clock: Clock,
        *,
        reach_ms: int = 5_000,
        patience_ms: int = 10_000,
    ) -> None:
        """
        Args:
            reach_ms: how long a partition that is away, or has restarted, is waited for.
            patience_ms: how long a close or a restock waits for the ledger to have what partitions gave back.
        """
        self._ledger = ledger
        self._signals = signals
        self._patience_ms = patience_ms
        self._waiting = Waiting(signals, clock)
        self._reaching = Reaching(ledger, shard, clock, self._waiting, reach_ms)
        self._closing = Closing(ledger, shard)
        self._restocking = Restocking(ledger, shard, clock)

    async def pause(self, item: Item) -> StateChange:
        """Sell nothing more until `resume`; steps of orders go on. Raises as `resume`."""
        return await self._change(item, "paused")

    async def resume(self, item: Item) -> StateChange:
        """Sell again.

        Returns:
            When every partition has it, but for those that the answer names.

        Raises:
            InvalidRequest: the item is closed.
            BackendUnavailable: the ledger is away, and does not have it.
            OutcomeUnknown: the ledger may have it; the same call again goes on.
        """
        return await self._change(item, "open")

    async def close(self, item: Item) -> StateChange:
        """End the sale for good: release the holds that are not in payment, and take all that is unsold back.

        Carts' lines stay until their carts are decided. Payments that end later give their units back by themselves.

        Returns:
            When the pool has everything unsold, but for what the answer names.

        Raises:
            BackendUnavailable, OutcomeUnknown: as `resume`.
        """
        change = await self._change(item, "closed")
        with following(f"the end of the sale of {item.sku!r}"):
            await self._waiting.until(partial(self._closing.give_back, item), self._patience_ms, refs_of(item))
            standing = await self._ledger.standing(item.id)
        return StateChange(
            sku=change.sku, state="closed", unreachable=change.unreachable, outstanding=standing.preallocated
        )

    async def restock(self, item: Item, quantity: int, adjustment_id: str) -> None:
        """Add units to an item, or take some away, once for each `adjustment_id`.

        Args:
            quantity: negative: so many fewer; partitions give back what the pool lacks. Never below what is sold and
                held.

        Raises:
            InvalidRequest: more are to go than are unsold, or the item is closed.
            IdempotencyConflict: the id came with another quantity.
            BackendUnavailable: not enough came back in time, or the ledger is away; the same call again goes on.
            OutcomeUnknown: the ledger may have it.
        """
        check_id("adjustment_id", adjustment_id)
        if type(quantity) is not int or not 0 < abs(quantity) <= MAX_QUANTITY:
            raise InvalidRequest("quantity", f"an integer from -{MAX_QUANTITY} to {MAX_QUANTITY}, and not 0")
        adjust = partial(self._restocking.adjust, item, quantity, adjustment_id, {})
        with making(f"the restock {adjustment_id!r} of {item.sku!r}"):
            done = await self._waiting.until(adjust, self._patience_ms, refs_of(item))
        if not done:
            raise BackendUnavailable(f"not enough units of {item.sku!r} came back in time; the same call again goes on")
        if quantity > 0:
            self._wake(item)

    async def _change(self, item: Item, state: ItemState) -> StateChange:
        with making(f"{item.sku!r} {state}"):
            changed = await self._ledger.set_item_state(item.id, state)
        if changed.state != state:
            raise InvalidRequest("sku", f"that of an item that is not closed; {item.sku!r} is")
        with following(f"{item.sku!r} {state}"):
            unreachable = await self._reaching.configure(changed)
        self._wake(changed)
        return StateChange(sku=item.sku, state=state, unreachable=unreachable)

    def _wake(self, item: Item) -> None:
        """Engines try what is parked again, and believe no earlier "sold out"."""
        self._signals.publish(News(installed=[(ref, 0) for ref in refs_of(item)]))
