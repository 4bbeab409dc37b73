"""The routes of carts: several items under one order, held and confirmed together, or not at all."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar

from msgspec import Struct, field

from hotsku.domain.cart import Cart, CartLine, LineAnswer
from hotsku.domain.deduction import OrderState, Outcome
from hotsku.engine.inventory import Inventory
from hotsku.http.answers import PROBLEM, Answer, Problem, encode, kind_uri, pending
from hotsku.http.bodies import CART, CONFIRM, MAX_BODY, MAX_CART_BODY, RELEASE, CartBody, ConfirmBody, ReleaseBody
from hotsku.http.counters import Counters
from hotsku.http.hot_routes import Call, HotRoute, Work, no_query
from hotsku.http.keys import Role
from hotsku.http.order_answers import why_not
from hotsku.http.placing import ttl_of
from hotsku.http.strict_json import Body

T = TypeVar("T", bound=Struct)


class CartAnswer(Struct, frozen=True, omit_defaults=True):
    """A cart that is held, confirmed or released, with its lines in the order of their SKUs. `outcome` is what this
    request did, or what an earlier one did, then `replayed` is true; `state` is today's."""

    outcome: Outcome
    replayed: bool
    order_id: str
    buyer_id: str
    lines: list[LineAnswer]
    state: OrderState | None = None
    expires_at: datetime | None = None
    payment_ref: str | None = None


class CartProblem(Problem, frozen=True, kw_only=True, omit_defaults=True):
    """A no to a cart. `sku` is the line that could not be held; lines that were not tried have no `outcome`."""

    lines: list[LineAnswer] = field(default_factory=list)


class OpenCart:
    """Holds all lines of a cart, or none."""

    method = "POST"
    path = "/v1/carts"
    role = Role.SELL
    max_body = MAX_CART_BODY
    places_orders = True

    def __init__(self, stock: Inventory, counters: Counters) -> None:
        self._stock = stock
        self._counters = counters

    def read(self, call: Call) -> Work:
        no_query(call.query)
        asked = CART.read(call.body)
        return Work(len(asked.lines), partial(self._answer, asked), pending)

    async def _answer(self, asked: CartBody) -> Answer:
        lines = [CartLine(line.sku, line.quantity) for line in asked.lines]
        cart = await self._stock.reserve_cart(
            lines, asked.order_id, asked.buyer_id, ttl=ttl_of(asked.ttl_s), metadata=asked.metadata
        )
        answer = _told(cart, Outcome.HELD, 200 if cart.replayed else 201)
        self._counters.order(answer.label)
        return answer


class CartStep(Generic[T]):
    """Ends a cart, one way or the other."""

    method = "POST"
    role = Role.SELL
    max_body = MAX_BODY
    places_orders = False

    def __init__(self, word: str, body: Body[T], done: Outcome, do: Callable[[str, T], Awaitable[Cart]]) -> None:
        """
        Args:
            word: the last part of its path.
            done: the outcome of a cart that took it.
            do: is told the cart's order id and the body.
        """
        self.path = f"/v1/carts/{{order_id}}/{word}"
        self._body = body
        self._done = done
        self._do = do

    def read(self, call: Call) -> Work:
        no_query(call.query)
        return Work(1, partial(self._answer, call.places[0], self._body.read(call.body)), pending)

    async def _answer(self, order_id: str, asked: T) -> Answer:
        return _told(await self._do(order_id, asked), self._done, 200)


def cart_routes(stock: Inventory, counters: Counters) -> list[HotRoute]:
    """The routes of carts."""

    def confirm(order_id: str, asked: ConfirmBody) -> Awaitable[Cart]:
        return stock.confirm_cart(order_id=order_id, buyer_id=asked.buyer_id, payment_ref=asked.payment_ref)

    def release(order_id: str, asked: ReleaseBody) -> Awaitable[Cart]:
        return stock.release_cart(order_id=order_id, buyer_id=asked.buyer_id)

    return [
        OpenCart(stock, counters),
        CartStep("confirm", CONFIRM, Outcome.CONFIRMED, confirm),
        CartStep("release", RELEASE, Outcome.RELEASED, release),
    ]


def _told(cart: Cart, wanted: Outcome, status: int) -> Answer:
    if cart.outcome is Outcome.NOT_FOUND:
        hint = "" if cart.buyer_id else "; if it was made with a buyer_id, name it"
        return _refused(cart, 404, f"there is no such cart{hint}", "order_id" if cart.buyer_id else "buyer_id")
    if cart.outcome is not wanted or cart.refund_payment_ref is not None:
        return _refused(cart, 409, why_not(cart.outcome, cart.refund_payment_ref), None)
    answer = CartAnswer(
        cart.outcome,
        cart.replayed,
        cart.order_id,
        cart.buyer_id,
        cart.lines,
        cart.state,
        cart.expires_at,
        cart.payment_ref,
    )
    return Answer(status, encode(answer), "replayed" if cart.replayed else wanted.value)


def _refused(cart: Cart, status: int, detail: str, wrong: str | None) -> Answer:
    body = CartProblem(
        type=kind_uri(cart.outcome),
        title=cart.outcome.replace("_", " "),
        status=status,
        detail=detail,
        field=wrong,
        outcome=cart.outcome,
        state=cart.state,
        available=cart.available,
        payment_ref=cart.payment_ref,
        refund_payment_ref=cart.refund_payment_ref,
        sku=cart.refused,
        order_id=cart.order_id,
        buyer_id=cart.buyer_id,
        lines=cart.lines,
    )
    return Answer(status, encode(body), cart.outcome.value, PROBLEM)
