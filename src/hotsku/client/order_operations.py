"""Operations on orders: each makes a request of its arguments, and a deduction of the answer."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from hotsku.client.answers import read_order
from hotsku.client.asking import Asking, ask, changing, reading
from hotsku.client.batches import sell
from hotsku.client.wire import Operation, Request
from hotsku.domain.deduction import Deduction, Order
from hotsku.domain.identity import (
    check_id,
    check_metadata,
    check_order_ids,
    check_payment_ref,
    check_quantity,
    check_ttl,
)
from hotsku.engine.orders import check_orders
from hotsku.errors import HotSKUError

_ONE_SECOND_MS = 1000


class OrderOperations(Asking):
    """What is done with orders of one item."""

    def deduct(
        self, sku: str, quantity: int = 1, *, order_id: str | None = None, buyer_id: str = "", metadata: str = ""
    ) -> Operation[Deduction]:
        """Sell `quantity` units of an item to an order, once, however often the order is sent.

        Args:
            order_id: with `buyer_id`, the idempotency key within the item. Without it the client mints one before it
                sends anything, so that it may send again; the answer has it.
            buyer_id: required where the item has a limit per buyer.
            metadata: up to 256 bytes of your own, which the order's detail and its events carry.

        Returns:
            The answer, a yes or an expected no: see `Outcome`. Its `partition` is -1: the gateway does not tell it.

        Raises:
            InvalidRequest, UnknownItem: nothing was sold.
            IdempotencyConflict: the order was accepted before with other content.
            OutcomeUnknown: the time is over, and the order may have been accepted. The same again is safe.
            BackendUnavailable, Overloaded: the time is over, and nothing was sold.
        """
        return self._place("deductions", sku, quantity, order_id, buyer_id, metadata, {})

    def reserve(
        self,
        sku: str,
        quantity: int = 1,
        *,
        order_id: str | None = None,
        buyer_id: str = "",
        ttl: timedelta | None = None,
        metadata: str = "",
    ) -> Operation[Deduction]:
        """Hold units for an order until it is confirmed, for `ttl` in whole seconds (rounded up); by default for the
        item's `hold_ttl`. Everything else is as in `deduct`."""
        more = {} if ttl is None else {"ttl_s": to_seconds(ttl)}
        return self._place("reservations", sku, quantity, order_id, buyer_id, metadata, more)

    def deduct_many(
        self, sku: str, orders: Sequence[Order | Mapping[str, object]]
    ) -> Operation[list[Deduction | HotSKUError]]:
        """Sell to many orders, up to 1,000 of them in a request, which has the whole time of an operation.

        Args:
            orders: each an `Order`, or a mapping with its fields.

        Returns:
            For each order, in order, its answer, or the fault that `deduct` would have raised for it.

        Raises:
            InvalidRequest, UnknownItem: the first request that was not taken; nothing of it was sold.
        """
        return sell(self.terms, check_id("sku", sku), check_orders(orders))

    def begin_payment(
        self, sku: str, *, order_id: str, buyer_id: str = "", ttl: timedelta | None = None
    ) -> Operation[Deduction]:
        """A hold's buyer pays now: it lasts at least another `ttl` in whole seconds (rounded up; None: the item's
        `hold_ttl`), also when the item is closed meanwhile. The outcome is `held`, or today's state where it cannot be.
        Errors are those of `deduct`."""
        return self._step("begin-payment", sku, order_id, buyer_id, {} if ttl is None else {"ttl_s": to_seconds(ttl)})

    def confirm(
        self, sku: str, *, order_id: str, buyer_id: str = "", payment_ref: str | None = None
    ) -> Operation[Deduction]:
        """Sell what an order holds.

        Args:
            payment_ref: the payment that paid for it; the order keeps it.

        Returns:
            `confirmed`, or today's state where it cannot be. Then `refund_payment_ref` is a payment that came in vain:
            give it back.
        """
        more = {"payment_ref": payment_ref} if check_payment_ref(payment_ref) else {}
        return self._step("confirm", sku, order_id, buyer_id, more)

    def release(self, sku: str, *, order_id: str, buyer_id: str = "") -> Operation[Deduction]:
        """Give back what an order holds; the outcome is `released`, or today's state where it cannot be."""
        return self._step("release", sku, order_id, buyer_id, {})

    def extend(self, sku: str, *, order_id: str, buyer_id: str = "", ttl: timedelta) -> Operation[Deduction]:
        """Let a hold last at least another `ttl` from now, in whole seconds (rounded up). The outcome is `held`, or
        today's state where it cannot be."""
        return self._step("extend", sku, order_id, buyer_id, {"ttl_s": to_seconds(ttl)})

    def refund(
        self, sku: str, *, order_id: str, buyer_id: str = "", quantity: int | None = None
    ) -> Operation[Deduction]:
        """Give back what a confirmed order bought.

        Args:
            quantity: units in all, those of earlier refunds included; None: the whole order.

        Returns:
            `refunded`, or today's state where it cannot be. The state is `confirmed` until all of it is refunded.
        """
        more = {} if quantity is None else {"quantity": check_quantity(quantity)}
        return self._step("refund", sku, order_id, buyer_id, more)

    def order(self, sku: str, order_id: str, buyer_id: str = "") -> Operation[Deduction]:
        """What became of an order: its deduction, or one whose outcome is `not_found`."""
        check_order_ids(order_id, buyer_id)
        query = {"buyer_id": buyer_id} if buyer_id else {}
        return self._ask(
            reading("items", check_id("sku", sku), "orders", order_id, query=query), sku, order_id, buyer_id
        )

    def _place(
        self,
        kind: str,
        sku: str,
        quantity: int,
        order_id: str | None,
        buyer_id: str,
        metadata: str,
        more: Mapping[str, object],
    ) -> Operation[Deduction]:
        order_id = self.terms.mint_id() if order_id is None else order_id
        check_order_ids(order_id, buyer_id)
        body = {"order_id": order_id, "quantity": check_quantity(quantity), "buyer_id": buyer_id, **more}
        if check_metadata(metadata):
            body["metadata"] = metadata
        request = changing("items", check_id("sku", sku), kind, body=body)
        return self._ask(request, sku, order_id, buyer_id, quantity)

    def _step(
        self, word: str, sku: str, order_id: str, buyer_id: str, more: Mapping[str, object]
    ) -> Operation[Deduction]:
        check_order_ids(order_id, buyer_id)
        path = ("items", check_id("sku", sku), "orders", order_id, word)
        return self._ask(changing(*path, body={"buyer_id": buyer_id, **more}), sku, order_id, buyer_id)

    def _ask(self, request: Request, sku: str, order_id: str, buyer_id: str, quantity: int = 0) -> Operation[Deduction]:
        asked = {"sku": sku, "order_id": order_id, "buyer_id": buyer_id, "quantity": quantity}
        return ask(self.terms, request, lambda reply: read_order(reply, asked), f"the order {order_id!r} of {sku!r}")


def to_seconds(ttl: timedelta) -> int:
    """A hold's time as the gateway takes it: whole seconds, not less than asked for. Raises `InvalidRequest`."""
    return -(-check_ttl(ttl) // _ONE_SECOND_MS)
