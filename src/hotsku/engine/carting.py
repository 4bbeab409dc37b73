"""Carts: several items under one order, all or nothing."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cached_property

from hotsku.carts import Carts
from hotsku.domain.cart import Cart, CartLine
from hotsku.domain.deduction import Deduction
from hotsku.engine.selling import Selling
from hotsku.managing.half_done import making


class Carting(Selling):
    """The part of the inventory that sells carts."""

    async def reserve_cart(
        self,
        lines: Iterable[CartLine | Mapping[str, object]],
        order_id: str,
        buyer_id: str = "",
        *,
        ttl: timedelta | None = None,
        metadata: str = "",
    ) -> Cart:
        """Hold units of several items for one order: all of them, or none. The same again answers the same.

        Args:
            lines: at most 100, each a `CartLine` or a mapping with its fields; those of one SKU are summed.
            order_id: the order in each of the items, and with `buyer_id` the cart's idempotency key.
            ttl: how long the cart is held; None: the shortest of its items' own.

        Raises:
            InvalidRequest, UnknownItem: nothing was sent.
            IdempotencyConflict: the cart was reserved with other lines, or one of its items has such an order already.
            OutcomeUnknown, BackendUnavailable, Overloaded: reserve the same cart again; otherwise it is released when
                its time is over.
        """
        with making(f"the cart {order_id!r}"):
            return await self._carts.reserve(lines, order_id, buyer_id, ttl=ttl, metadata=metadata)

    async def confirm_cart(self, order_id: str, buyer_id: str = "", payment_ref: str | None = None) -> Cart:
        """Sell all that a cart holds.

        Returns:
            The cart, confirmed; or released, where this came too late: then `refund_payment_ref` is to be given back;
            or one whose outcome is `not_found`.

        Raises:
            InvalidRequest: names the argument.
            OutcomeUnknown, BackendUnavailable, Overloaded: confirm it again.
        """
        with making(f"the confirmation of the cart {order_id!r}"):
            return await self._carts.confirm(order_id, buyer_id, payment_ref)

    async def release_cart(self, order_id: str, buyer_id: str = "") -> Cart:
        """Give back all that a cart holds. One that was confirmed stays so, as its outcome says.

        Raises:
            InvalidRequest: names the argument.
            OutcomeUnknown, BackendUnavailable: release it again.
        """
        with making(f"the release of the cart {order_id!r}"):
            return await self._carts.release(order_id, buyer_id)

    @cached_property
    def _carts(self) -> Carts:
        return Carts(self._ledger, self._shard, self._signals, self._clock, self._hold_line)

    async def _hold_line(
        self, sku: str, quantity: int, *, order_id: str, buyer_id: str, ttl_ms: int, metadata: str
    ) -> Deduction:
        ttl = timedelta(milliseconds=ttl_ms)
        return await self._hold(sku, quantity, order_id, buyer_id, ttl, metadata, cart=True)
