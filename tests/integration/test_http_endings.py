"""The last answer of a connection whose client is still sending: how it is counted, and that it arrives."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from tests.support.gateway import Gateway, Raw, running_gateway

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
