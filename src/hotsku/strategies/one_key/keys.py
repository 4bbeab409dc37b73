"""The keys of an item; one hash tag keeps them in one slot."""

from msgspec import Struct


class ItemKeys(Struct, frozen=True):
    """An item's keys, named in the order in which the scripts take them."""

    stock: str
    orders: str
    details: str
    seq: str

    @property
    def all(self) -> list[str]:
        return [self.stock, self.orders, self.details, self.seq]


def item_keys(prefix: str, sku: str) -> ItemKeys:
    """The keys of the item `sku`."""
    base = f"{prefix}:{{{sku}}}"
    return ItemKeys(f"{base}:stock", f"{base}:orders", f"{base}:details", f"{base}:seq")
