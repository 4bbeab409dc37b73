"""Items: made here, and told of."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from hotsku.domain.conservation import AuditReport
from hotsku.domain.events import PartitionRef
from hotsku.domain.identity import check_id, check_quantity, check_ttl
from hotsku.domain.item import Item, ItemSpec, Routing, check_spec, default_partitions
from hotsku.domain.times import to_ms
from hotsku.engine.engine import Engine, check_page
from hotsku.engine.views import ItemView, PartitionView, item_view, partition_view
from hotsku.errors import BackendUnavailable
from hotsku.managing.half_done import following, making
from hotsku.ports import Lost, PartitionRow, PartitionStatus
from hotsku.stocking import latest, open_item, reachable

_DEFAULT_HOLD_TTL = timedelta(minutes=15)


class Catalogue(Engine):
    """The part of the inventory that makes items and tells of them."""

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
            partitions: 1 to 1,024; None: one for every 250 units, at most 4 on one server, and 8 a server
                on several.
            limit_per_buyer: units that one buyer may have; every order must then name its buyer.
            opens_at, closes_at: the sale's window by the shard's clock; timezone-aware.
            hold_ttl: how long a hold lasts.
            routing: where orders go whose id the engine mints (others are always sticky).
            refund_restores_limit: whether refunded units count no more towards the limit.

        Raises:
            InvalidRequest: names the field.
            IdempotencyConflict: the item exists with other figures.
            BackendUnavailable: the item was not made.
            OutcomeUnknown: it may be there, and not be open yet. Call again.
        """
        view, _ = await self.put_on_sale(
            sku,
            total,
            partitions=partitions,
            limit_per_buyer=limit_per_buyer,
            opens_at=opens_at,
            closes_at=closes_at,
            hold_ttl=hold_ttl,
            routing=routing,
            refund_restores_limit=refund_restores_limit,
        )
        return view

    async def put_on_sale(
        self,
        sku: str,
        total: int,
        *,
        partitions: int | None,
        limit_per_buyer: int | None,
        opens_at: datetime | None,
        closes_at: datetime | None,
        hold_ttl: timedelta,
        routing: Routing,
        refund_restores_limit: bool,
    ) -> tuple[ItemView, bool]:
        """`create_item`, for whoever must tell whether the item is new: True where this call made it."""
        check_quantity(total, "total")
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
            hold_ttl_ms=check_ttl(hold_ttl, "hold_ttl"),
            routing=routing,
            refund_restores_limit=refund_restores_limit,
        )
        check_spec(spec)
        with making(f"the item {sku!r}"):
            created = await self._ledger.create_item(spec, self._durability, self._clock.now_ms())
        with following(f"the item {sku!r}"):
            await open_item(self._ledger, self._shard, self._clock, created.item)
            return await self._view(created.item), created.new

    async def item(self, sku: str) -> ItemView:
        """An item and its figures. Raises `UnknownItem`."""
        return await self._view(await self._known_item(sku))

    async def items(self, after: str | None = None, limit: int = 100) -> list[ItemView]:
        """Up to `limit` items (1 to 1,000) whose SKU sorts after `after`, by SKU.

        Args:
            after: as a SKU is; None or "": from the first.

        Raises:
            InvalidRequest: names the argument.
        """
        last = None if after is None or after == "" else check_id("after", after)
        return [await self._view(item) for item in await self._ledger.items(last, check_page(limit))]

    async def partitions(self, sku: str) -> list[PartitionView]:
        """The registry: the item's partitions, as their shards and the ledger have them now."""
        item = await self._known_item(sku)
        standing, rows = await self._ledger.stock(item.id)
        statuses = await self._statuses(latest(rows))
        return [
            partition_view(sku, row, statuses.get(row.ref), standing.pool, self._shard.name_of(row.ref))
            for row in latest(rows)
        ]

    async def audit(self, sku: str | None = None) -> AuditReport:
        """Check every equation of conservation, for one item or for all. Safe while a sale runs."""
        return await self._audit(None if sku is None else (await self._known_item(sku)).id)

    # --- inside ---

    async def _view(self, item: Item) -> ItemView:
        standing, rows = await self._ledger.stock(item.id)
        statuses = await self._statuses(latest(rows))
        return item_view(item, standing, latest(rows), statuses, self._clock.now_ms())

    async def _statuses(self, rows: Sequence[PartitionRow]) -> dict[PartitionRef, PartitionStatus]:
        try:
            return await reachable(self._shard, [row.ref for row in rows])
        except Lost as error:
            raise BackendUnavailable(str(error)) from error
