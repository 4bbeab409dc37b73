"""Sells to many orders: what is not decided in one request is sent again in the next, and nothing else."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from hotsku.client.answers import Again, fault_of, judge, not_understood, to_deduction
from hotsku.client.asking import NOT_UNDERSTOOD, changing
from hotsku.client.patience import Budget, Doubt, Terms
from hotsku.client.wire import Operation, Reply, Send
from hotsku.domain.deduction import Deduction, Order, Outcome
from hotsku.errors import BackendUnavailable, HotSKUError, IdempotencyConflict, Overloaded

# What the gateway takes at once.
_MOST = 1000

Decision = Deduction | HotSKUError


class _Told(Struct, frozen=True, omit_defaults=True):
    """What the gateway tells of one order. `outcome` may also be pending, conflict, overloaded or unavailable."""

    order_id: str
    outcome: str
    replayed: bool = False
    available: int | None = None
    state: str | None = None
    receipt: str | None = None
    detail: str = ""


class _Answers(Struct, frozen=True):
    answers: list[_Told]


class _Open:
    """An order that is not decided yet."""

    def __init__(self, index: int, order: Order, terms: Terms) -> None:
        self.index = index
        self.order = order
        self.doubt = Doubt(terms, changes=True)

    def body(self) -> dict[str, object]:
        order = self.order
        body: dict[str, object] = {
            "order_id": order.order_id,
            "quantity": order.quantity,
            "buyer_id": order.buyer_id,
        }
        return body | ({"metadata": order.metadata} if order.metadata else {})


def sell(terms: Terms, sku: str, orders: Sequence[Order]) -> Operation[list[Decision]]:
    """The answers of all orders, in order; each 1,000 of them have a budget of their own."""
    decisions: list[Decision] = []
    for first in range(0, len(orders), _MOST):
        decisions += yield from _sell_some(terms, sku, orders[first : first + _MOST])
    return decisions


def _sell_some(terms: Terms, sku: str, orders: Sequence[Order]) -> Operation[list[Decision]]:
    budget = Budget(terms)
    decided: dict[int, Decision] = {}
    waiting = [_Open(index, order, terms) for index, order in enumerate(orders)]
    while True:
        request = changing("items", sku, "deductions:batch", body={"orders": [each.body() for each in waiting]})
        verdict = _read(judge((yield Send(request, budget.attempt_s()))), waiting)
        if isinstance(verdict, Again):
            for each in waiting:
                each.doubt.again(verdict)
            after_s = verdict.after_s
        else:
            decided |= _decided(sku, waiting, verdict)
            waiting = [each for each in waiting if each.index not in decided]
            after_s = 0.0
        if not waiting or not (yield from budget.pause(after_s)):
            break
    decided |= {each.index: each.doubt.fault(f"the order {each.order.order_id!r} of {sku!r}") for each in waiting}
    return [decided[index] for index in range(len(orders))]


def _read(verdict: Reply | Again, waiting: Sequence[_Open]) -> list[_Told] | Again:
    if isinstance(verdict, Again):
        return verdict
    if verdict.status >= 400:
        raise fault_of(verdict)
    try:
        told = msgspec.json.decode(verdict.body, type=_Answers).answers
    except NOT_UNDERSTOOD:
        return not_understood()
    asked = [each.order.order_id for each in waiting]
    return told if [answer.order_id for answer in told] == asked else not_understood()


def _decided(sku: str, waiting: Sequence[_Open], told: Sequence[_Told]) -> dict[int, Decision]:
    """What is final of the answers; the other orders hear that they are to be sent again."""
    decided: dict[int, Decision] = {}
    for each, answer in zip(waiting, told, strict=True):
        decision = _decision(sku, each.order, answer)
        if isinstance(decision, Again):
            each.doubt.again(decision)
        elif not (_is_no(decision) and each.doubt.keeps_back(answer.outcome)):
            decided[each.index] = decision
    return decided


def _decision(sku: str, order: Order, told: _Told) -> Decision | Again:
    if told.outcome == "pending":
        return Again(BackendUnavailable("the gateway does not know yet"), unknown=True)
    if told.outcome == "overloaded":
        return Again(Overloaded(told.detail))
    if told.outcome == "unavailable":
        return Again(BackendUnavailable(told.detail))
    if told.outcome == "conflict":
        return IdempotencyConflict(told.detail)
    asked = {"sku": sku, **msgspec.structs.asdict(order)}
    try:
        return to_deduction(msgspec.to_builtins(told), asked)
    except NOT_UNDERSTOOD:
        return not_understood()


def _is_no(decision: Decision) -> bool:
    return isinstance(decision, Deduction) and decision.outcome is not Outcome.ACCEPTED
