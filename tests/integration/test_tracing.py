"""What a gateway and its worker tell a collector that speaks OTLP over HTTP: each request is a span of its caller's
trace, on the fast lane as on every other way; batches and the worker's rounds are spans of their own."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from tests.support.collector import Collector, Told, running_collector
from tests.support.commands import Done, Shell
from tests.support.gateway import Gateway, order, running_gateway
from tests.support.servers import TestServer

from hotsku import Outcome
from hotsku.client import BlockingClient

_TRACE, _CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
_FOLLOWED = {"traceparent": f"00-{_TRACE}-{_CALLER}-01"}
_AT = "/v1/items/a"

_numbers = count(1)


def where(server: TestServer, folder: Path) -> dict[str, str]:
    return {"HOTSKU_SHARD_URL": server.url, "HOTSKU_LEDGER_URL": f"sqlite:///{folder}/ledger.db"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    collector: Collector, module_valkey: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("traced")
    environment = where(module_valkey, folder) | collector.environment | {"OTEL_SERVICE_NAME": "shop"}
    with running_gateway(folder, environment=environment) as running:
        with running.client() as http:
            assert http.post("/v1/items", json={"sku": "a", "total": 1_000, "partitions": 1}).status_code == 201
            assert http.post(f"{_AT}/deductions", json={"order_id": "first"}).status_code == 201
        yield running
        done = running.stop()
        assert done.status == 0, done
        assert "Traceback" not in done.err, done.err
        assert '"logger": "opentelemetry' not in done.err, done.err


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


class Asker:
    """Asks, and has the span of what it asked."""

    def __init__(self, http: httpx.Client, collector: Collector) -> None:
        self._http = http
        self._collector = collector

    def span(self, method: str, path: str, status: int, headers: dict[str, str] | None = None, **more: object) -> Told:
        request_id = f"r-{next(_numbers)}"
        sent = {"x-request-id": request_id} | (headers or {})
        answer = self._http.request(method, path, headers=sent, **more)  # type: ignore[arg-type]
        assert answer.status_code == status, answer.text
        (span,) = self._collector.wait(lambda told: told.facts.get("hotsku.request_id") == request_id)
        return span


@pytest.fixture
def ask(http: httpx.Client, collector: Collector) -> Asker:
    return Asker(http, collector)


# --- requests ---


def test_an_order_is_a_span_of_its_callers_trace(ask: Asker, gateway: Gateway) -> None:
    span = ask.span("POST", f"{_AT}/deductions", 201, _FOLLOWED, json={"order_id": "o-1"})
    assert (span.name, span.kind) == ("POST /v1/items/{sku}/deductions", "server")
    assert (span.trace_id, span.parent_id, span.failed) == (_TRACE, _CALLER, False)
    request_id = span.facts.pop("hotsku.request_id")
    assert str(request_id).startswith("r-")
    assert span.facts == {
        "http.request.method": "POST",
        "http.route": "/v1/items/{sku}/deductions",
        "http.response.status_code": 201,
        "url.path": "/v1/items/a/deductions",
        "url.scheme": "http",
        "client.address": "127.0.0.1",
        "server.address": "127.0.0.1",
        "server.port": gateway.port,
        "hotsku.sku": "a",
        "hotsku.outcome": "accepted",
        "hotsku.replayed": False,
    }
    assert 0 < span.ended_ns - span.began_ns < 30e9
    assert (span.scope, span.resource["service.name"]) == ("hotsku", "shop")
    assert {"service.version", "service.instance.id"} <= span.resource.keys()


def test_a_replay_says_so_and_a_span_without_caller_is_a_root(ask: Asker) -> None:
    first = ask.span("POST", f"{_AT}/deductions", 201, json={"order_id": "o-2"})
    again = ask.span("POST", f"{_AT}/deductions", 200, json={"order_id": "o-2"})
    assert [span.facts["hotsku.replayed"] for span in (first, again)] == [False, True]
    assert again.facts["hotsku.outcome"] == "replayed"
    assert (first.parent_id, again.parent_id) == ("", "")
    assert first.trace_id != again.trace_id


@pytest.mark.parametrize("spelled", ["deductions", "%64eductions"], ids=["fast lane", "usual way"])
def test_both_ways_of_an_order_tell_the_same(ask: Asker, spelled: str) -> None:
    span = ask.span("POST", f"{_AT}/{spelled}", 201, _FOLLOWED, json={"order_id": f"o-{next(_numbers)}"})
    assert span.name == "POST /v1/items/{sku}/deductions"
    assert (span.trace_id, span.parent_id, span.kind) == (_TRACE, _CALLER, "server")
    told = {name: span.facts[name] for name in ("url.path", "hotsku.sku", "hotsku.outcome", "hotsku.replayed")}
    assert told == {
        "url.path": f"{_AT}/deductions",
        "hotsku.sku": "a",
        "hotsku.outcome": "accepted",
        "hotsku.replayed": False,
    }


def test_steps_tell_their_route_and_path(ask: Asker) -> None:
    ask.span("POST", f"{_AT}/reservations", 201, json={"order_id": "h-1"})
    span = ask.span("POST", f"{_AT}/orders/h-1/confirm", 200, json={"payment_ref": "p"})
    assert span.facts["http.route"] == "/v1/items/{sku}/orders/{order_id}/confirm"
    assert span.facts["url.path"] == f"{_AT}/orders/h-1/confirm"
    assert span.facts["hotsku.outcome"] == "confirmed"


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", f"{_AT}/orders/nobody?buyer_id=u-1", 404, "GET /v1/items/{sku}/orders/{order_id}"),
        ("GET", "/v1/items?limit=1", 200, "GET /v1/items"),
        ("GET", "/v1/nowhere", 404, "GET"),
        ("PROPFIND", "/v1/items", 405, "HTTP /v1/items"),
    ],
)
def test_every_other_request_is_a_span_too(ask: Asker, method: str, path: str, status: int, name: str) -> None:
    span = ask.span(method, path, status, _FOLLOWED)
    assert (span.name, span.facts["http.response.status_code"], span.failed) == (name, status, False)
    assert (span.trace_id, span.parent_id) == (_TRACE, _CALLER)
    assert span.facts.get("http.route", "") == name.partition(" ")[2]
    assert span.facts.get("url.query", "") == path.partition("?")[2]
    assert span.facts.get("http.request.method_original") == ("PROPFIND" if method == "PROPFIND" else None)


@pytest.mark.parametrize("traceparent", ["nonsense", f"00-{'0' * 32}-{_CALLER}-01", f"ff-{_TRACE}-{_CALLER}-01"])
def test_a_caller_that_cannot_be_read_is_none(ask: Asker, traceparent: str) -> None:
    span = ask.span("POST", f"{_AT}/deductions", 400, {"traceparent": traceparent}, content=b"{}")
    assert span.parent_id == ""
    assert span.trace_id != _TRACE


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("shop.example", ("shop.example", 80)),
        ("[::1]:8000", ("::1", 8000)),
        ("h:\u00b2", (None, None)),
        ("h:" + "9" * 5_000, (None, None)),
        ("", (None, None)),
    ],
    ids=["without port", "IPv6", "no digit", "too many digits", "none"],
)
def test_whatever_the_host_is_the_order_is_sold(
    gateway: Gateway, collector: Collector, host: str, told: tuple[str | None, int | None]
) -> None:
    number = next(_numbers)
    mine = (f"x-request-id: host-{number}", f"tracestate: {'=,' * 1000}", f"traceparent: 00-{_TRACE}-{_CALLER}-01")
    request = order("a", f'{{"order_id":"host-{number}"}}', *mine)
    with gateway.connect() as raw:
        raw.send(request.replace(b"host: test", b"host: " + host.encode("latin-1")))
        assert raw.answer().status == 201
    (span,) = collector.wait(lambda span: span.facts.get("hotsku.request_id") == f"host-{number}")
    assert (span.facts.get("server.address"), span.facts.get("server.port")) == told
    assert span.parent_id == _CALLER


def test_what_its_caller_does_not_record_is_not_told(ask: Asker, http: httpx.Client, collector: Collector) -> None:
    unrecorded = {"traceparent": f"00-{'1' * 32}-{_CALLER}-00"}
    for path in (f"{_AT}/deductions", f"{_AT}/%64eductions"):
        assert http.post(path, json={"order_id": "quiet"}, headers=unrecorded).status_code in (200, 201)
    ask.span("GET", "/v1/items", 200)  # spans arrive in their order
    assert not collector.spans(lambda told: told.trace_id == "1" * 32)


def test_probes_and_scrapes_are_no_spans(ask: Asker, http: httpx.Client, collector: Collector) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert http.get(path).status_code == 200
    ask.span("GET", "/v1/items", 200)
    assert not collector.spans(lambda told: told.facts.get("url.path") in ("/healthz", "/readyz", "/metrics"))


@pytest.mark.parametrize(
    ("path", "sent"), [("deductions", None), ("%64eductions", -1)], ids=["fast lane", "usual way, half a body"]
)
def test_a_client_that_went_away(
    gateway: Gateway,
    http: httpx.Client,
    collector: Collector,
    module_valkey: TestServer,
    path: str,
    sent: int | None,
) -> None:
    trace_id = f"{next(_numbers):032x}"
    request = order("a", '{"order_id":"left"}', f"traceparent: 00-{trace_id}-{_CALLER}-01")
    module_valkey.pause()
    try:
        with gateway.connect() as raw:
            raw.send(request.replace(b"deductions", path.encode())[:sent])
            assert http.get("/healthz").status_code == 200  # the server has read it
            raw.reset()
        (span,) = collector.wait(lambda told: told.trace_id == trace_id)
    finally:
        module_valkey.resume()
    assert (span.failed, span.facts.get("error.type")) == (True, "client_gone"), span
    assert "http.response.status_code" not in span.facts


# --- what is behind them ---


def test_batches_are_spans_of_nobodys_trace(ask: Asker, collector: Collector) -> None:
    """Of the usual way's neither, whose tasks have a current span."""
    ask.span("POST", f"{_AT}/%64eductions", 201, _FOLLOWED, json={"order_id": "b-1"})
    batches = collector.wait(lambda told: told.name == "FCALL hs_deduct" and not told.failed)
    assert {(batch.kind, batch.parent_id) for batch in batches} == {("client", "")}
    assert not any(batch.trace_id == _TRACE for batch in batches)
    assert all(batch.facts["hotsku.batch_size"] == 1 for batch in batches)  # nobody asked at the same time
    assert {(b.facts["db.system.name"], b.facts["hotsku.partitions"]) for b in batches} == {("redis", 1)}
    assert all(batch.facts["hotsku.shard"] for batch in batches)


