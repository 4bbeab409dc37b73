"""The scheduler: which partition a request goes to, and the registry that it chooses from.

A named buyer or order is always at its home. Where the engine mints the order's id it may choose: then it takes a
registered partition that has enough stock, and draws ids until their home is that partition.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from hotsku.domain.item import Routing
from hotsku.domain.routing import home, mint_order_id


class Registered(Protocol):
    """A partition as the registry has it."""

    @property
    def left(self) -> int: ...


class Scheduler:
    """Routes the requests of one item over its partitions."""

    def __init__(
        self,
        routing: Routing,
        partitions: Sequence[Registered],
        draw_id: Callable[[], str],
        pick: Callable[[int], int],
    ) -> None:
        """
        Args:
            partitions: the item's partitions by number; `left` is what each is known to have.
            draw_id: returns a fresh unique order id at each call.
            pick: returns a random integer from 0 to its argument - 1.
        """
        self._routing = routing
        self._partitions = partitions
        self._draw_id = draw_id
        self._pick = pick
        self._turn = 0

    def route(self, order_id: str | None, buyer_id: str, quantity: int) -> tuple[str, int]:
        """The order's id, minted where there is none, and its home partition."""
        count = len(self._partitions)
        if order_id is None:
            if not buyer_id and self._routing != "sticky":
                chosen = self._choose(quantity)
                return mint_order_id(self._draw_id, chosen, count), chosen
            order_id = self._draw_id()
        return order_id, home(order_id, buyer_id, count)

    def _choose(self, quantity: int) -> int:
        # An exhausted partition has nothing left: it is off the list until stock is installed there again.
        able = [i for i, partition in enumerate(self._partitions) if partition.left >= quantity]
        able = able or list(range(len(self._partitions)))
        if self._routing == "random":
            return able[self._pick(len(able))]
        self._turn += 1
        return able[self._turn % len(able)]
