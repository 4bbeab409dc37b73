"""Carts, reserved, confirmed and released: over the ledger's decision rows and the lines' home partitions.

See `hotsku.domain.cart`. Every step may be done twice, by anyone, and what a crash leaves is led to its end by the same
call again, or by the reaper.
"""

from contextlib import suppress
from typing import Protocol

from hotsku.carts.answers import Refusal, decided, not_found, read_refusal, reserved, write_refusal
from hotsku.carts.lines import lead_cart
from hotsku.domain.cart import Cart, check_lines
from hotsku.domain.deduction import Deduction, OrderState
from hotsku.domain.identity import check_metadata, check_order_ids, check_payment_ref, check_ttl
from hotsku.domain.item import Item
from hotsku.errors import BackendUnavailable, IdempotencyConflict, InvalidRequest, UnknownItem
from hotsku.ports import CartRow, Clock, Fenced, Ledger, Lost, Shard, Signals, Stale, Work

_NOT_NOW = (Fenced, Stale, Lost, BackendUnavailable)
# Its order had been placed by itself: kept as the cart's refusal, and raised whenever the cart is asked for.
_CONFLICT = "conflict"


class HoldLine(Protocol):
    """Holds one line as a cart's, as `Inventory.reserve` holds an order."""

    async def __call__(
        self, sku: str, quantity: int, *, order_id: str, buyer_id: str, ttl_ms: int, metadata: str
    ) -> Deduction: ...


