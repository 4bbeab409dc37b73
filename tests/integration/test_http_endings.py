"""The last answer of a connection whose client is still sending: how it is counted, and that it arrives."""

import json
import re
import signal
import ssl
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPSConnection
from itertools import repeat
from pathlib import Path

import httpx
import pytest
from tests.support.folder_processes import eventually
from tests.support.gateway import Gateway, Raw, running_gateway
from tests.support.tls import make_tls_files

_LONG = {"HOTSKU_HTTP_DEADLINE_MS": "60000"}
_CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("endings"), environment=_LONG) as running:
        yield running
        done = running.stop()
        assert done.status == 0, done
        assert "Traceback" not in done.err, done.err


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


@pytest.fixture
def raw(gateway: Gateway) -> Iterator[Raw]:
    with gateway.connect() as connection:
        yield connection


# --- how it is counted ---

_BROKEN = [
    ("not HTTP", (b"zz\r\n",), "400", "invalid_request"),
    ("not HTTP", (b"1\r\n{\r\n", b"zz\r\n"), "400", "invalid_request"),
    ("too much beside the body", (b"1\r\n{\r\n", b"1;" + b"x" * 70_000), "431", "too_large"),
]


def _counts(http: httpx.Client) -> Counter[str]:
    """The requests and the drops so far, but for the asking itself."""
    found = re.findall(
        r"^(hotsku_http_(?:requests|dropped)_total\{.*\}) (\S+)$", http.get("/metrics").text, re.MULTILINE
    )
    return Counter({name: int(float(value)) for name, value in found if '"/metrics"' not in name})


@pytest.mark.parametrize(("reason", "pieces", "status", "label"), _BROKEN)
@pytest.mark.parametrize(
    ("target", "route"),
    [
        ("/v1/items/a/deductions", "/v1/items/{sku}/deductions"),
        ("/v1/items/a/deductions:batch", "/v1/items/{sku}/deductions:batch"),
        ("/v1/carts", "/v1/carts"),
        ("/v1/items", "management"),
    ],
)
def test_a_broken_body_is_one_answer_of_its_route_and_one_drop(
    raw: Raw,
    http: httpx.Client,
    target: str,
    route: str,
    reason: str,
    pieces: Sequence[bytes],
    status: str,
    label: str,
) -> None:
    before, head = _counts(http), f"POST {target} HTTP/1.1\r\nhost: t\r\n".encode() + _CHUNKED
    for piece in (head + pieces[0], *pieces[1:]):
        raw.send(piece)
        assert http.get("/metrics").status_code == 200  # the server has read the piece
    answer = raw.answer()
    assert (str(answer.status), answer.headers["connection"]) == (status, "close")
    assert raw.ended()
    request = f'hotsku_http_requests_total{{label="{label}",route="{route}",status="{status}"}}'
    assert _counts(http) - before == {request: 1, f'hotsku_http_dropped_total{{reason="{reason}"}}': 1}


def test_a_broken_body_is_one_line_of_the_log_under_the_id_of_its_answer(tmp_path: Path) -> None:
    targets = ("/v1/items/a/deductions", "/v1/items/a/deductions:batch", "/v1/items")
    ids = []
    with running_gateway(tmp_path, environment=_LONG) as gateway:
        for target in targets:
            with gateway.connect() as raw:
                raw.send(f"POST {target} HTTP/1.1\r\nhost: t\r\n".encode() + _CHUNKED + b"1\r\n{\r\nzz\r\n")
                ids.append(raw.answer().headers["x-request-id"])
        lines = [line for line in gateway.stop().err.splitlines() if "refused" in line]
    assert len(lines) == len(ids)
    for line, request_id in zip(lines, ids, strict=True):
        assert request_id in line, lines
        assert "400" in line, lines
        assert json.loads(line)["ms"] < 60_000, lines  # not since the machine's start


# --- that it arrives ---

_READER = "a-key-that-may-read"


@pytest.fixture(scope="module", params=["http", "https"])
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Guarded"]:
    folder = tmp_path_factory.mktemp("guarded")
    environment, trust = _LONG | {"HOTSKU_API_KEYS": f"read:{_READER}"}, None
    if request.param == "https":
        files = make_tls_files(folder)
        environment |= {"HOTSKU_HTTP_TLS_CERT": str(files.certificate), "HOTSKU_HTTP_TLS_KEY": str(files.key)}
        trust = ssl.create_default_context(cafile=files.ca)
    with running_gateway(folder, environment=environment) as gateway:
        guarded = Guarded(gateway, trust)
        yield guarded
        guarded.reader.close()
        done = gateway.stop()
        assert done.status == 0, done
        assert "Traceback" not in done.err, done.err


