"""Reads what came of a request: an answer, or a reason to send the request again."""

import re
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from hotsku.client.wire import Broken, Heard, Reply
from hotsku.domain.deduction import Deduction, Outcome, Proof
from hotsku.errors import (
    BackendUnavailable,
    HotSKUError,
    IdempotencyConflict,
    InvalidRequest,
    Overloaded,
    UnknownItem,
)

# Answers over HTTP do not name the partition.
NO_PARTITION = -1

_PROBLEM = "urn:hotsku:problem:"
_LONGEST_RETRY_AFTER_S = 3600
# The problems of a 503 whose request was not carried out.
_NOTHING_DONE = {"overloaded": Overloaded, "unavailable": BackendUnavailable}
_NAMED = re.compile(r"'([^']*)'")

# What an order has become stays so: a lost attempt that comes late finds it, too.
_FINAL = frozenset({Outcome.ACCEPTED, Outcome.CONFIRMED, Outcome.RELEASED, Outcome.EXPIRED, Outcome.REFUNDED})


class Again(Struct, frozen=True):
    """Send it again.

    Attributes:
        fault: what to raise where no time is left.
        unknown: the request may have been carried out.
        after_s: how long the gateway asks to wait.
    """

    fault: HotSKUError
    unknown: bool = False
    after_s: float = 0.0


class Problem(Struct, frozen=True):
    """A no or an error, as the gateway tells it (RFC 9457)."""

    type: str = ""
    detail: str = ""
    field: str = ""
    outcome: str = ""

    @property
    def missing(self) -> bool:
        """There is no such order, or cart. (There may also be no such route: then the path is wrong.)"""
        return self.label == Outcome.NOT_FOUND and self.field != "path"

    @property
    def label(self) -> str:
        """Its kind: an outcome, or a word for a fault. Empty where it is not one of HotSKU's."""
        return self.type.removeprefix(_PROBLEM) if self.type.startswith(_PROBLEM) else ""


def judge(heard: Heard) -> Reply | Again:
    """Whether this is an answer, or the request is to be sent again. What a proxy says is no answer."""
    if heard is None or isinstance(heard, Broken):
        broken = heard or Broken("nothing was heard", sent=True)
        return Again(BackendUnavailable(f"the gateway does not answer: {broken.why}"), unknown=broken.sent)
    after_s = _seconds(heard.retry_after)
    if heard.status == 202:
        return Again(BackendUnavailable("the gateway does not know yet"), unknown=True, after_s=after_s)
    if heard.status in (408, 429):
        return Again(Overloaded(f"the gateway refuses for now: {_words(heard)}"), after_s=after_s)
    if heard.status == 503 and (kind := _NOTHING_DONE.get(read_problem(heard).label)):
        return Again(kind(_words(heard)), after_s=after_s)
    if heard.status in (200, 201) or (400 <= heard.status < 500 and read_problem(heard).label):
        return heard
    return Again(BackendUnavailable(f"the gateway failed: {_words(heard)}"), unknown=True, after_s=after_s)


def not_understood() -> Again:
    """What says that it went well is not in HotSKU's words."""
    return Again(BackendUnavailable("what answers is no HotSKU gateway, or one of another version"), unknown=True)


def may_change(reply: Reply) -> bool:
    """Whether a no could become a yes when an earlier attempt, which was lost, still arrives."""
    if reply.status not in (404, 409):
        return False
    problem = read_problem(reply)
    return problem.label != "unknown_item" and problem.outcome not in _FINAL


def read_problem(reply: Reply) -> Problem:
    """The problem that a reply tells; an empty one where it tells none."""
    try:
        return msgspec.json.decode(reply.body, type=Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Problem()


def read_order(reply: Reply, asked: Mapping[str, object]) -> Deduction:
    """What became of an order.

    Args:
        asked: the order's sku, order_id, buyer_id and quantity; a no may not repeat them.

    Raises:
        InvalidRequest, UnknownItem, IdempotencyConflict: as the reply says.
        msgspec.ValidationError: it is no answer to an order.
    """
    told: dict[str, object] = msgspec.json.decode(reply.body, type=dict[str, object])
    if reply.status >= 400 and "outcome" not in told:
        if not read_problem(reply).missing:
            raise fault_of(reply)
        told["outcome"] = Outcome.NOT_FOUND
    return to_deduction(told, asked)


def to_deduction(told: Mapping[str, object], asked: Mapping[str, object]) -> Deduction:
    """A deduction of what an answer tells of it, and what was asked. Raises `msgspec.ValidationError`."""
    known = {name: value for name, value in told.items() if value is not None}
    receipt = known.pop("receipt", None)
    deduction = msgspec.convert({"partition": NO_PARTITION, **asked, **known}, Deduction)
    if not isinstance(receipt, str):
        return deduction
    return msgspec.structs.replace(deduction, proof=Proof(0, 0, Signed(receipt)))


class Signed(Struct, frozen=True):
    """The receipt that the gateway has signed; two of the same order in the same state are equal."""

    receipt: str

    def __call__(self, _: Deduction) -> str:
        return self.receipt


def fault_of(reply: Reply) -> HotSKUError:
    """The fault that a reply tells, as the engine would have raised it."""
    problem = read_problem(reply)
    if problem.label == "unknown_item":
        named = _NAMED.search(problem.detail)
        return UnknownItem(named[1] if named else "")
    if problem.label == "idempotency_conflict":
        return IdempotencyConflict(problem.detail, problem.field or "order_id")
    if reply.status == 409:
        return IdempotencyConflict(problem.detail, problem.field or "sku")
    if reply.status in (401, 403):
        return InvalidRequest("api_key", f"one that may do this: {problem.detail}")
    if reply.status in (404, 405):
        return InvalidRequest("url", "that of a HotSKU gateway which has this route")
    return InvalidRequest(problem.field or "request", problem.detail.removeprefix(f"{problem.field} must be "))


def _words(reply: Reply) -> str:
    return read_problem(reply).detail or f"status {reply.status}"


def _seconds(retry_after: str | None) -> float:
    if retry_after is None or not (retry_after.isascii() and retry_after.isdigit()) or len(retry_after) > 9:
        return 0.0
    return float(min(int(retry_after), _LONGEST_RETRY_AFTER_S))
