"""Where a page of orders goes on: the place of the last one of the page before, as text."""

import re

from hotsku.domain.deduction import Deduction, OrderState, Outcome, Proof
from hotsku.errors import InvalidRequest

_PLACE = re.compile(r"([0-9]{1,4})\.([0-9]{1,15})\.([0-9]{1,15})")


def place_of(order: Deduction) -> str:
    """The place of an order."""
    return f"{order.partition}.{order.incarnation}.{order.seq}"


def order_at(sku: str, place: str | None) -> Deduction | None:
    """An order in this place, which says nothing else; None for None.

    Raises:
        InvalidRequest: it is no place.
    """
    if place is None:
        return None
    found = _PLACE.fullmatch(place)
    if found is None:
        raise InvalidRequest("after", "the `next` of the page before")
    partition, incarnation, seq = map(int, found.groups())
    return Deduction(
        outcome=Outcome.ACCEPTED,
        state=OrderState.CONFIRMED,
        sku=sku,
        order_id="",
        buyer_id="",
        quantity=1,
        partition=partition,
        seq=seq,
        proof=Proof(incarnation, 0, None),
    )