class Guarded:
    """A server that asks for a key, and the ways to it."""

    def __init__(self, gateway: Gateway, trust: ssl.SSLContext | None) -> None:
        self._port = gateway.port
        self._trust = trust
        verify = trust if trust is not None else True
        self.reader = gateway.client(verify=verify, headers={"authorization": f"Bearer {_READER}"})

    @contextmanager
    def connection(self) -> Iterator[HTTPConnection]:
        """One of Python's own client, which sends all of its body before it reads."""
        timeout_s = 90
        connection = (
            HTTPConnection("127.0.0.1", self._port, timeout=timeout_s)
            if self._trust is None
            else HTTPSConnection("127.0.0.1", self._port, timeout=timeout_s, context=self._trust)
        )
        yield connection
        connection.close()

    def refused(self) -> int:
        """How many requests were, for want of a key."""
        return sum(count for name, count in _counts(self.reader).items() if 'status="401"' in name)


@pytest.mark.parametrize("target", ["/v1/items/a/deductions", "/v1/items/a/deductions:batch", "/v1/items"])
@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}])
def test_who_streams_a_body_without_a_key_reads_why_it_is_not_let_in(
    guarded: Guarded, target: str, headers: dict[str, str]
) -> None:
    before = guarded.refused()

    def body() -> Iterator[bytes]:
        yield b" " * 100
        eventually(lambda: guarded.refused() == before + 1, "it was answered")
        for _ in range(5):
            yield b" " * 100
            guarded.refused()  # the server has read the piece

    with guarded.connection() as connection:
        connection.request("POST", target, body(), {"Authorization": "Bearer no-key-of-this-server", **headers})
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("content-type")) == (401, "application/problem+json")
        assert b"unauthorized" in answer.read()


def _sent_until_ended(raw: Raw, pieces: Iterable[bytes]) -> bool:
    """Whether the server ends the connection before all of it is sent."""
    with suppress(ConnectionError):
        for piece in pieces:
            raw.send(piece)
        return False
    return True


def test_behind_the_last_answer_not_more_is_read_than_a_little(raw: Raw) -> None:
    raw.send(b"nonsense\r\n\r\n")
    assert raw.answer().status == 400
    assert raw.ended()
    assert not _sent_until_ended(raw, repeat(b"x" * 1_024, 900))
    assert _sent_until_ended(raw, repeat(b"x" * 65_536, 1_000))


def test_who_has_its_last_answer_and_ends_the_connection_holds_none(gateway: Gateway, http: httpx.Client) -> None:
    def connections() -> bool:
        return 'hotsku_http_level{of="connections"} 2.0' in http.get("/metrics").text

    with gateway.connect() as raw:
        raw.send(b"nonsense\r\n\r\n")
        assert raw.answer().status == 400
        assert raw.ended()
        eventually(connections, "it is still there")
    eventually(lambda: not connections(), "it has gone")


@pytest.mark.parametrize("stops_first", [True, False])
def test_a_stop_waits_for_nobody_who_has_its_last_answer(tmp_path: Path, stops_first: bool) -> None:
    with running_gateway(tmp_path, environment=_LONG) as gateway, gateway.connect() as raw:
        raw.send(b"POST /v1/items/a/deductions HTTP/1.1\r\nhost: t\r\n" + _CHUNKED + b"1\r\n{\r\n")
        with gateway.client() as http:
            assert http.get("/healthz").status_code == 200  # the server has read the piece
        if stops_first:
            gateway.process.send_signal(signal.SIGTERM)
            eventually(lambda: not _listens(gateway), "it stops")
        raw.send(b"zz\r\n")
        assert raw.answer().status == 400
        assert raw.ended()
        since_s = time.monotonic()
        done = gateway.finish() if stops_first else gateway.stop()
        assert done.status == 0, done
        assert time.monotonic() - since_s < 40  # else it would be a minute


def _listens(gateway: Gateway) -> bool:
    with suppress(OSError), gateway.connect():
        return True
    return False
