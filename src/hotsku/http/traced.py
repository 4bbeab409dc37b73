"""The gateway and the fast lane of a server that tells OpenTelemetry of its requests.

Without tracing none of this is there: a request that is not told of does not even ask whether it is.
"""

from collections.abc import Sequence

from opentelemetry.trace import INVALID_SPAN, Span, get_current_span, use_span

from hotsku.clock import SystemClock
from hotsku.http.answers import Answer
from hotsku.http.asgi import Gone, Receive, Scope, Send
from hotsku.http.fast_lane import FastCall, FastLane
from hotsku.http.gateway import Gateway, Parts
from hotsku.http.head import Head, read_head
from hotsku.http.hot_routes import FastRoute, Matched
from hotsku.http.request_spans import (
    RequestSpans,
    tell_gone,
    tell_outcome,
    tell_request_id,
    tell_route,
    tell_status,
)

# They are asked all the time, and by nobody who follows a trace.
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


class TracedGateway(Gateway):
    """A request's span is current while it is served: so log lines name it."""

    def __init__(self, parts: Parts, spans: RequestSpans) -> None:
        super().__init__(parts)
        self._spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        span: Span = INVALID_SPAN
        if scope["type"] == "http" and scope["path"] not in _QUIET:
            client = scope["client"][0] if scope.get("client") else ""
            head = read_head(client, scope["headers"])
            span = self._spans.begin(scope["method"], scope["path"], head, scope["query_string"])
        with use_span(span, end_on_exit=True):
            await super().__call__(scope, receive, send)

    async def _served(
        self, scope: Scope, head: Head, request_id: bytes, receive: Receive, send: Send
    ) -> tuple[str, int, str]:
        span = get_current_span()
        tell_request_id(span, request_id)
        try:
            name, status, label = await super()._served(scope, head, request_id, receive, send)
        except Gone:
            tell_gone(span)
            raise
        tell_route(span, scope["method"], name)
        tell_status(span, status)
        return name, status, label

    async def _answer(self, matched: Matched, scope: Scope, head: Head, receive: Receive) -> Answer:
        answer = await super()._answer(matched, scope, head, receive)
        tell_outcome(get_current_span(), answer.label)
        return answer


class TracedFastLane(FastLane):
    """A call's span is made when the call ends, and began when the call did."""

    def __init__(self, parts: Parts, routes: Sequence[FastRoute], spans: RequestSpans) -> None:
        super().__init__(parts, routes)
        self._spans = spans
        self._epoch_ns = SystemClock().epoch_ns
        self._templates = {route.path: _template(route.path) for route in routes}

    def gone(self, call: FastCall) -> None:
        with use_span(self._span(call), end_on_exit=True) as span:
            tell_gone(span)
            super().gone(call)

    def _finish(self, call: FastCall, answer: Answer, now_ms: float) -> None:
        with use_span(self._span(call), end_on_exit=True) as span:
            tell_request_id(span, call.request_id)
            tell_status(span, answer.status)
            tell_outcome(span, answer.label)
            super()._finish(call, answer, now_ms)

    def _span(self, call: FastCall) -> Span:
        route = self._lanes[call.way.word].route
        path = self._templates[route.path] % tuple(call.way.places)
        span = self._spans.begin(route.method, path, call.head, began_ns=self._epoch_ns(call.started_ms))
        tell_route(span, route.method, route.path)
        return span


def _template(path: str) -> str:
    """A route's path to be filled with what its places hold."""
    return "/".join("%s" if part.startswith("{") else part for part in path.split("/"))
