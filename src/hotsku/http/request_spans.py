"""Requests as spans, with the names that OpenTelemetry's conventions for HTTP servers give to what they tell."""

import re

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from hotsku.http.head import Head
from hotsku.tracing.spans import Fact, our_tracer

_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
_OTHER = "_OTHER"
_ITEMS = "/v1/items/"
_HOST = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?")
_PORTS = {"http": 80, "https": 443}
# Never what happens to be current where a connection is served: that may be another request.
_NOBODY = Context()
_PROPAGATOR = TraceContextTextMapPropagator()


class RequestSpans:
    """Begins the span of a request: the child of the span that its `traceparent` names."""

    def __init__(self, scheme: str) -> None:
        """
        Args:
            scheme: "http" or "https".
        """
        self._scheme = scheme
        self._tracer = our_tracer()

    def begin(self, method: str, path: str, head: Head, query: bytes = b"", began_ns: int | None = None) -> Span:
        """
        Args:
            path: without its query, decoded.
            began_ns: when it began, in nanoseconds since the epoch; None: now.
        """
        known = method in _METHODS
        facts: dict[str, Fact] = {
            "http.request.method": method if known else _OTHER,
            "url.path": path,
            "url.scheme": self._scheme,
            "client.address": head.client,
        }
        if not known:
            facts["http.request.method_original"] = method
        if query:
            facts["url.query"] = query.decode("latin-1")
        if path.startswith(_ITEMS):
            facts["hotsku.sku"] = path[len(_ITEMS) :].partition("/")[0]
        facts |= _server(head, self._scheme)
        return self._tracer.start_span(_said(method), _parent(head), SpanKind.SERVER, facts, start_time=began_ns)


def tell_route(span: Span, method: str, route: str) -> None:
    """What the request is for.

    Args:
        route: the path's template; anything else where there is none.
    """
    if route.startswith("/"):
        span.update_name(f"{_said(method)} {route}")
        span.set_attribute("http.route", route)


def tell_status(span: Span, status: int) -> None:
    """The request has its answer."""
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        _fail(span, str(status))


def tell_outcome(span: Span, label: str) -> None:
    """What became of the order, in the word that counters have for it, too."""
    span.set_attributes({"hotsku.outcome": label, "hotsku.replayed": label == "replayed"})


def tell_request_id(span: Span, request_id: bytes) -> None:
    """The id that the answer has in `X-Request-Id`, and log lines in `request_id`."""
    span.set_attribute("hotsku.request_id", request_id.decode("latin-1"))


def tell_gone(span: Span) -> None:
    """The client went away before it had an answer."""
    _fail(span, "client_gone")


def _said(method: str) -> str:
    """What begins a span's name; methods without number must not be among names."""
    return method if method in _METHODS else "HTTP"


def _fail(span: Span, why: str) -> None:
    span.set_attribute("error.type", why)
    span.set_status(Status(StatusCode.ERROR))


def _parent(head: Head) -> Context:
    given = head.headers.get(b"traceparent")
    if given is None:
        return _NOBODY
    carrier = {"traceparent": given.decode("latin-1")}
    state = head.headers.get(b"tracestate")
    if state is not None:
        carrier["tracestate"] = state.decode("latin-1")
    return _PROPAGATOR.extract(carrier, _NOBODY)


def _server(head: Head, scheme: str) -> dict[str, Fact]:
    """The host that was asked for, where it is one."""
    found = _HOST.fullmatch(head.headers.get(b"host", b""))
    if found is None:
        return {}
    v6, name, port = found.groups()
    return {"server.address": (v6 or name).decode(), "server.port": int(port) if port else _PORTS[scheme]}