def test_the_workers_rounds_are_spans(http: httpx.Client, collector: Collector) -> None:
    """Everything that was sold is published and applied; what came later to the pool was leased before."""
    sold = 8
    assert http.post("/v1/items", json={"sku": "w", "total": sold - 1, "partitions": 1}).status_code == 201
    for number in range(sold - 1):
        assert http.post("/v1/items/w/deductions", json={"order_id": f"o-{number}"}).status_code == 201
    more = {"quantity": 1, "adjustment_id": "more"}
    assert http.post("/v1/items/w/restock", json=more).status_code == 200
    assert http.post("/v1/items/w/deductions", json={"order_id": "last"}).status_code == 201

    def events_of(name: str) -> int:
        told = collector.spans(lambda span: span.name == name and "w" in str(span.facts.get("hotsku.sku")).split(","))
        assert all(span.facts.get("hotsku.result", "applied") == "applied" for span in told)
        return sum(int(span.facts["hotsku.events"]) for span in told)

    # A transaction may have taken another item's messages along.
    collector.wait(lambda _: events_of("relay publish") == sold <= events_of("applier apply"))
    (lease, *_) = collector.wait(lambda span: (span.name, span.facts.get("hotsku.sku")) == ("replenisher lease", "w"))
    (around,) = collector.wait(lambda span: span.span_id == lease.parent_id)
    assert (around.name, around.trace_id) == ("replenisher round", lease.trace_id)
    assert int(lease.facts["hotsku.units"]) > 0


