"""The hot routes: what the gateway does for each of the calls that a sale is made of.

A route reads a call (and refuses it by name) and answers it. It knows nothing of sockets, servers or ASGI. To add one,
write its class, name it in `hotsku.http.serving`, and document it in `hotsku.http.openapi`.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol
from urllib.parse import parse_qsl

from msgspec import UNSET, Struct

from hotsku.domain.deduction import Deduction, Order, Outcome
from hotsku.domain.identity import check_buyer_id, check_id
from hotsku.engine.inventory import Inventory
from hotsku.errors import HotSKUError, IdempotencyConflict, InvalidRequest, OutcomeUnknown, Overloaded
from hotsku.http.answers import Answer, decided, encode, order_answer, pending, problem, refused, retry_later
from hotsku.http.bodies import BATCH, DEDUCTION, MAX_BATCH_BODY, MAX_BODY
from hotsku.http.counters import Counters
from hotsku.http.head import Head
from hotsku.http.keys import Role


class Call(Struct, frozen=True, gc=False):
    """One request: what the path's places hold, and the rest of it."""

    places: Sequence[str]
    head: Head
    query: bytes
    body: bytes


class Work(Struct, frozen=True, gc=False):
    """What a call asks for, read and checked.

    Attributes:
        slots: how many orders it is.
        do: does it; raises a `HotSKUError` where it cannot be done.
        late: what to say when the deadline passes meanwhile.
    """

    slots: int
    do: Callable[[], Awaitable[Answer]]
    late: Callable[[], Answer]


