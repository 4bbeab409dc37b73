"""What the management routes answer with, beside the views and reports of the engine."""

from msgspec import Struct

from hotsku.engine.views import ItemView, PartitionView


class ItemsPage(Struct, frozen=True):
    """Items by SKU. `next` is what `after` must be for the next page; null on the last one."""

    items: list[ItemView]
    next: str | None


class Registry(Struct, frozen=True):
    """An item's partitions."""

    sku: str
    partitions: list[PartitionView]


class Alive(Struct, frozen=True):
    """The process answers."""

    alive: bool = True


class Ready(Struct, frozen=True):
    """Whether the server can sell, and what is to be said of each back end: "ok", or what is wrong."""

    ready: bool
    back_ends: dict[str, str]