class Carts:
    """The carts of one engine."""

    def __init__(self, ledger: Ledger, shard: Shard, signals: Signals, clock: Clock, hold: HoldLine) -> None:
        self._ledger = ledger
        self._shard = shard
        self._signals = signals
        self._clock = clock
        self._hold = hold

    async def reserve(
        self, lines: object, order_id: str, buyer_id: str = "", *, ttl: object = None, metadata: str = ""
    ) -> Cart:
        """Hold all lines, or none. The same again answers the same.

        Args:
            lines: `CartLine`s, or mappings with their fields.
            ttl: a timedelta; None: the shortest of the items' own.

        Raises:
            InvalidRequest, UnknownItem: nothing was sent.
            IdempotencyConflict: the cart was reserved with other lines, or one of its items has such an order already.
            OutcomeUnknown, BackendUnavailable, Overloaded: reserve the same cart again; else the reaper releases it.
        """
        wanted = check_lines(lines)
        check_order_ids(order_id, buyer_id)
        check_metadata(metadata)
        items = [await self._item(line.sku, buyer_id) for line in wanted]
        ttl_ms = min(item.spec.hold_ttl_ms for item in items) if ttl is None else check_ttl(ttl)
        now_ms = self._clock.now_ms()
        asked = CartRow(
            order_id=order_id,
            buyer_id=buyer_id,
            lines=wanted,
            state="open",
            held=False,
            finished=False,
            expires_at_ms=now_ms + ttl_ms,
            created_at_ms=now_ms,
            metadata=metadata,
        )
        known = await self._ledger.open_cart(asked)
        if known.lines != wanted:
            raise IdempotencyConflict(f"the cart {order_id!r} was reserved with other lines; it stands", "lines")
        cart = await self._held(known, ttl_ms)
        if cart.refusal and (no := read_refusal(cart.refusal)).why == _CONFLICT:
            raise IdempotencyConflict(f"the item {no.sku!r} has an order {order_id!r} already; it stands")
        return reserved(cart, replayed=known.held or known.state != "open")

    async def confirm(self, order_id: str, buyer_id: str = "", payment_ref: str | None = None) -> Cart:
        """Confirm all lines. The decision comes first: once it is made, it is taken at any time.

        Returns:
            The cart, confirmed; or released, where it came too late; or one whose outcome is `not_found`.

        Raises:
            InvalidRequest: names the argument.
            OutcomeUnknown, BackendUnavailable, Overloaded: confirm it again.
        """
        ref = check_payment_ref(payment_ref)
        known = await self._find(order_id, buyer_id)
        if known is None:
            return not_found(order_id, buyer_id)
        cart = await self._held(known, known.expires_at_ms - known.created_at_ms)
        if cart.state == "open" or (cart.state == "confirmed" and ref and not cart.payment_ref):
            cart = await self._decide(cart, "confirmed", payment_ref=ref)
        if cart != known or not cart.finished:
            await self._lead(cart)
        vain = cart.state == "released" or cart.payment_ref != ref
        return decided(cart, replayed=known.state == "confirmed", refund_payment_ref=ref if vain else "")

    async def release(self, order_id: str, buyer_id: str = "") -> Cart:
        """Release all lines. A cart that was confirmed stays so: the answer says it.

        Raises:
            InvalidRequest: names the argument.
            BackendUnavailable: the ledger is away.
        """
        known = await self._find(order_id, buyer_id)
        if known is None:
            return not_found(order_id, buyer_id)
        cart = await self._decide(known, "released") if known.state == "open" else known
        if not cart.finished:
            await self._lead(cart)
        return decided(cart, replayed=known.state == "released")

    # --- holding ---

    async def _held(self, cart: CartRow, ttl_ms: int) -> CartRow:
        """Hold what is not held of an open cart, whoever left it half-way; release one whose time is over."""
        if cart.state == "open" and cart.expires_at_ms <= self._clock.now_ms():
            cart = await self._decide(cart, "released")
        if cart.state == "open" and not cart.held:
            cart = await self._hold_lines(cart, ttl_ms)
            if cart.state == "released":
                await self._lead(cart)  # also where another has led it: it may have come before our last line
        return cart

    async def _hold_lines(self, cart: CartRow, ttl_ms: int) -> CartRow:
        expires_at_ms = []
        for line in cart.lines:
            try:
                answer = await self._hold(
                    line.sku,
                    line.quantity,
                    order_id=cart.order_id,
                    buyer_id=cart.buyer_id,
                    ttl_ms=ttl_ms,
                    metadata=cart.metadata,
                )
            except IdempotencyConflict:
                return await self._refuse(cart, Refusal(_CONFLICT, line.sku))
            if answer.state is not OrderState.HELD or answer.expires_at is None:
                if answer.state is None:
                    return await self._refuse(cart, Refusal(answer.outcome.value, line.sku, answer.available))
                # A line with another state follows a decision that another call has made meanwhile.
                return await self._decide(cart, "released")
            expires_at_ms.append(round(answer.expires_at.timestamp() * 1000))
        return await self._ledger.hold_cart(cart.order_id, cart.buyer_id, min(expires_at_ms))

    async def _item(self, sku: str, buyer_id: str) -> Item:
        item = await self._ledger.item(sku)
        if item is None:
            raise UnknownItem(sku)
        if item.spec.limit_per_buyer is not None and not buyer_id:
            raise InvalidRequest("buyer_id", f"given: {sku!r} has a limit per buyer")
        return item

    # --- deciding, and what follows ---

    async def _find(self, order_id: str, buyer_id: str) -> CartRow | None:
        check_order_ids(order_id, buyer_id)
        return await self._ledger.cart(order_id, buyer_id)

    async def _refuse(self, cart: CartRow, refusal: Refusal) -> CartRow:
        return await self._decide(cart, "released", refusal=write_refusal(refusal))

    async def _decide(self, cart: CartRow, state: str, *, payment_ref: str = "", refusal: str = "") -> CartRow:
        return await self._ledger.decide_cart(
            cart.order_id, cart.buyer_id, state, payment_ref=payment_ref, refusal=refusal
        )

    async def _lead(self, cart: CartRow) -> None:
        """The decision is made: where a line cannot follow now, the reaper leads it later."""
        with suppress(*_NOT_NOW):
            flush = await lead_cart(self._ledger, self._shard, cart)
            self._signals.publish(Work(flush=flush))
