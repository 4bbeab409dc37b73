"""The steps of an order's life after it was accepted: its partition's path of steps (`steps`) takes them on."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from hotsku.domain.deduction import Deduction
from hotsku.domain.identity import check_order_ids, check_payment_ref, check_quantity, check_ttl
from hotsku.domain.order import StepVerb
from hotsku.domain.routing import home, order_field
from hotsku.engine.engine import Engine
from hotsku.engine.item_path import ItemPath
from hotsku.engine.request import Listener, StepRequest
from hotsku.errors import HotSKUError
from hotsku.ports import Step


class Stepping(Engine):
    """The part of the inventory that leads orders on: each method is safe to call again.

    Where the order's state does not allow a step, the answer's outcome is that state; `not_found` where the item has
    no such order. All raise:

        InvalidRequest, UnknownItem: nothing was sent.
        IdempotencyConflict: the order is a cart's line, and the cart's steps are its.
        OutcomeUnknown: call again.
        BackendUnavailable: nothing was done.
    """

    async def begin_payment(
        self, sku: str, *, order_id: str, buyer_id: str = "", ttl: timedelta | None = None
    ) -> Deduction:
        """A hold's buyer pays now: it lasts at least another `ttl` (None: the item's `hold_ttl`), also when the item is
        closed meanwhile. The outcome is `held`."""
        return await self._step(sku, StepVerb.BEGIN_PAYMENT, order_id, buyer_id, ttl=ttl)

    async def confirm(
        self, sku: str, *, order_id: str, buyer_id: str = "", payment_ref: str | None = None
    ) -> Deduction:
        """Sell a hold for good. The outcome is `confirmed`; `expired` where its time is over.

        Args:
            payment_ref: names the payment, in up to 128 characters. Where it came in vain (the order has ended, or is
                confirmed by another payment) the answer has it as `refund_payment_ref`: give the money back.
        """
        return await self._step(sku, StepVerb.CONFIRM, order_id, buyer_id, payment_ref=payment_ref)

    async def release(self, sku: str, *, order_id: str, buyer_id: str = "") -> Deduction:
        """Give a hold's units back. The outcome is `released`."""
        return await self._step(sku, StepVerb.RELEASE, order_id, buyer_id)

    async def extend(self, sku: str, *, order_id: str, buyer_id: str = "", ttl: timedelta) -> Deduction:
        """Let a hold last at least another `ttl` from now. The outcome is `held`."""
        return await self._step(sku, StepVerb.EXTEND, order_id, buyer_id, ttl=ttl)

    async def refund(self, sku: str, *, order_id: str, buyer_id: str = "", quantity: int | None = None) -> Deduction:
        """Take a sale back, in part or wholly; its units can be sold again. The outcome is `refunded`, the state only
        when it is complete. What a cart sold is refunded line by line.

        Args:
            quantity: units refunded in all, those of earlier calls among them; None: all.

        Raises:
            InvalidRequest: also where the order has fewer units.
        """
        return await self._step(sku, StepVerb.REFUND, order_id, buyer_id, quantity=quantity)

    def offer_step(
        self,
        sku: str,
        verb: StepVerb,
        *,
        order_id: str,
        buyer_id: str,
        hear: Callable[[Deduction | HotSKUError], None],
        payment_ref: str | None = None,
        ttl: timedelta | None = None,
        quantity: int | None = None,
    ) -> Listener | None:
        """A step for a caller that has very many calls and no task for each: what `offer` is to `deduct`.

        Args:
            verb: the method; the rest are its arguments.

        Returns:
            As `offer`: None where the item is not loaded here yet; then nothing was done.

        Raises:
            InvalidRequest: nothing was sent.
        """
        path = self._paths.known(sku)
        if path is None:
            return None
        argument = _argument(path, verb, payment_ref, ttl, quantity)
        listener = Listener(hear)
        self._take_step(path, verb, argument, order_id, buyer_id, listener)
        return listener

    # --- for the parts ---

    async def _step(
        self,
        sku: str,
        verb: StepVerb,
        order_id: str,
        buyer_id: str,
        *,
        payment_ref: str | None = None,
        ttl: timedelta | None = None,
        quantity: int | None = None,
        cart: bool = False,
    ) -> Deduction:
        """A step; `cart` is true where the cart asks whose line the order is."""
        path = await self._path(sku)
        argument = _argument(path, verb, payment_ref, ttl, quantity)
        future: asyncio.Future[Deduction] = self._loop.create_future()
        self._take_step(path, verb, argument, order_id, buyer_id, future, cart=cart)
        return await future

    # --- inside ---

    def _take_step(
        self,
        path: ItemPath,
        verb: StepVerb,
        argument: str | int,
        order_id: str,
        buyer_id: str,
        future: "asyncio.Future[Deduction] | Listener",
        *,
        cart: bool = False,
    ) -> None:
        """Put a step on its way; `future` will have its answer."""
        check_order_ids(order_id, buyer_id)
        step = Step(verb, order_field(order_id, buyer_id), argument, cart)
        steps = path.steps[home(order_id, buyer_id, len(path.steps))]
        steps.submit(StepRequest(order_id, buyer_id, future, self._paths.now_ms, 0, step))


def _argument(
    path: ItemPath, verb: StepVerb, payment_ref: str | None, ttl: timedelta | None, quantity: int | None
) -> str | int:
    """The step's argument, checked, as the shard takes it."""
    if verb is StepVerb.CONFIRM:
        return check_payment_ref(payment_ref)
    if verb is StepVerb.REFUND:
        return 0 if quantity is None else check_quantity(quantity)
    if verb is StepVerb.BEGIN_PAYMENT and ttl is None:
        return path.item.spec.hold_ttl_ms
    return "" if verb is StepVerb.RELEASE else check_ttl(ttl)
