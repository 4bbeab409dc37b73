"""The route of many orders at once."""

from functools import partial

from msgspec import Struct

from hotsku.domain.deduction import Deduction, Order, OrderState
from hotsku.engine.inventory import Inventory
from hotsku.errors import HotSKUError, IdempotencyConflict, OutcomeUnknown, Overloaded
from hotsku.http.answers import Answer, encode, pending
from hotsku.http.bodies import BATCH, MAX_BATCH_BODY
from hotsku.http.counters import Counters
from hotsku.http.hot_routes import Call, Work, no_query
from hotsku.http.keys import Role


class BatchAnswer(Struct, frozen=True, gc=False, omit_defaults=True):
    """What became of one order of a batch.

    `outcome` is as for a single order, or `pending` (send it again), `conflict` (accepted with other content),
    `overloaded` or `unavailable` (nothing was sold; try again). `state` is today's, `receipt` proves a yes.
    """

    order_id: str
    outcome: str
    buyer_id: str = ""
    quantity: int = 0
    replayed: bool = False
    available: int | None = None
    detail: str | None = None
    state: OrderState | None = None
    receipt: str | None = None


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
    places_orders = True

    def __init__(self, stock: Inventory, counters: Counters) -> None:
        self._stock = stock
        self._counters = counters

    def read(self, call: Call) -> Work:
        no_query(call.query)
        given = BATCH.read(call.body).orders
        orders = [Order(order.order_id, order.quantity, order.buyer_id, order.metadata) for order in given]
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


def _of_batch(order: Order, decision: Deduction | HotSKUError) -> BatchAnswer:
    if isinstance(decision, Deduction):
        return BatchAnswer(
            order.order_id,
            decision.outcome.value,
            order.buyer_id,
            order.quantity,
            decision.replayed,
            decision.available,
            state=decision.state,
            receipt=decision.receipt,
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
