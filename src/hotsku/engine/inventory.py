"""The inventory: the public API of the engine. `hotsku.connect()` gives one."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Self

from hotsku.domain.conservation import AuditReport
from hotsku.domain.deduction import Deduction, Order, OrderState, Outcome
from hotsku.domain.events import PartitionRef
from hotsku.domain.identity import check_buyer_id, check_id, check_order_ids, check_quantity
from hotsku.domain.item import Item, ItemSpec, Routing, check_spec, default_partitions
from hotsku.domain.routing import home, order_field
from hotsku.engine.item_path import ItemPath, ItemPaths
from hotsku.engine.needs import ASK_INTERVAL_MS, NeedsBoard
from hotsku.engine.orders import check_orders
from hotsku.engine.request import Bulk, Listener, Request
from hotsku.engine.views import ItemView, PartitionView, item_view, partition_view, to_ms
from hotsku.errors import BackendUnavailable, HotSKUError, InvalidRequest, UnknownItem
from hotsku.ports import (
    Clock,
    Fenced,
    Ledger,
    Lost,
    PartitionRow,
    PartitionStatus,
    Shard,
    Signals,
    Stale,
    Work,
)
from hotsku.stocking import latest, open_item, reachable

_DEFAULT_HOLD_TTL = timedelta(minutes=15)
_CLOSE_PATIENCE_S = 10.0
_NOT_READY = (Fenced, Stale, Lost)


class Inventory:
    """Sells items: every unit exactly once.

    Use it as an async context manager, from one event loop. Any number of concurrent calls is welcome: they are
    coalesced, and the more there are the cheaper each is.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        shard: Shard,
        signals: Signals,
        clock: Clock,
        paths: ItemPaths,
        board: NeedsBoard,
        durability: str,
        audit: Callable[[int | None], Awaitable[AuditReport]],
    ) -> None:
        """Made by `hotsku.connect()`."""
        self._ledger = ledger
        self._shard = shard
        self._signals = signals
        self._clock = clock
        self._paths = paths
        self._board = board
        self._durability = durability
        self._audit = audit
        self._tasks: list[asyncio.Task[None]] = []
        self._open_calls = 0
        self._all_answered = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._paths.tick()
        self._signals.subscribe(news=self._paths.hear)
        self._tasks = [asyncio.create_task(self._tick()), asyncio.create_task(self._look())]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Answer what is under way, take nothing new, and have what was sold sent to the ledger."""
        self._paths.close()
        try:
            await self._settle()
        finally:
            for task in self._tasks:
                task.cancel()
        self._signals.publish(Work(flush=[path.ref for path in self._paths.all_partitions() if path.seq]))

    # --- selling ---

    async def deduct(
        self, sku: str, quantity: int = 1, *, order_id: str | None = None, buyer_id: str = ""
    ) -> Deduction:
        """Sell `quantity` units of an item to an order, once, however often the order is sent.

        Args:
            order_id: with `buyer_id`, the idempotency key within the item. Without it the engine mints one, and the
                answer has it; such a call cannot be repeated.
            buyer_id: required where the item has a limit per buyer.

        Returns:
            The answer, a yes or an expected no: see `Outcome`.

        Raises:
            InvalidRequest, UnknownItem: nothing was sent.
            IdempotencyConflict: the order was accepted before with another quantity.
            OutcomeUnknown: send the same order again.
            BackendUnavailable, Overloaded: nothing was sold by this call.
        """
        path = self._paths.known(sku) or await self._load(sku)
        check_quantity(quantity)
        if order_id is None:
            check_buyer_id(buyer_id)
        else:
            check_order_ids(order_id, buyer_id)
        if not buyer_id:
            self._check_limit(path)
        order_id, partition = path.scheduler.route(order_id, buyer_id, quantity)
        future: asyncio.Future[Deduction] = self._loop.create_future()
        field = order_field(order_id, buyer_id)
        path.partitions[partition].submit(Request(field, order_id, buyer_id, quantity, future, self._paths.now_ms))
        self._open_calls += 1
        try:
            return await future
        finally:
            self._answered()

    def offer(
        self,
        sku: str,
        quantity: int,
        *,
        order_id: str,
        buyer_id: str,
        hear: Callable[[Deduction | HotSKUError], None],
    ) -> Listener | None:
        """`deduct` for a caller that has very many calls and no task for each.

        Args:
            hear: called once with the answer, or with the fault that `deduct` would raise. It must not raise.

        Returns:
            The listener: call its `leave` when nobody waits any more. None where the item is not loaded here yet:
            then nothing was done, and `deduct` is to be awaited.

        Raises:
            InvalidRequest: nothing was sent.
        """
        path = self._paths.known(sku)
        if path is None:
            return None
        check_quantity(quantity)
        check_order_ids(order_id, buyer_id)
        if not buyer_id:
            self._check_limit(path)
        _, partition = path.scheduler.route(order_id, buyer_id, quantity)
        listener = Listener(hear, self._answered)
        field = order_field(order_id, buyer_id)
        self._open_calls += 1
        path.partitions[partition].submit(Request(field, order_id, buyer_id, quantity, listener, self._paths.now_ms))
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
        for index, order in enumerate(checked):
            if not order.buyer_id:
                self._check_limit(path)
            field = order_field(order.order_id, order.buyer_id)
            request = Request(field, order.order_id, order.buyer_id, order.quantity, bulk, now, index)
            homes[home(order.order_id, order.buyer_id, len(homes))].append(request)
        for partition, requests in zip(path.partitions, homes, strict=True):
            if requests:
                partition.submit_many(requests)
        self._open_calls += 1
        try:
            await done
        finally:
            self._answered()
        return [answer for answer in bulk.answers if answer is not None]

    async def order(self, sku: str, order_id: str, buyer_id: str = "") -> Deduction:
        """What became of an order: its deduction, or one whose outcome is `not_found`."""
        path = self._paths.known(sku) or await self._load(sku)
        check_id("order_id", order_id)
        check_buyer_id(buyer_id)
        partition = home(order_id, buyer_id, len(path.partitions))
        try:
            record = await self._shard.order(path.partitions[partition].ref, order_field(order_id, buyer_id))
        except Lost as error:
            raise BackendUnavailable(str(error)) from error
        found = record or await self._ledger.order(path.item.id, order_id, buyer_id)
        return Deduction(
            outcome=Outcome.ACCEPTED if found else Outcome.NOT_FOUND,
            state=OrderState.CONFIRMED if found else None,
            sku=sku,
            order_id=order_id,
            buyer_id=buyer_id,
            quantity=found.quantity if found else 0,
            partition=partition,
        )

    # --- items ---

    async def create_item(
        self,
        sku: str,
        total: int,
        *,
        partitions: int | None = None,
        limit_per_buyer: int | None = None,
        opens_at: datetime | None = None,
        closes_at: datetime | None = None,
        hold_ttl: timedelta = _DEFAULT_HOLD_TTL,
        routing: Routing = "sticky",
        refund_restores_limit: bool = False,
    ) -> ItemView:
        """Put an item on sale. When this returns, its partitions have stock. The same again is the same item.

        Args:
            total: units, 1 to 10^9.
            partitions: 1 to 1,024; None: one for every 250 units, at most 8 a server.
            limit_per_buyer: units that one buyer may have; every order must then name its buyer.
            opens_at, closes_at: the sale's window by the shard's clock; timezone-aware.
            hold_ttl: how long a hold lasts.
            routing: where orders go whose id the engine mints (others are always sticky).

        Raises:
            InvalidRequest: names the field.
            IdempotencyConflict: the item exists with other figures.
        """
        check_quantity(total, "total")
        if not isinstance(hold_ttl, timedelta):
            raise InvalidRequest("hold_ttl", "a timedelta")
        if partitions is None:
            known = await self._ledger.item(check_id("sku", sku))  # made when there were more shards, or fewer
            partitions = known.spec.partitions if known else default_partitions(total, self._shard.count())
        spec = ItemSpec(
            sku=sku,
            total=total,
            partitions=partitions,
            limit_per_buyer=limit_per_buyer,
            opens_at_ms=to_ms("opens_at", opens_at),
            closes_at_ms=to_ms("closes_at", closes_at),
            hold_ttl_ms=hold_ttl // timedelta(milliseconds=1),
            routing=routing,
            refund_restores_limit=refund_restores_limit,
        )
        item = await self._ledger.create_item(check_spec(spec), self._durability, self._clock.now_ms())
        try:
            await open_item(self._ledger, self._shard, self._clock, item)
        except _NOT_READY as error:
            raise BackendUnavailable(f"the item {sku!r} is not open yet, call again: {_why(error)}") from error
        return await self._view(item)

    async def item(self, sku: str) -> ItemView:
        """An item and its figures. Raises `UnknownItem`."""
        return await self._view(await self._known_item(sku))

    async def items(self, after: str | None = None, limit: int = 100) -> list[ItemView]:
        """Up to `limit` items (1 to 1,000) whose SKU sorts after `after`, by SKU."""
        if type(limit) is not int or not 1 <= limit <= 1000:
            raise InvalidRequest("limit", "an integer from 1 to 1000")
        return [await self._view(item) for item in await self._ledger.items(after, limit)]

    async def partitions(self, sku: str) -> list[PartitionView]:
        """The registry: the item's partitions, as their shards and the ledger have them now."""
        item = await self._known_item(sku)
        pool = (await self._ledger.standing(item.id)).pool
        rows = latest(await self._ledger.partitions(item.id))
        statuses = await self._statuses(rows)
        return [partition_view(sku, row, statuses.get(row.ref), pool, self._shard.name_of(row.ref)) for row in rows]

    async def audit(self, sku: str | None = None) -> AuditReport:
        """Check every equation of conservation, for one item or for all. Safe while a sale runs."""
        return await self._audit(None if sku is None else (await self._known_item(sku)).id)

    # --- inside ---

    def _check_limit(self, path: ItemPath) -> None:
        if path.item.spec.limit_per_buyer is not None:
            raise InvalidRequest("buyer_id", f"given: {path.item.sku!r} has a limit per buyer")

    async def _load(self, sku: str) -> ItemPath:
        try:
            return await self._paths.load(check_id("sku", sku))
        except _NOT_READY as error:
            raise BackendUnavailable(_why(error)) from error

    async def _known_item(self, sku: str) -> Item:
        item = await self._ledger.item(check_id("sku", sku))
        if item is None:
            raise UnknownItem(sku)
        return item

    async def _view(self, item: Item) -> ItemView:
        statuses = await self._statuses(latest(await self._ledger.partitions(item.id)))
        standing = await self._ledger.standing(item.id)
        return item_view(item, standing, list(statuses.values()), self._clock.now_ms())

    async def _statuses(self, rows: Sequence[PartitionRow]) -> dict[PartitionRef, PartitionStatus]:
        try:
            return await reachable(self._shard, [row.ref for row in rows])
        except Lost as error:
            raise BackendUnavailable(str(error)) from error

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(ASK_INTERVAL_MS / 1000)
            self._paths.tick()
            self._board.repeat_asks()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._paths.look_interval_s)
            with suppress(BackendUnavailable):  # trust runs out by itself
                await self._paths.trust_again()

    def _answered(self) -> None:
        self._open_calls -= 1
        if not self._open_calls:
            self._all_answered.set()

    async def _settle(self) -> None:
        self._all_answered.clear()
        if not self._open_calls:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_PATIENCE_S):
                await self._all_answered.wait()


def _why(error: Exception) -> str:
    if isinstance(error, Lost):
        return str(error)
    return "the shard's memory of the item is not the one that was armed; see `hotsku audit`"
