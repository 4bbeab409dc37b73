"""What the gateway answers to orders and to the steps of their lives."""

from datetime import datetime

from msgspec import Struct

from hotsku.domain.deduction import Deduction, OrderState, Outcome
from hotsku.http.answers import PROBLEM, Answer, Problem, encode, kind_uri


class OrderAnswer(Struct, frozen=True, gc=False, omit_defaults=True):
    """An order that was accepted, with its whole detail.

    `outcome` is what this request did, or what an earlier one did, then `replayed` is true; `state` is today's.
    `expires_at` is when a hold ends; `refunded` units of `quantity` were given back; `receipt` proves the answer.
    """

    outcome: Outcome
    replayed: bool
    sku: str
    order_id: str
    buyer_id: str
    quantity: int
    state: OrderState | None = None
    expires_at: datetime | None = None
    payment_ref: str | None = None
    metadata: str = ""
    refunded: int = 0
    receipt: str | None = None


_NOES = {
    Outcome.SOLD_OUT: "nothing is left",
    Outcome.INSUFFICIENT: "less is left than was asked for",
    Outcome.LIMIT_EXCEEDED: "the buyer would have more than the item allows",
    Outcome.NOT_OPEN: "the sale has not begun",
    Outcome.CLOSED: "the sale is over",
    Outcome.PAUSED: "the sale is paused",
    Outcome.NOT_FOUND: "the item has no such order",
    Outcome.ACCEPTED: "it is confirmed",
    Outcome.CONFIRMED: "it is confirmed",
    Outcome.HELD: "it is held, and not confirmed",
    Outcome.RELEASED: "it was released",
    Outcome.EXPIRED: "the hold has expired",
    Outcome.REFUNDED: "it was refunded",
}
_KINDS = {outcome: (kind_uri(outcome), outcome.replace("_", " ")) for outcome in _NOES}


def decided(deduction: Deduction) -> Answer:
    """The answer to an order: 201 where it is new, 200 where it is the same again, 409 for each no."""
    if deduction.outcome is not Outcome.ACCEPTED and deduction.outcome is not Outcome.HELD:
        return refused(deduction, 409)
    if deduction.replayed:
        return Answer(200, encode(order_answer(deduction)), "replayed")
    return Answer(201, encode(order_answer(deduction)), deduction.outcome.value)


def stepped(deduction: Deduction, wanted: Outcome) -> Answer:
    """The answer to a step: 200 where it is done, 409 where it can't be, 404 where there is no such order.

    Args:
        wanted: the outcome of an order that took the step.
    """
    if deduction.outcome is Outcome.NOT_FOUND:
        return missing(deduction)
    if deduction.outcome is not wanted or deduction.refund_payment_ref is not None:
        return refused(deduction, 409)
    return Answer(200, encode(order_answer(deduction)), "replayed" if deduction.replayed else wanted.value)


def shown(deduction: Deduction) -> Answer:
    """The answer to who asks what became of an order."""
    if deduction.outcome is Outcome.NOT_FOUND:
        return missing(deduction)
    return Answer(200, encode(order_answer(deduction)), "found")


def missing(deduction: Deduction) -> Answer:
    """There is no such order; perhaps there is one of a buyer, and none was named."""
    if deduction.buyer_id:
        return refused(deduction, 404, field="order_id")
    return refused(deduction, 404, field="buyer_id", hint="; if it was made with a buyer_id, name it")


def refused(deduction: Deduction, status: int, *, field: str | None = None, hint: str = "") -> Answer:
    """A no as a problem.

    Args:
        field: the part of the request that may be wrong.
        hint: goes on where the detail ends.
    """
    uri, title = _KINDS[deduction.outcome]
    body = Problem(
        type=uri,
        title=title,
        status=status,
        detail=why_not(deduction.outcome, deduction.refund_payment_ref) + hint,
        field=field,
        outcome=deduction.outcome,
        state=deduction.state,
        available=deduction.available,
        payment_ref=deduction.payment_ref,
        refund_payment_ref=deduction.refund_payment_ref,
        sku=deduction.sku,
        order_id=deduction.order_id,
        buyer_id=deduction.buyer_id,
        quantity=deduction.quantity or None,
    )
    return Answer(status, encode(body), deduction.outcome.value, PROBLEM)


def why_not(outcome: Outcome, refund_payment_ref: str | None) -> str:
    """A no in words."""
    why = _NOES[outcome]
    return why if refund_payment_ref is None else f"{why}; give the payment of refund_payment_ref back"


def order_answer(deduction: Deduction) -> OrderAnswer:
    """What is told of an accepted order."""
    return OrderAnswer(
        deduction.outcome,
        deduction.replayed,
        deduction.sku,
        deduction.order_id,
        deduction.buyer_id,
        deduction.quantity,
        deduction.state,
        deduction.expires_at,
        deduction.payment_ref,
        deduction.metadata,
        deduction.refunded,
        deduction.receipt,
    )
