"""Selling: an order comes in here, and its partition's path (`partition`) takes it on to the shard."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from hotsku.domain.deduction import Deduction, Order
from hotsku.domain.identity import (
    check_buyer_id,
    check_metadata,
    check_order,
    check_quantity,
    check_ttl,
    has_shape,
)
from hotsku.domain.routing import home
from hotsku.engine.engine import Engine
from hotsku.engine.item_path import ItemPath
from hotsku.engine.orders import check_orders
from hotsku.engine.request import Bulk, Listener, Request, Terms
from hotsku.errors import HotSKUError, InvalidRequest


class Selling(Engine):
    """The part of the inventory that accepts orders."""

    async def deduct(
        self, sku: str, quantity: int = 1, *, order_id: str | None = None, buyer_id: str = "", metadata: str = ""
    ) -> Deduction:
        """Sell `quantity` units of an item to an order, once, however often the order is sent.

        Args:
            order_id: with `buyer_id`, the idempotency key within the item. Without it the engine mints one, and the
                answer has it; such a call cannot be repeated.
            buyer_id: required where the item has a limit per buyer.
            metadata: text of up to 256 bytes that the order, its events and its receipt carry.

        Returns:
            The answer, a yes or an expected no: see `Outcome`.

        Raises:
            InvalidRequest, UnknownItem: nothing was sent.
            IdempotencyConflict: the order was accepted before with another quantity, or held.
            OutcomeUnknown: send the same order again.
            BackendUnavailable, Overloaded: nothing was sold by this call.
        """
        path = self._paths.known(sku) or await self._load(sku)
        future: asyncio.Future[Deduction] = self._loop.create_future()
        terms = None if metadata == "" else Terms(quantity, check_metadata(metadata))
        self._place(path, quantity, order_id, buyer_id, terms, future)
        return await future

    async def reserve(
        self,
        sku: str,
        quantity: int = 1,
        *,
        order_id: str | None = None,
        buyer_id: str = "",
        ttl: timedelta | None = None,
        metadata: str = "",
    ) -> Deduction:
        """Hold `quantity` units for an order until it is confirmed or released, or its time is over.

        Args:
            ttl: how long the hold lasts, by the shard's clock; None: the item's `hold_ttl`.
            order_id, buyer_id, metadata: as for `deduct`.

        Returns:
            The answer; a yes is `held`, and has `expires_at`.

        Raises:
            As `deduct`; IdempotencyConflict also where the order was sold at once.
        """
        return await self._hold(sku, quantity, order_id, buyer_id, ttl, metadata)

    def offer(
        self,
        sku: str,
        quantity: int,
        *,
        order_id: str,
        buyer_id: str,
        hear: Callable[[Deduction | HotSKUError], None],
        metadata: str = "",
        hold: bool = False,
        ttl: timedelta | None = None,
    ) -> Listener | None:
        """`deduct`, or `reserve` where `hold` is true, for a caller that has very many calls and no task for each.

        Args:
            hear: called once with the answer, or with the fault that `deduct` would raise. It must not raise.
            ttl: of a hold, as for `reserve`.

        Returns:
            The listener: call its `leave` when nobody waits any more. None where the item is not loaded here yet:
            then nothing was done, and `deduct` is to be awaited.

        Raises:
            InvalidRequest: nothing was sent.
        """
        path = self._paths.known(sku)
        if path is None:
            return None
        check_order(order_id, buyer_id, quantity)
        if hold:
            terms: Terms | None = _hold_terms(path, quantity, metadata, ttl)
        else:
            terms = None if metadata == "" else Terms(quantity, check_metadata(metadata))
        listener = Listener(hear)
        self._place(path, quantity, order_id, buyer_id, terms, listener)
        return listener

    async def deduct_many(
        self, sku: str, orders: Sequence[Order | Mapping[str, object]]
    ) -> list[Deduction | HotSKUError]:
        """Sell to many orders at once.

        Args:
            orders: each an `Order`, or a mapping with its fields.

        Returns:
            For each order, in order, its answer, or the fault that `deduct` would have raised for it.

        Raises:
            InvalidRequest, UnknownItem: nothing was sent.
        """
        path = self._paths.known(sku) or await self._load(sku)
        checked = check_orders(orders)
        if not checked:
            return []
        done: asyncio.Future[None] = self._loop.create_future()
        bulk, now = Bulk(len(checked), done), self._paths.now_ms
        homes: list[list[Request]] = [[] for _ in path.partitions]
        count = len(homes)
        for index, order in enumerate(checked):
            if not order.buyer_id:
                _check_limit(path)
            terms = Terms(order.quantity, order.metadata) if order.metadata else None
            request = Request(order.order_id, order.buyer_id, bulk, now, index, order.quantity, terms)
            homes[home(order.order_id, order.buyer_id, count) if count > 1 else 0].append(request)
        for partition, requests in zip(path.partitions, homes, strict=True):
            if requests:
                partition.submit_many(requests)
        await done
        return [answer for answer in bulk.answers if answer is not None]

    # --- for the parts ---

    async def _hold(
        self,
        sku: str,
        quantity: int,
        order_id: str | None,
        buyer_id: str,
        ttl: timedelta | None,
        metadata: str,
        *,
        cart: bool = False,
    ) -> Deduction:
        """`reserve`; `cart` is true for a cart's line."""
        path = self._paths.known(sku) or await self._load(sku)
        future: asyncio.Future[Deduction] = self._loop.create_future()
        terms = _hold_terms(path, quantity, metadata, ttl, cart=cart)
        self._place(path, quantity, order_id, buyer_id, terms, future)
        return await future

    # --- inside ---

    def _place(
        self,
        path: ItemPath,
        quantity: int,
        order_id: str | None,
        buyer_id: str,
        terms: Terms | None,
        future: "asyncio.Future[Deduction] | Listener",
    ) -> None:
        """Put an order on its way; `future` will have its answer."""
        if order_id is None:
            check_quantity(quantity)
            check_buyer_id(buyer_id)
        elif not has_shape(order_id, buyer_id, quantity):
            check_order(order_id, buyer_id, quantity)
        if not buyer_id:
            _check_limit(path)
        if order_id is None:
            order_id, partition = path.scheduler.route(None, buyer_id, quantity)
        else:
            partition = home(order_id, buyer_id, len(path.partitions))
        request = Request(order_id, buyer_id, future, self._paths.now_ms, 0, quantity, terms)
        path.partitions[partition].submit(request)


def _hold_terms(path: ItemPath, quantity: int, metadata: str, ttl: timedelta | None, *, cart: bool = False) -> Terms:
    ttl_ms = path.item.spec.hold_ttl_ms if ttl is None else check_ttl(ttl)
    return Terms(quantity, check_metadata(metadata), ttl_ms, int(cart))


def _check_limit(path: ItemPath) -> None:
    if path.item.spec.limit_per_buyer is not None:
        raise InvalidRequest("buyer_id", f"given: {path.item.sku!r} has a limit per buyer")
