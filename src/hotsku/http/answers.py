"""What the gateway answers: a status, a body, and the few headers that go with it.

Every no and every error is a problem document (RFC 9457). It names the field where one is wrong, and nothing internal:
what a back end said goes to the log, never to a caller.
"""

from http import HTTPStatus

import msgspec
from msgspec import Struct

from hotsku.domain.deduction import OrderState, Outcome
from hotsku.errors import (
    BackendUnavailable,
    HotSKUError,
    IdempotencyConflict,
    InvalidRequest,
    OutcomeUnknown,
    Overloaded,
    UnknownItem,
)
from hotsku.log import get_logger

JSON = b"application/json"
PROBLEM = b"application/problem+json"
RETRY_AFTER_S = 1

Headers = tuple[tuple[bytes, bytes], ...]

_log = get_logger("http")
encode = msgspec.json.Encoder().encode


class Answer(Struct, frozen=True, gc=False):
    """One answer. `label` is what counters and logs call it: an outcome, or the kind of a problem."""

    status: int
    body: bytes
    label: str
    media: bytes = JSON
    headers: Headers = ()


class PendingAnswer(Struct, frozen=True):
    """Nobody knows yet what became of the request. Send the same again: it is never carried out twice."""

    outcome: str = "pending"
    detail: str = "the request may or may not have been carried out; send the same again"


class Problem(Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A no or an error (RFC 9457).

    `type` and `title` name its kind, `detail` says what is the matter. `field` is the part of the request that is
    wrong. A no has its `outcome`, the order that it is about, and `available`, the units that could still be sold,
    where that is known. That of a step has the order's `state` and `payment_ref`, and in `refund_payment_ref` a payment
    that is to be given back: it did not pay for this order.
    """

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    outcome: Outcome | None = None
    state: OrderState | None = None
    available: int | None = None
    payment_ref: str | None = None
    refund_payment_ref: str | None = None
    sku: str | None = None
    order_id: str | None = None
    buyer_id: str | None = None
    quantity: int | None = None


def kind_uri(label: str) -> str:
    """The `type` of a problem."""
    return f"urn:hotsku:problem:{label}"


def problem(status: int, label: str, detail: str, *, field: str | None = None, headers: Headers = ()) -> Answer:
    """An error as an answer.

    Args:
        label: its kind, in a word or two.
        detail: one sentence for whoever sent the request.
        field: the part of the request that is wrong.
    """
    body = Problem(type=kind_uri(label), title=HTTPStatus(status).phrase, status=status, detail=detail, field=field)
    return Answer(status, encode(body), label, PROBLEM, headers)


def retry_later(status: int, label: str, detail: str, after_s: int = RETRY_AFTER_S) -> Answer:
    """A problem that passes: it says when to try again."""
    return problem(status, label, detail, headers=((b"retry-after", b"%d" % after_s),))


def too_large(most: int) -> Answer:
    """The body has more bytes than it may have."""
    return problem(413, "too_large", f"body must be at most {most} bytes", field="body")


def slow_body() -> Answer:
    """The deadline came before the body."""
    return problem(408, "request_timeout", "the body did not arrive in time", field="body")


def no_slot() -> Answer:
    """The deadline came before the request's turn: nothing was done."""
    return retry_later(503, "overloaded", "too many requests are under way; try again")


def pending() -> Answer:
    """Nobody knows yet."""
    return Answer(202, encode(PendingAnswer()), "pending", headers=((b"retry-after", b"%d" % RETRY_AFTER_S),))


def failed(error: Exception) -> Answer:
    """A fault as an answer."""
    if isinstance(error, InvalidRequest):
        return problem(400, "invalid_request", str(error), field=error.field)
    if isinstance(error, UnknownItem):
        return problem(404, "unknown_item", str(error), field="sku")
    if isinstance(error, IdempotencyConflict):
        return problem(422, "idempotency_conflict", str(error), field=error.field)
    if isinstance(error, OutcomeUnknown):
        return pending()
    if isinstance(error, Overloaded):
        return retry_later(503, "overloaded", str(error))
    if isinstance(error, BackendUnavailable):
        _log.warning("a back end is away", why=str(error))
        return retry_later(503, "unavailable", "a back end is away or not ready; what was asked for was not done")
    if not isinstance(error, HotSKUError):
        _log.error("this is a bug in hotsku", exc_info=error)
    return problem(500, "internal", "the request failed in an unexpected way; the log of the server says more")
