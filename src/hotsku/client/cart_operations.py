"""Operations on carts: several items under one order, all or nothing."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

import msgspec

from hotsku.client.answers import fault_of, read_problem
from hotsku.client.asking import Asking, ask, changing
from hotsku.client.order_operations import to_seconds
from hotsku.client.wire import Operation, Reply, Request
from hotsku.domain.cart import Cart, CartLine, check_lines
from hotsku.domain.deduction import Outcome
from hotsku.domain.identity import check_metadata, check_order_ids, check_payment_ref


class CartOperations(Asking):
    """What is done with carts."""

    def reserve_cart(
        self,
        lines: Iterable[CartLine | Mapping[str, object]],
        order_id: str,
        buyer_id: str = "",
        *,
        ttl: timedelta | None = None,
        metadata: str = "",
    ) -> Operation[Cart]:
        """Hold units of several items for one order: all of them, or none. The same again answers the same.

        Args:
            lines: at most 100, each a `CartLine` or a mapping with its fields; those of one SKU are summed.
            order_id: the order in each of the items, and with `buyer_id` the cart's idempotency key.
            ttl: how long the cart is held, in whole seconds (rounded up); None: the shortest of its items' own.

        Raises:
            InvalidRequest, UnknownItem: nothing is held.
            IdempotencyConflict: the cart was reserved with other lines, or one of its items has such an order already.
            OutcomeUnknown, BackendUnavailable, Overloaded: reserve the same cart again; otherwise it is released when
                its time is over.
        """
        check_order_ids(order_id, buyer_id)
        body: dict[str, object] = {"order_id": order_id, "buyer_id": buyer_id, "lines": check_lines(lines)}
        if ttl is not None:
            body["ttl_s"] = to_seconds(ttl)
        if check_metadata(metadata):
            body["metadata"] = metadata
        return self._ask_cart(changing("carts", body=body), order_id, buyer_id)

    def confirm_cart(self, order_id: str, buyer_id: str = "", payment_ref: str | None = None) -> Operation[Cart]:
        """Sell all that a cart holds.

        Returns:
            The cart, confirmed; or released, where this came too late: then `refund_payment_ref` is to be given back;
            or one whose outcome is `not_found`.
        """
        more = {"payment_ref": payment_ref} if check_payment_ref(payment_ref) else {}
        return self._end("confirm", order_id, buyer_id, more)

    def release_cart(self, order_id: str, buyer_id: str = "") -> Operation[Cart]:
        """Give back all that a cart holds. One that was confirmed stays so, as its outcome says."""
        return self._end("release", order_id, buyer_id, {})

    def _end(self, word: str, order_id: str, buyer_id: str, more: Mapping[str, str | None]) -> Operation[Cart]:
        check_order_ids(order_id, buyer_id)
        request = changing("carts", order_id, word, body={"buyer_id": buyer_id, **more})
        return self._ask_cart(request, order_id, buyer_id, more.get("payment_ref"))

    def _ask_cart(
        self, request: Request, order_id: str, buyer_id: str, payment_ref: str | None = None
    ) -> Operation[Cart]:
        missing = Cart(outcome=Outcome.NOT_FOUND, order_id=order_id, buyer_id=buyer_id, refund_payment_ref=payment_ref)
        return ask(self.terms, request, lambda reply: _read_cart(reply, missing), f"the cart {order_id!r}")


def _read_cart(reply: Reply, missing: Cart) -> Cart:
    told: dict[str, object] = msgspec.json.decode(reply.body, type=dict[str, object])
    if "outcome" in told:
        asked = {"order_id": missing.order_id, "buyer_id": missing.buyer_id}
        return msgspec.convert({**asked, "refused": told.get("sku"), **told}, Cart)
    if read_problem(reply).missing:
        return missing
    raise fault_of(reply)
