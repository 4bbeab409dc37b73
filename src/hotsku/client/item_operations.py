"""Operations on items: what an admin does, and the figures that everybody may read."""

from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from hotsku.client.answers import fault_of
from hotsku.client.asking import Asking, ask, changing, reading
from hotsku.client.wire import Operation, Reply, Request
from hotsku.domain.conservation import AuditReport
from hotsku.domain.identity import check_id, check_quantity, check_ttl
from hotsku.domain.item import Routing
from hotsku.domain.times import to_ms
from hotsku.engine.views import ItemView, PartitionView
from hotsku.managing import StateChange

T = TypeVar("T")

_DEFAULT_HOLD_TTL = timedelta(minutes=15)


class _ItemsPage(msgspec.Struct, frozen=True):
    items: list[ItemView]


class _Registry(msgspec.Struct, frozen=True):
    partitions: list[PartitionView]


class ItemOperations(Asking):
    """What is done with items."""

    def create_item(
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
    ) -> Operation[ItemView]:
        """Put an item on sale; arguments are those of `hotsku.Inventory.create_item`. The same again is the same item.

        Raises:
            InvalidRequest: names the field.
            IdempotencyConflict: the item exists with other figures.
            OutcomeUnknown: the time is over, and the item may be there.
        """
        body: dict[str, object] = {
            "sku": check_id("sku", sku),
            "total": check_quantity(total, "total"),
            "partitions": partitions,
            "limit_per_buyer": limit_per_buyer,
            "opens_at": _time("opens_at", opens_at),
            "closes_at": _time("closes_at", closes_at),
            "hold_ttl": _duration("hold_ttl", hold_ttl),
            "routing": routing,
            "refund_restores_limit": refund_restores_limit,
        }
        return self._read(changing("items", body=body), ItemView, sku)

    def restock(self, sku: str, quantity: int, adjustment_id: str) -> Operation[ItemView]:
        """Add units to an item, or with a negative quantity take unsold ones away, once for each `adjustment_id`.

        Raises:
            InvalidRequest: names the field; more are to go than are unsold, or the item is closed.
            IdempotencyConflict: the id was used with another quantity.
            OutcomeUnknown: the time is over, and the units may have come, or gone. Call again with the same id: under
                another one it would be done twice.
        """
        body = {"quantity": quantity, "adjustment_id": check_id("adjustment_id", adjustment_id)}
        return self._read(changing("items", check_id("sku", sku), "restock", body=body), ItemView, sku)

    def pause(self, sku: str) -> Operation[StateChange]:
        """Sell nothing more of an item until `resume`; orders that were accepted go on. The answer names the
        partitions that do not have it yet."""
        return self._change_state(sku, "pause")

    def resume(self, sku: str) -> Operation[StateChange]:
        """Sell a paused item again. Raises `InvalidRequest` where it is closed."""
        return self._change_state(sku, "resume")

    def close_item(self, sku: str) -> Operation[StateChange]:
        """End an item's sale for good: holds that are not in payment are released."""
        return self._change_state(sku, "close")

    def item(self, sku: str) -> Operation[ItemView]:
        """An item and its figures. Raises `UnknownItem`."""
        return self._read(reading("items", check_id("sku", sku)), ItemView, sku)

    def items(self, after: str | None = None, limit: int = 100) -> Operation[list[ItemView]]:
        """Up to `limit` items (1 to 1,000) whose SKU sorts after `after`, by SKU."""
        query = {"limit": str(limit)} | ({} if after is None else {"after": after})
        request = reading("items", query=query)
        return ask(self.terms, request, lambda reply: _decoded(reply, _ItemsPage).items, "the list of items")

    def partitions(self, sku: str) -> Operation[list[PartitionView]]:
        """The registry: the item's partitions, as their shards and the ledger have them now."""
        request = reading("items", check_id("sku", sku), "partitions")
        return ask(self.terms, request, lambda reply: _decoded(reply, _Registry).partitions, "the registry")

    def audit(self, sku: str | None = None) -> Operation[AuditReport]:
        """Check every equation of conservation, for one item or for all. Safe while a sale runs."""
        query = {} if sku is None else {"sku": check_id("sku", sku)}
        return self._read(reading("audit", query=query), AuditReport, sku or "")

    def _change_state(self, sku: str, word: str) -> Operation[StateChange]:
        return self._read(changing("items", check_id("sku", sku), word, body={}), StateChange, sku)

    def _read(self, request: Request, kind: type[T], sku: str) -> Operation[T]:
        return ask(self.terms, request, lambda reply: _decoded(reply, kind), f"the change of the item {sku!r}")


def _decoded(reply: Reply, kind: type[T]) -> T:
    if reply.status >= 400:
        raise fault_of(reply)
    return msgspec.json.decode(reply.body, type=kind)


def _time(field: str, value: datetime | None) -> datetime | None:
    to_ms(field, value)
    return value


def _duration(field: str, value: timedelta) -> timedelta:
    check_ttl(value, field)
    return value