# --- the client, and log lines ---


def test_the_client_takes_its_callers_trace_along(gateway: Gateway, collector: Collector) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("shop")
    with BlockingClient(gateway.url) as stock, tracer.start_as_current_span("buy") as buying:
        assert stock.deduct("a", 1, order_id="from-client").outcome is Outcome.ACCEPTED
        caller = buying.get_span_context()
        (span,) = collector.wait(lambda told: told.trace_id == f"{caller.trace_id:032x}")
        assert (span.name, span.parent_id) == ("POST /v1/items/{sku}/deductions", f"{caller.span_id:016x}")


def test_log_lines_name_the_span(module_valkey: TestServer, tmp_path: Path) -> None:
    requests = [
        ("POST", "/v1/items/a/deductions", b'{"order_id": ""}', 400),
        ("POST", "/v1/items/nobodys/deductions", b'{"order_id": "o"}', 404),
        ("GET", "/v1/nowhere", b"", 404),
    ]
    with running_collector() as collector, server_of_its_own(module_valkey, tmp_path, collector) as gateway:
        with gateway.client() as http:
            http.post("/v1/items", json={"sku": "a", "total": 10})
            http.post("/v1/items/a/deductions", json={"order_id": "first"})
            asker = Asker(http, collector)
            spans = [asker.span(method, path, status, content=body) for method, path, body, status in requests]
        done = gateway.stop()
    lines = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    named = {line["request_id"]: (line["trace_id"], line["span_id"]) for line in lines if "request_id" in line}
    assert named == {span.facts["hotsku.request_id"]: (span.trace_id, span.span_id) for span in spans}