class HotRoute(Protocol):
    """One route: its method, its path as the documents have it, who may call it, and how many bytes a body may have."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def role(self) -> Role: ...
    @property
    def max_body(self) -> int: ...

    def read(self, call: Call) -> Work:
        """What is asked for. Raises `InvalidRequest`."""
        ...


class DeductionCall(Struct, frozen=True, gc=False):
    """One order of one item."""

    sku: str
    order_id: str
    quantity: int
    buyer_id: str


class Deduct:
    """Sells to one order."""

    method = "POST"
    path = "/v1/items/{sku}/deductions"
    role = Role.SELL
    max_body = MAX_BODY

    def __init__(self, stock: Inventory, counters: Counters) -> None:
        self._stock = stock
        self._counters = counters

    def read(self, call: Call) -> Work:
        _no_query(call.query)
        return Work(1, partial(self._answer, self.order(call.places[0], call.body, call.head)), pending)

    def order(self, sku: str, body: bytes, head: Head) -> DeductionCall:
        """The order that a body and a head name. Raises `InvalidRequest`."""
        asked = DEDUCTION.read(body)
        order_id = head.idempotency_key if asked.order_id is UNSET else asked.order_id
        if not isinstance(order_id, str):
            raise InvalidRequest("order_id", "given, or an Idempotency-Key header")
        return DeductionCall(sku, order_id, asked.quantity, asked.buyer_id)

    async def _answer(self, asked: DeductionCall) -> Answer:
        answer = decided(
            await self._stock.deduct(asked.sku, asked.quantity, order_id=asked.order_id, buyer_id=asked.buyer_id)
        )
        self._counters.order(answer.label)
        return answer


class BatchAnswer(Struct, frozen=True, gc=False, omit_defaults=True):
    """What became of one order of a batch.

    `outcome` is as for a single order, or `pending` (send it again), `conflict` (accepted with another quantity),
    `overloaded` or `unavailable` (nothing was sold; try again).
    """

    order_id: str
    outcome: str
    buyer_id: str = ""
    quantity: int = 0
    replayed: bool = False
    available: int | None = None
    detail: str | None = None


class BatchAnswers(Struct, frozen=True):
    """The answers of a batch, in the order of its orders. `counts` are by outcome; what an earlier request had decided
    is counted as `replayed`."""

    answers: list[BatchAnswer]
    counts: dict[str, int]


class DeductBatch:
    """Sells to many orders, each for itself."""

    method = "POST"
    path = "/v1/items/{sku}/deductions:batch"
    role = Role.SELL
    max_body = MAX_BATCH_BODY

    def __init__(self, stock: Inventory, counters: Counters) -> None:
        self._stock = stock
        self._counters = counters

    def read(self, call: Call) -> Work:
        _no_query(call.query)
        given = BATCH.read(call.body).orders
        orders = [Order(order.order_id, order.quantity, order.buyer_id) for order in given]
        return Work(len(orders), partial(self._answer, call.places[0], orders), pending)

    async def _answer(self, sku: str, orders: list[Order]) -> Answer:
        decisions = await self._stock.deduct_many(sku, orders)
        answers = [_of_batch(order, decision) for order, decision in zip(orders, decisions, strict=True)]
        counts: dict[str, int] = {}
        for answer in answers:
            label = "replayed" if answer.replayed else answer.outcome
            counts[label] = counts.get(label, 0) + 1
        for label, count in counts.items():
            self._counters.order(label, count)
        return Answer(200, encode(BatchAnswers(answers, counts)), "answered")


class ShowOrder:
    """Tells what became of an order."""

    method = "GET"
    path = "/v1/items/{sku}/orders/{order_id}"
    role = Role.READ
    max_body = 0

    def __init__(self, stock: Inventory) -> None:
        self._stock = stock

    def read(self, call: Call) -> Work:
        given = parse_qsl(call.query.decode("latin-1"), keep_blank_values=True)
        for name, _ in given:
            if name != "buyer_id":
                raise InvalidRequest(ascii(name)[1:-1][:64], "left out: the query may have buyer_id")
        if len(given) > 1:
            raise InvalidRequest("buyer_id", "there once")
        sku, order_id = call.places
        buyer_id = check_buyer_id(given[0][1] if given else "")
        return Work(1, partial(self._answer, sku, check_id("order_id", order_id), buyer_id), _unread)

    async def _answer(self, sku: str, order_id: str, buyer_id: str) -> Answer:
        found = await self._stock.order(sku, order_id, buyer_id)
        if found.outcome is not Outcome.NOT_FOUND:
            return Answer(200, encode(order_answer(found)), "found")
        if buyer_id:
            return refused(found, 404)
        detail = "the item has no such order; if it was made with a buyer_id, name it in the query"
        return problem(404, "not_found", detail, field="buyer_id")


def _unread() -> Answer:
    return retry_later(503, "unavailable", "the order could not be read in time; try again")


def _of_batch(order: Order, decision: Deduction | HotSKUError) -> BatchAnswer:
    if isinstance(decision, Deduction):
        return BatchAnswer(
            order.order_id,
            decision.outcome.value,
            order.buyer_id,
            order.quantity,
            decision.replayed,
            decision.available,
        )
    outcome, detail = _fault(decision)
    return BatchAnswer(order.order_id, outcome, order.buyer_id, order.quantity, detail=detail)


def _fault(error: HotSKUError) -> tuple[str, str]:
    if isinstance(error, IdempotencyConflict):
        return "conflict", str(error)
    if isinstance(error, OutcomeUnknown):
        return "pending", "send the same order again"
    if isinstance(error, Overloaded):
        return "overloaded", str(error)
    return "unavailable", "a back end is away or not ready; nothing was sold"


def _no_query(query: bytes) -> None:
    if query:
        raise InvalidRequest("query", "empty")


class Matched(Struct, frozen=True):
    """A route that a path leads to, and what its places hold."""

    route: HotRoute
    places: Sequence[str]


class HotRoutes:
    """Finds routes by method and path."""

    def __init__(self, routes: Sequence[HotRoute]) -> None:
        self.all = routes
        self._templates = [(route, route.path.split("/")) for route in routes]

    def match(self, method: str, path: str) -> Matched | list[str]:
        """The route, or the methods that the path has (none where it is no hot route's)."""
        parts = path.split("/")
        methods: list[str] = []
        for route, template in self._templates:
            if len(template) == len(parts) and all(
                t == p or t.startswith("{") for t, p in zip(template, parts, strict=True)
            ):
                if route.method == method:
                    return Matched(route, [p for t, p in zip(template, parts, strict=True) if t.startswith("{")])
                methods.append(route.method)
        return methods
