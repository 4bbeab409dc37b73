"""Asks the gateway until it has answered, or until no time is left."""

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import quote

import msgspec

from hotsku.client.answers import Again, judge, may_change, not_understood, read_problem
from hotsku.client.patience import Budget, Doubt, Terms
from hotsku.client.wire import Operation, Reply, Request, Send

T = TypeVar("T")

# Bytes that are no UTF-8 are not an error of msgspec's own.
NOT_UNDERSTOOD = (msgspec.MsgspecError, UnicodeDecodeError)


class Asking:
    """What operations are made with."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms


def ask(terms: Terms, request: Request, read: Callable[[Reply], T], what: str) -> Operation[T]:
    """Send a request, the same again after whatever passes, and return its answer.

    Args:
        read: makes the result of an answer; it may raise the fault that the answer tells.
        what: names what is to be done, for whoever hears that nobody knows whether it was.

    Raises:
        OutcomeUnknown: no time is left, and it may have been done.
        BackendUnavailable, Overloaded: no time is left, and nothing was done.
    """
    budget, doubt = Budget(terms), Doubt(terms, changes=request.changes)
    while True:
        verdict = judge((yield Send(request, budget.attempt_s())))
        after_s = 0.0
        if isinstance(verdict, Reply) and not (may_change(verdict) and doubt.keeps_back(read_problem(verdict).label)):
            try:
                return read(verdict)
            except NOT_UNDERSTOOD:
                verdict = not_understood()
        if isinstance(verdict, Again):
            doubt.again(verdict)
            after_s = verdict.after_s
        if not (yield from budget.pause(after_s)):
            raise doubt.fault(what)


def reading(*path: str, query: Mapping[str, str] | None = None) -> Request:
    """A request that changes nothing."""
    return Request("GET", joined(*path), query or {})


def changing(*path: str, body: Mapping[str, object]) -> Request:
    """A request that may be sent again, and may not be lost unheard."""
    return Request("POST", joined(*path), body=msgspec.json.encode(body), changes=True)


def joined(*parts: str) -> str:
    """A path; what callers have named in it is quoted."""
    return "/v1/" + "/".join(_quoted(part) for part in parts)


def _quoted(part: str) -> str:
    # "." and ".." are ids, too; as parts of a path they would be resolved on the way.
    return part.replace(".", "%2E") if part in (".", "..") else quote(part, safe=":@+=")
