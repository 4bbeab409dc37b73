"""A collector that takes traces over OTLP/HTTP, as a real one does, and keeps them for a test to look at."""

import gzip
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from msgspec import Struct
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

_TIMEOUT_S = 90

Value = str | int | bool | float


class Told(Struct, frozen=True, kw_only=True):
    """A span as it arrived; ids are in hex, `parent_id` is empty at a root."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    began_ns: int
    ended_ns: int
    failed: bool
    facts: dict[str, Value]
    events: list[str]
    resource: dict[str, Value]
    scope: str


class Collector:
    """Listens on loopback; `url` is what `OTEL_EXPORTER_OTLP_ENDPOINT` wants."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self._spans: list[Told] = []
        self._came = threading.Condition()

    def take(self, spans: list[Told]) -> None:
        with self._came:
            self._spans += spans
            self._came.notify_all()

    def spans(self, wanted: Callable[[Told], bool] = lambda _: True) -> list[Told]:
        """Those that have come until now."""
        with self._came:
            return [span for span in self._spans if wanted(span)]

    def wait(self, wanted: Callable[[Told], bool], count: int = 1) -> list[Told]:
        """Wait until so many have come."""
        with self._came:
            there = self._came.wait_for(lambda: len(self.spans(wanted)) >= count, _TIMEOUT_S)
            assert there, f"there are only {[(span.name, span.facts) for span in self._spans]}"
            return self.spans(wanted)

    @property
    def environment(self) -> dict[str, str]:
        """What has a process tell everything to it, soon."""
        return {
            "HOTSKU_OTEL": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }


@contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector, until the end of the context."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that the library wants
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            collector.take(_read(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(server)
        listening = threading.Thread(target=server.serve_forever)
        listening.start()
        try:
            yield collector
        finally:
            server.shutdown()
            listening.join()


def _read(body: bytes) -> list[Told]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        Told(
            name=span.name,
            kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            began_ns=span.start_time_unix_nano,
            ended_ns=span.end_time_unix_nano,
            failed=span.status.code == Status.STATUS_CODE_ERROR,
            facts=_facts(span.attributes),
            events=[event.name for event in span.events],
            resource=_facts(group.resource.attributes),
            scope=scoped.scope.name,
        )
        for group in request.resource_spans
        for scoped in group.scope_spans
        for span in scoped.spans
    ]


def _facts(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}
