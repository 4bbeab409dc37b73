"""The interface that every rung of the ladder implements."""

from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from hotsku.domain.identity import check_buyer_id, check_id, check_quantity
from hotsku.errors import IdempotencyConflict


class Answer(StrEnum):
    """What an order hears."""

    ACCEPTED = "accepted"
    REPLAYED = "replayed"  # it was accepted before
    RELEASED = "released"  # it was accepted before, and released
    SOLD_OUT = "sold_out"
    INSUFFICIENT = "insufficient"  # there is something left, but less than was asked


class Count(Struct, frozen=True):
    """Units of an item: what orders hold, and what can still be sold."""

    sold: int
    left: int


class Sale(Struct, frozen=True):
    """One checked order."""

    sku: str
    quantity: int
    order_id: str
    buyer_id: str


class Strategy(Protocol):
    """A way to sell a fixed stock: never more than there is, and an order once, however often it is sent.

    An order is identified by (`buyer_id`, `order_id`) within its item. Any number of callers may call at once, from one
    event loop. Faults are those of `hotsku.errors`.
    """

    async def open(self) -> None:
        """Connect, and make what is missing (tables, keys)."""
        ...

    async def close(self) -> None:
        """Finish what runs in the background, and disconnect."""
        ...

    async def erase(self) -> None:
        """Remove every table and key of this strategy and its prefix. It must be open."""
        ...

    async def create(self, sku: str, total: int) -> None:
        """Put `total` units on sale. The same again does nothing; another total is an `IdempotencyConflict`."""
        ...

    async def deduct(self, sku: str, quantity: int, order_id: str, buyer_id: str) -> Answer:
        """Sell `quantity` units to an order.

        Raises:
            IdempotencyConflict: the order was accepted with another quantity.
        """
        ...

    async def release(self, sku: str, order_id: str, buyer_id: str) -> bool:
        """Give an order's units back, once. Returns whether this call did it."""
        ...

    async def count(self, sku: str) -> Count:
        """How many units are sold, and how many are left."""
        ...


def check_sale(sku: str, quantity: int, order_id: str, buyer_id: str) -> Sale:
    """The order, if it is well-formed.

    Raises:
        InvalidRequest: names the field.
    """
    return Sale(
        check_id("sku", sku), check_quantity(quantity), check_id("order_id", order_id), check_buyer_id(buyer_id)
    )


def refusal(left: int) -> Answer:
    """The no that `left` units deserve."""
    return Answer.INSUFFICIENT if left > 0 else Answer.SOLD_OUT


def replay(sale: Sale, quantity: int, *, released: bool) -> Answer:
    """What an order hears that was accepted before, with `quantity` units.

    Raises:
        IdempotencyConflict: it asks for another quantity now.
    """
    if quantity != sale.quantity:
        raise IdempotencyConflict(f"the order {sale.order_id!r} was accepted with quantity {quantity}; it stands")
    return Answer.RELEASED if released else Answer.REPLAYED
