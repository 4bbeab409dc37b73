"""What the management routes answer with, beside the views and reports of the engine."""

from msgspec import Struct

from hotsku.engine.views import ItemView, OrderEvent, PartitionView
from hotsku.http.order_answers import OrderAnswer


class ItemsPage(Struct, frozen=True):
    """Items by SKU. `next` is what `after` must be for the next page; null on the last one."""

    items: list[ItemView]
    next: str | None


class OrdersPage(Struct, frozen=True):
    """Orders as the ledger has them. `next` is what `after` must be for the next page; null on the last one."""

    orders: list[OrderAnswer]
    next: str | None


class History(Struct, frozen=True):
    """What happened to an order, the earliest first, as the ledger has it."""

    sku: str
    order_id: str
    buyer_id: str
    events: list[OrderEvent]


class Registry(Struct, frozen=True):
    """An item's partitions. Their shards are called by numbers here."""

    sku: str
    partitions: list[PartitionView]


class Alive(Struct, frozen=True):
    """The process answers."""

    alive: bool = True


class Ready(Struct, frozen=True):
    """Whether the server can sell, and what is to be said of each back end: "ok", or what is wrong."""

    ready: bool
    back_ends: dict[str, str]