# --- what the variables say ---


@contextmanager
def server_of_its_own(server: TestServer, folder: Path, collector: Collector, **variables: str) -> Iterator[Gateway]:
    environment = {"HOTSKU_NAMESPACE": f"t{next(_numbers)}"} | where(server, folder) | collector.environment | variables
    with running_gateway(folder, environment=environment) as gateway:
        yield gateway


def sold_and_stopped(gateway: Gateway) -> Done:
    with gateway.client() as http:
        assert http.post("/v1/items", json={"sku": "a", "total": 10}).status_code == 201
        for spelled in ("deductions", "%64eductions"):
            assert http.post(f"{_AT}/{spelled}", json={"order_id": "o"}).status_code in (200, 201)
    done = gateway.stop()
    assert done.status == 0, done
    return done


@pytest.mark.parametrize(
    "variables",
    [
        {"HOTSKU_OTEL": "false"},
        {"OTEL_TRACES_SAMPLER": "always_off"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SDK_DISABLED": "true"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_nothing_is_told_where_it_is_off(module_valkey: TestServer, tmp_path: Path, variables: dict[str, str]) -> None:
    with running_collector() as collector:
        with server_of_its_own(module_valkey, tmp_path, collector, **variables) as gateway:
            done = sold_and_stopped(gateway)
        assert "trace_id" not in done.err
        assert collector.spans() == []  # processes that end tell what they still have


def test_what_is_not_told_yet_is_told_at_the_end(module_valkey: TestServer, tmp_path: Path) -> None:
    with running_collector() as collector:
        with server_of_its_own(module_valkey, tmp_path, collector, OTEL_BSP_SCHEDULE_DELAY="600000") as gateway:
            sold_and_stopped(gateway)
        names = {span.name for span in collector.spans()}
        assert {"POST /v1/items", "FCALL hs_deduct", "relay publish", "applier apply"} <= names
        assert {span.resource["service.name"] for span in collector.spans()} == {"hotsku"}


def test_it_sells_and_ends_without_a_collector(module_valkey: TestServer, tmp_path: Path) -> None:
    with running_collector() as gone:
        pass
    with server_of_its_own(module_valkey, tmp_path, gone, OTEL_EXPORTER_OTLP_TIMEOUT="60") as gateway:
        sold_and_stopped(gateway)


def test_a_collector_that_never_answers_keeps_nobody_from_ending(module_valkey: TestServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, running_collector() as other:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_TIMEOUT": "600"}
        with server_of_its_own(module_valkey, tmp_path, other, **variables) as gateway:
            sold_and_stopped(gateway)


def test_on_the_console_spans_are_no_answers(module_valkey: TestServer, tmp_path: Path) -> None:
    with running_collector() as collector:
        with server_of_its_own(module_valkey, tmp_path, collector, OTEL_TRACES_EXPORTER="console") as gateway:
            done = sold_and_stopped(gateway)
        assert '"name": "POST /v1/items/{sku}/deductions"' in done.err
        assert done.out == "ended: SIGTERM\n"
        assert collector.spans() == []


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"OTEL_TRACES_EXPORTER": "abacus"}, "OTEL_TRACES_EXPORTER must be exporters that are installed"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "semaphore"}, "not otlp over semaphore"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "the OTEL_* variables must be as the SDK wants them: max_queue_size must"),
        ({"HOTSKU_OTEL": "perhaps"}, "otel (environment variable HOTSKU_OTEL) must be true or false, not 'perhaps'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("command", ["serve", "worker"])
def test_what_there_is_not_is_one_line(
    valkey: TestServer, tmp_path: Path, command: str, variables: dict[str, str], says: str
) -> None:
    environment = where(valkey, tmp_path) | {"HOTSKU_OTEL": "true"} | variables
    arguments = ("--port", "0") if command == "serve" else ()
    done = Shell(tmp_path).run(command, *arguments, environment=environment)
    assert (done.status, done.out) == (2, ""), done
    assert says in done.error


# --- in a program with a tracer provider of its own ---

_PROGRAM = """
import asyncio, logging
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
import hotsku

async def main():
    provider = TracerProvider(resource=Resource.create({"service.name": "program"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    with trace.get_tracer("program").start_as_current_span("buy"):
        async with hotsku.connect(workers=True) as stock:
            await stock.create_item("a", total=5)
            await stock.deduct("a", 1, order_id="o-1")

asyncio.run(main())
"""


def test_a_program_hears_of_batches_on_its_own_provider(valkey: TestServer, tmp_path: Path) -> None:
    with running_collector() as collector:
        environment = os.environ | where(valkey, tmp_path) | collector.environment
        subprocess.run([sys.executable, "-c", _PROGRAM], cwd=tmp_path, env=environment, check=True)
    spans = {span.name: span for span in collector.spans()}
    assert {"buy", "FCALL hs_deduct", "applier apply"} <= spans.keys()
    assert {span.resource["service.name"] for span in spans.values()} == {"program"}
    # What leaving the context flushes is the program's own; batches and rounds are not, whatever is current.
    of_buying = {span.name for span in collector.spans() if span.trace_id == spans["buy"].trace_id}
    assert of_buying <= {"buy", "relay publish"}


# --- without the extra ---

# What a Python without the extra finds; opentelemetry-api alone comes with FastAPI.
_WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.semconv")):
            raise ModuleNotFoundError(name=name)

sys.meta_path.insert(0, Absent())
from hotsku.cli.main import main
main()
"""


def without_the_extra(folder: Path, *arguments: str, environment: dict[str, str]) -> Done:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("item", "list", "--json")])
def test_without_the_extra_asking_for_it_is_one_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = without_the_extra(tmp_path, *command, environment={"HOTSKU_OTEL": "true"})
    assert (done.status, done.out) == (2, ""), done
    assert done.error == (
        "otel (environment variable HOTSKU_OTEL) must be false: "
        "OpenTelemetry is not installed; the extra hotsku[otel] brings it"
    )
    assert list(tmp_path.iterdir()) == []  # nothing was started


def test_without_the_extra_everything_else_works(valkey: TestServer, tmp_path: Path) -> None:
    environment = where(valkey, tmp_path)
    done = without_the_extra(tmp_path, "item", "create", "a", "--total", "5", "--json", environment=environment)
    assert (done.status, done.json["sku"]) == (0, "a"), done
    done = without_the_extra(tmp_path, "deduct", "a", "--order", "o", "--json", environment=environment)
    assert (done.status, done.json["outcome"]) == (0, "accepted"), done


@pytest.mark.parametrize(
    "module", ["hotsku.http.process", "hotsku.embedded_worker", "hotsku.cli.main", "hotsku.client"]
)
def test_off_it_is_not_even_imported(module: str) -> None:
    """FastAPI and redis-py import what there is of it for purposes of their own."""
    looks = f"import sys, {module}; print(*(name for name in sys.modules if name.startswith({_LOADED!r})))"
    done = subprocess.run([sys.executable, "-c", looks], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


_LOADED = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "hotsku.tracing.spans", "hotsku.http.traced")
