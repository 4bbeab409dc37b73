"""The routes that place an order: sold at once, or held until it is confirmed."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from msgspec import UNSET, UnsetType

from hotsku.domain.deduction import Deduction
from hotsku.engine.inventory import Inventory
from hotsku.engine.request import Listener
from hotsku.errors import InvalidRequest
from hotsku.http.answers import Answer, pending
from hotsku.http.bodies import DEDUCTION, MAX_BODY, RESERVATION, DeductionBody, ReservationBody
from hotsku.http.counters import Counters
from hotsku.http.head import Head
from hotsku.http.hot_routes import Call, Hear, Work, no_query
from hotsku.http.keys import Role
from hotsku.http.order_answers import decided


class Deduct:
    """Sells to one order."""

    method = "POST"
    path = "/v1/items/{sku}/deductions"
    role = Role.SELL
    max_body = MAX_BODY
    places_orders = True

    def __init__(self, stock: Inventory, counters: Counters) -> None:
        self._stock = stock
        self._counters = counters

    def read(self, call: Call) -> Work:
        no_query(call.query)
        asked = DEDUCTION.read(call.body)
        order_id = _order_id(asked.order_id, call.head)
        return Work(1, partial(self._answer, call.places[0], order_id, asked), pending)

    async def _answer(self, sku: str, order_id: str, asked: DeductionBody) -> Answer:
        answer = decided(
            await self._stock.deduct(
                sku, asked.quantity, order_id=order_id, buyer_id=asked.buyer_id, metadata=asked.metadata
            )
        )
        self._counters.order(answer.label)
        return answer

    def offer(self, places: Sequence[str], head: Head, body: bytes, hear: Hear) -> Listener | None:
        asked = DEDUCTION.read(body)
        return self._stock.offer(
            places[0],
            asked.quantity,
            order_id=_order_id(asked.order_id, head),
            buyer_id=asked.buyer_id,
            metadata=asked.metadata,
            hear=hear,
        )

    def told(self, deduction: Deduction) -> Answer:
        return decided(deduction)


class Reserve:
    """Holds units for one order."""

    method = "POST"
    path = "/v1/items/{sku}/reservations"
    role = Role.SELL
    max_body = MAX_BODY
    places_orders = True

    def __init__(self, stock: Inventory, counters: Counters) -> None:
        self._stock = stock
        self._counters = counters

    def read(self, call: Call) -> Work:
        no_query(call.query)
        asked = RESERVATION.read(call.body)
        order_id = _order_id(asked.order_id, call.head)
        return Work(1, partial(self._answer, call.places[0], order_id, asked), pending)

    async def _answer(self, sku: str, order_id: str, asked: ReservationBody) -> Answer:
        answer = decided(
            await self._stock.reserve(
                sku,
                asked.quantity,
                order_id=order_id,
                buyer_id=asked.buyer_id,
                ttl=ttl_of(asked.ttl_s),
                metadata=asked.metadata,
            )
        )
        self._counters.order(answer.label)
        return answer

    def offer(self, places: Sequence[str], head: Head, body: bytes, hear: Hear) -> Listener | None:
        asked = RESERVATION.read(body)
        return self._stock.offer(
            places[0],
            asked.quantity,
            order_id=_order_id(asked.order_id, head),
            buyer_id=asked.buyer_id,
            metadata=asked.metadata,
            hold=True,
            ttl=ttl_of(asked.ttl_s),
            hear=hear,
        )

    def told(self, deduction: Deduction) -> Answer:
        return decided(deduction)


def ttl_of(seconds: int | None) -> timedelta | None:
    """How long a hold lasts; None: as the item says."""
    return None if seconds is None else timedelta(seconds=seconds)


def _order_id(given: str | UnsetType, head: Head) -> str:
    """The order's id, of the body or of the head. Raises `InvalidRequest`."""
    order_id = head.idempotency_key if given is UNSET else given
    if not isinstance(order_id, str):
        raise InvalidRequest("order_id", "given, or an Idempotency-Key header")
    return order_id
