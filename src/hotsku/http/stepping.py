"""The routes of the steps in an order's life: each asks for one, and sending it again does no harm."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Generic, TypeVar

from msgspec import Struct

from hotsku.domain.deduction import Deduction, Outcome
from hotsku.domain.order import StepVerb
from hotsku.engine.inventory import Inventory
from hotsku.engine.request import Listener
from hotsku.http.answers import Answer, pending
from hotsku.http.bodies import BEGIN_PAYMENT, CONFIRM, EXTEND, MAX_BODY, REFUND, RELEASE
from hotsku.http.head import Head
from hotsku.http.hot_routes import Call, FastRoute, Hear, Work, no_query
from hotsku.http.keys import Role
from hotsku.http.order_answers import stepped
from hotsku.http.placing import ttl_of
from hotsku.http.strict_json import Body

T = TypeVar("T", bound=Struct)


class Asked(Struct, frozen=True, gc=False):
    """A step that is asked for: whose order, and what goes along."""

    buyer_id: str
    payment_ref: str | None = None
    ttl: timedelta | None = None
    quantity: int | None = None


class Step(Generic[T]):
    """One step's route."""

    method = "POST"
    role = Role.SELL
    max_body = MAX_BODY
    places_orders = False

    def __init__(
        self, stock: Inventory, verb: StepVerb, done: Outcome, body: Body[T], asked: Callable[[T], Asked]
    ) -> None:
        """
        Args:
            done: the outcome of an order that took it.
            asked: what a body asks for.
        """
        self.path = f"/v1/items/{{sku}}/orders/{{order_id}}/{verb.replace('_', '-')}"
        self._stock = stock
        self._verb = verb
        self._done = done
        self._body = body
        self._asked = asked

    def read(self, call: Call) -> Work:
        no_query(call.query)
        sku, order_id = call.places
        return Work(1, partial(self._answer, sku, order_id, self._asked(self._body.read(call.body))), pending)

    async def _answer(self, sku: str, order_id: str, asked: Asked) -> Answer:
        return self.told(await self._step(sku, order_id, asked))

    async def _step(self, sku: str, order_id: str, asked: Asked) -> Deduction:
        stock, buyer_id = self._stock, asked.buyer_id
        match self._verb:
            case StepVerb.BEGIN_PAYMENT:
                return await stock.begin_payment(sku, order_id=order_id, buyer_id=buyer_id, ttl=asked.ttl)
            case StepVerb.CONFIRM:
                return await stock.confirm(sku, order_id=order_id, buyer_id=buyer_id, payment_ref=asked.payment_ref)
            case StepVerb.RELEASE:
                return await stock.release(sku, order_id=order_id, buyer_id=buyer_id)
            case StepVerb.EXTEND:
                return await stock.extend(sku, order_id=order_id, buyer_id=buyer_id, ttl=asked.ttl or timedelta())
            case StepVerb.REFUND:
                return await stock.refund(sku, order_id=order_id, buyer_id=buyer_id, quantity=asked.quantity)

    def offer(self, places: Sequence[str], _: Head, body: bytes, hear: Hear) -> Listener | None:
        asked = self._asked(self._body.read(body))
        return self._stock.offer_step(
            places[0],
            self._verb,
            order_id=places[1],
            buyer_id=asked.buyer_id,
            payment_ref=asked.payment_ref,
            ttl=asked.ttl,
            quantity=asked.quantity,
            hear=hear,
        )

    def told(self, deduction: Deduction) -> Answer:
        return stepped(deduction, self._done)


def step_routes(stock: Inventory) -> list[FastRoute]:
    """The routes of all steps."""
    return [
        Step(
            stock,
            StepVerb.BEGIN_PAYMENT,
            Outcome.HELD,
            BEGIN_PAYMENT,
            lambda body: Asked(body.buyer_id, ttl=ttl_of(body.ttl_s)),
        ),
        Step(
            stock,
            StepVerb.CONFIRM,
            Outcome.CONFIRMED,
            CONFIRM,
            lambda body: Asked(body.buyer_id, payment_ref=body.payment_ref),
        ),
        Step(stock, StepVerb.RELEASE, Outcome.RELEASED, RELEASE, lambda body: Asked(body.buyer_id)),
        Step(
            stock,
            StepVerb.EXTEND,
            Outcome.HELD,
            EXTEND,
            lambda body: Asked(body.buyer_id, ttl=ttl_of(body.ttl_s)),
        ),
        Step(
            stock,
            StepVerb.REFUND,
            Outcome.REFUNDED,
            REFUND,
            lambda body: Asked(body.buyer_id, quantity=body.quantity),
        ),
    ]
