"""Slow, broken and greedy clients on raw sockets: each gets what it deserves, and nobody else waits for it.

The server has a deadline of half a second, four slots and a queue of two, and a shard that the tests may stop.
"""

import os
import select
import signal
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from itertools import repeat
from pathlib import Path

import httpx
import pytest
from tests.support.folder_processes import eventually
from tests.support.gateway import Gateway, Raw, RawAnswer, order, post, running_gateway
from tests.support.servers import TestServer

_DEADLINE = {
    "HOTSKU_SHARD_TIMEOUT_MS": "3000",
    "HOTSKU_HTTP_DEADLINE_MS": "500",
    "HOTSKU_HTTP_MAX_IN_FLIGHT": "4",
    "HOTSKU_HTTP_MAX_WAITING": "2",
}


@pytest.fixture(scope="module")
def gateway(module_valkey: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("hostile")
    where = {"HOTSKU_SHARD_URL": module_valkey.url, "HOTSKU_LEDGER_URL": f"sqlite:///{folder}/ledger.db"}
    with running_gateway(folder, environment=where | _DEADLINE) as running:
        with running.client() as http:
            assert http.post("/v1/items", json={"sku": "a", "total": 100_000, "partitions": 1}).status_code == 201
        yield running
        done = running.stop()
        assert done.status == 0, done
        assert "Traceback" not in done.err, done.err


@pytest.fixture
def raw(gateway: Gateway) -> Iterator[Raw]:
    with gateway.connect() as connection:
        yield connection


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


def sells(http: httpx.Client, order_id: str) -> bool:
    return http.post("/v1/items/a/deductions", json={"order_id": order_id}).status_code in (200, 201)


def _answered_while_sending(raw: Raw, pieces: Iterable[bytes]) -> list[int]:
    """Send piece by piece until the server ends the connection: the statuses that it answered meanwhile."""
    statuses: list[int] = []
    with suppress(EOFError, ConnectionError):
        for piece in pieces:
            raw.send(piece)
            if select.select([raw.socket], [], [], 0.005)[0]:
                statuses.append(raw.answer().status)
        raise AssertionError("it took all of it")
    return statuses


@contextmanager
def stopped(server: TestServer) -> Iterator[None]:
    """The shard answers nobody."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def _answered_meanwhile(gateway: Gateway, server: TestServer, requests: Sequence[bytes]) -> list[RawAnswer]:
    """What requests at the same moment, each on its own connection, hear while the shard answers nobody."""
    with ExitStack() as exits:
        connections = [exits.enter_context(gateway.connect()) for _ in requests]
        with stopped(server):
            for connection, request in zip(connections, requests, strict=True):
                connection.send(request)
            return [connection.answer() for connection in connections]


# --- slow clients ---


@pytest.mark.parametrize("begin", [b"P", b"POST /v1/items/a/deductions HTTP/1.1\r\nhost: t\r\nx-slow: "])
def test_a_head_that_does_not_come(raw: Raw, http: httpx.Client, begin: bytes) -> None:
    raw.send(begin)
    assert sells(http, "meanwhile")
    answer = raw.answer()
    assert (answer.status, answer.json["field"], answer.headers["connection"]) == (408, "head", "close")
    assert raw.ended()


def test_a_head_that_comes_byte_by_byte(raw: Raw) -> None:
    """Every byte is a sign of life, and no reason for more time."""
    data = order("a", "{}", *("x-padding: 0123456789" for _ in range(1_000)))
    assert set(_answered_while_sending(raw, (bytes([byte]) for byte in data))) <= {408}


@pytest.mark.parametrize("target", [b"/deductions ", b"/deductions:batch "])
def test_half_a_body(raw: Raw, http: httpx.Client, target: bytes) -> None:
    raw.send(order("a", '{"order_id": "half-of-it"}').replace(b"/deductions ", target)[:-10])
    assert sells(http, "meanwhile")
    answer = raw.answer()
    assert (answer.status, answer.json["field"]) == (408, "body")
    assert raw.ended()


_CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("rest", [b"content-length: 100\r\n\r\n{", _CHUNKED + b"1\r\n{\r\n"])
def test_changes_whose_bodies_do_not_come_keep_nobody_out(gateway: Gateway, http: httpx.Client, rest: bytes) -> None:
    """They are more than there may be management calls at once."""
    with ExitStack() as exits:
        connections = [exits.enter_context(gateway.connect()) for _ in range(40)]
        for each in connections:
            each.send(b"POST /v1/items/a/restock HTTP/1.1\r\nhost: t\r\n" + rest)
        for path in ("/healthz", "/readyz", "/metrics", "/v1/items/a"):
            assert http.get(path).status_code == 200
        for each in connections:
            answer = each.answer()
            assert (answer.status, answer.json["field"]) == (408, "body")
            assert each.ended()


def test_who_sends_on_behind_the_last_answer_has_a_deadline(raw: Raw) -> None:
    raw.send(b"nonsense\r\n\r\n")
    assert raw.answer().status == 400
    assert raw.ended()
    with suppress(ConnectionError):
        for piece in repeat(b"x", 20_000):
            raw.send(piece)
            select.select([], [], [], 0.005)
        raise AssertionError("it listens on and on")


_REFUSED_EARLY = b"POST /v1/items HTTP/1.1\r\nhost: t\r\nsec-fetch-site: cross-site\r\n" + _CHUNKED


def test_who_sends_all_of_a_body_behind_its_answer_may_come_again(gateway: Gateway, raw: Raw) -> None:
    raw.send(_REFUSED_EARLY)
    assert raw.answer().status == 403
    raw.send(b"0\r\n\r\n")
    with gateway.connect() as slow:
        slow.send(b"P")
        assert slow.answer().status == 408  # so long would a body be waited for
    raw.send(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n")
    assert raw.answer().status == 200


@pytest.mark.parametrize("broken", [b"zz\r\n", b"1;" + b"x" * 70_000])
def test_a_body_that_breaks_off_behind_its_answer_has_no_other(raw: Raw, broken: bytes) -> None:
    raw.send(_REFUSED_EARLY)
    assert raw.answer().status == 403
    raw.send(broken)
    assert raw.ended()


def test_chunks_that_never_end(raw: Raw) -> None:
    raw.send(b"POST /v1/items HTTP/1.1\r\nhost: t\r\n" + _CHUNKED)
    assert _answered_while_sending(raw, repeat(b"400\r\n" + b"x" * 1024 + b"\r\n")) == [413]


def test_a_client_that_does_not_read(gateway: Gateway, http: httpx.Client) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", gateway.port))
        connection.send(b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: t\r\n\r\n" * 20)
        assert sells(http, "meanwhile")
        eventually(
            lambda: 'hotsku_http_dropped_total{reason="reads too slowly"}' in http.get("/metrics").text,
            "the server waits for its reader no longer",
        )


# --- greedy clients ---


def test_ten_megabytes_are_refused_unread(raw: Raw, http: httpx.Client) -> None:
    body = b" " * 10_000_000
    raw.send(order("a", body)[: -len(body)])
    answer = raw.answer()
    assert (answer.status, answer.json["field"]) == (413, "body")
    assert sells(http, "meanwhile")
    assert _answered_while_sending(raw, repeat(body[:100])) == []  # whoever sends on is not listened to for long


@pytest.mark.parametrize(
    "headers",
    [tuple(f"x-{n}: y" for n in range(200)), ("x-long: " + "y" * 300_000,), ("x-long: " + "y" * 70_000,)],
)
def test_a_head_beyond_all_measure(raw: Raw, headers: tuple[str, ...]) -> None:
    with suppress(ConnectionError):  # it may be ended while we still send
        raw.send(order("a", "{}", *headers))
        assert raw.answer().status == 431
        assert raw.ended()


@pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n"])
@pytest.mark.parametrize("header", ["x-long: " + "y" * 70_000, "x-long: " + "y" * 65_000])
def test_a_head_in_two_pieces_is_as_long_as_in_one(raw: Raw, http: httpx.Client, first: bytes, header: str) -> None:
    """The piece in which it begins may have ended another request."""
    request = order("a", '{"order_id":"long"}', header)
    raw.send(first + request[:40_000])
    assert sells(http, "meanwhile")  # the server has read the piece
    if first:
        assert raw.answer().status == 200
    too_long = "y" * 70_000 in header
    with suppress(ConnectionError) if too_long else nullcontext():  # it may be ended while we still send
        raw.send(request[40_000:])
        answer = raw.answer()
        assert answer.status in ((431,) if too_long else (200, 201))
        assert not too_long or raw.ended()


def test_what_follows_a_head_in_its_last_piece_is_no_part_of_it(raw: Raw, http: httpx.Client) -> None:
    request = order("a", b" " * 200_000).replace(b"/deductions ", b"/deductions:batch ")
    raw.send(request[:40])
    assert sells(http, "meanwhile")
    raw.send(request[40:])
    answer = raw.answer()
    assert (answer.status, answer.json["field"]) == (400, "body")


def test_pipelined_orders_are_answered_in_their_order(raw: Raw) -> None:
    raw.send(b"".join(order("a", f'{{"order_id":"p-{n}"}}') for n in range(20)))
    answers = [raw.answer() for _ in range(20)]
    assert [(answer.status, answer.json["order_id"]) for answer in answers] == [(201, f"p-{n}") for n in range(20)]


@pytest.fixture
def known(raw: Raw) -> bytes:
    """An order of the connection whose head the server has read before: it need not parse it again."""
    for number in range(2):
        raw.send(order("a", f'{{"order_id":"known-{number}"}}'))
        assert raw.answer().status in (200, 201)
    return order("a", '{"order_id":"known-9"}')


def test_a_known_head_in_pieces(raw: Raw, http: httpx.Client, known: bytes) -> None:
    head = known.index(b"\r\n\r\n") + 4
    for size in (1, head - 2, head, head + 1, len(known) - 1):
        raw.send(known[:size])
        assert sells(http, "meanwhile")  # the server has read the piece
        raw.send(known[size:])
        answer = raw.answer()
        assert (answer.status in (200, 201), answer.json["order_id"]) == (True, "known-9")


def test_what_follows_a_known_head_is_the_next_request(raw: Raw, known: bytes) -> None:
    raw.send(known + b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n" + known + known[:-1])
    assert [raw.answer().json.get("order_id") for _ in range(3)] == ["known-9", None, "known-9"]
    raw.send(known[-1:] + known)
    assert [raw.answer().json["order_id"] for _ in range(2)] == ["known-9"] * 2
    raw.send(known + b"\x00nonsense\r\n\r\n")
    with suppress(EOFError):
        while raw.answer().status != 400:  # it may have been answered already
            pass
    assert raw.ended()


def test_a_known_heads_body_is_read_as_strictly(raw: Raw, known: bytes) -> None:
    for body in (b'{"order_id":"known-9";', b'{"order_id":"known/9"}', b'{"orders_id":"known9"}'):
        raw.send(known[: -len(body)] + body)
        assert (raw.answer().status, len(body)) == (400, 22)


def test_a_known_heads_bytes_may_be_a_body(raw: Raw, known: bytes) -> None:
    """What lies in another request's body is no request."""
    raw.send(order("a", known)[: -len(known)])
    raw.send(known)
    assert raw.answer().status == 400
    raw.send(known)
    assert raw.answer().json["order_id"] == "known-9"


def test_a_thousand_pipelined_requests_are_too_many(raw: Raw, http: httpx.Client) -> None:
    """Those that are under way have their answers, and the first one that is too many has the last one."""
    raw.send(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n" * 1_000)
    answers = [raw.answer() for _ in range(33)]
    while answers[-1].status == 200:
        answers.append(raw.answer())
    assert (answers[-1].status, answers[-1].headers["connection"]) == (400, "close")
    assert raw.ended()
    assert sells(http, "meanwhile")


def test_orders_before_too_many_are_answered_and_those_behind_not_sold(raw: Raw, http: httpx.Client) -> None:
    raw.send(b"".join(order("a", f'{{"order_id":"many-{number}"}}') for number in range(100)))
    answers = [raw.answer() for _ in range(33)]
    while answers[-1].status == 201:
        answers.append(raw.answer())
    sold = [answer.json["order_id"] for answer in answers[:-1]]
    assert sold == [f"many-{number}" for number in range(len(sold))]
    assert (answers[-1].status, raw.ended()) == (400, True)
    assert http.post("/v1/items/a/deductions", json={"order_id": f"many-{len(sold)}"}).status_code == 201


# --- broken clients ---


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"POST /v1/items/a/deductions HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/items/a/deductions HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST /v1/items/a/deductions HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"POST /v1/items/a/deductions HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"POST /v1/items/a/deductions HTTP/1.1\r\nhost : t\r\n\r\n",
    ],
)
def test_what_is_not_http(raw: Raw, data: bytes) -> None:
    raw.send(data)
    answer = raw.answer()
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert raw.ended()


@pytest.mark.parametrize("target", [b"/v1/items/a/deductions", b"/v1/items/a/deductions:batch", b"/v1/items"])
def test_a_body_that_is_not_chunked_as_it_says(raw: Raw, http: httpx.Client, target: bytes) -> None:
    raw.send(b"POST %b HTTP/1.1\r\nhost: t\r\n" % target + _CHUNKED + b"1\r\n{\r\n")
    assert sells(http, "meanwhile")
    raw.send(b"zz\r\n")
    answer = raw.answer()
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert raw.ended()


@pytest.mark.parametrize("target", [b"/v1/items/a/deductions", b"/v1/items/a/deductions:batch", b"/v1/items"])
@pytest.mark.parametrize(
    "endless",
    [b"x: y\r\n" * 1_000, b"x" * 10_000, b"1;" + b"x" * 10_000 + b"\r\n{\r\n"],
    ids=["trailers", "one trailer", "extensions"],
)
def test_what_never_ends_beside_a_body(raw: Raw, http: httpx.Client, target: bytes, endless: bytes) -> None:
    raw.send(b"POST %b HTTP/1.1\r\nhost: t\r\n" % target + _CHUNKED)
    if not endless.startswith(b"1;"):
        raw.send(b"2\r\n{}\r\n0\r\n")
    assert set(_answered_while_sending(raw, repeat(endless, 1_000))) <= {431}  # it may not read any more to be told
    assert sells(http, "meanwhile")


def test_a_few_trailers_are_nobodys_header(raw: Raw) -> None:
    request = b"POST /v1/items/a/deductions HTTP/1.1\r\nhost: t\r\n" + _CHUNKED
    trailer = b"0\r\nidempotency-key: of-a-trailer\r\n\r\n"
    raw.send(request + b"2\r\n{}\r\n" + trailer)
    answer = raw.answer()
    assert (answer.status, answer.json["field"]) == (400, "order_id")
    named = b'{"order_id":"in-the-body"}'
    raw.send(request + b"%x\r\n%b\r\n" % (len(named), named) + trailer)
    assert raw.answer().json["order_id"] == "in-the-body"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (order("a", '{"order_id":"half"}')[:-2], 408),
        (order("a", "{}", "x-request-id: mine")[:-2], 408),
        (post("/v1/carts", "{}")[:-2], 408),
        (b"POST /v1/items HTTP/1.1\r\nhost: t\r\nx-slow: ", 408),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost: t\r\n" + b"x: y\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_whatever_ends_a_connection_is_an_answer(raw: Raw, http: httpx.Client, data: bytes, status: int) -> None:
    """It has a request id, and is counted, like any other."""

    def counted() -> float:
        lines = http.get("/metrics").text.splitlines()
        asked = [line for line in lines if line.startswith("hotsku_http_requests_total{") and f'"{status}"' in line]
        return sum(float(line.rpartition(" ")[2]) for line in asked)

    before = counted()
    raw.send(data)
    answer = raw.answer()
    assert answer.status == status
    assert answer.headers["x-request-id"]
    if b"mine" in data:
        assert answer.headers["x-request-id"] == "mine"
    assert raw.ended()
    assert counted() == before + 1


def test_who_sends_nothing_more_is_answered(gateway: Gateway) -> None:
    cart = post("/v1/carts", '{"order_id":"no-more-2","lines":[{"sku":"a"}]}')
    healthy = b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n"
    for request, status in (
        (order("a", '{"order_id":"no-more-1"}'), 201),
        (order("a", '{"order_id":"no-more-1"}'), 200),
        (cart, 201),
        (healthy, 200),
    ):
        for before in (b"", healthy):
            with gateway.connect() as raw:
                raw.send(before + request)
                raw.socket.shutdown(socket.SHUT_WR)
                if before:
                    assert raw.answer().status == 200
                assert raw.answer().status in (status, 200)
                assert raw.ended()


@pytest.mark.parametrize("size", [0, 5, -20, -1])
def test_half_a_request_and_nothing_more(raw: Raw, size: int) -> None:
    raw.send(order("a", '{"order_id":"half-of-it"}')[:size])
    raw.socket.shutdown(socket.SHUT_WR)
    assert raw.ended()


_HOST = b"host: test\r\n"


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("asked", [order("a", '{"order_id":"host"}'), b"GET /healthz HTTP/1.1\r\n" + _HOST + b"\r\n"])
@pytest.mark.parametrize("hosts", [b"", _HOST * 2, b"Host: test\r\nhost: other\r\n"])
def test_a_request_for_no_host_or_for_two(raw: Raw, asked: bytes, hosts: bytes) -> None:
    raw.send(asked.replace(_HOST, hosts))
    answer = raw.answer()
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert (answer.json["type"], answer.json["field"]) == ("urn:hotsku:problem:invalid_request", "host")
    assert raw.ended()


def test_http_1_0_needs_no_host_and_may_not_have_two(gateway: Gateway) -> None:
    for hosts, status in ((b"", 201), (b"host:\r\n", 200), (_HOST * 2, 400)):
        with gateway.connect() as raw:
            raw.send(order("a", '{"order_id":"hosts"}').replace(b"HTTP/1.1", b"HTTP/1.0").replace(_HOST, hosts))
            assert raw.answer().status == status
            assert raw.ended()


def test_an_empty_host_is_one(raw: Raw) -> None:
    for _ in range(3):  # at last the head is known
        raw.send(order("a", '{"order_id":"no-name"}').replace(_HOST, b"host:\r\n"))
        assert raw.answer().status in (200, 201)


def test_nonsense_behind_an_order_is_answered_behind_it(
    raw: Raw, http: httpx.Client, module_valkey: TestServer
) -> None:
    with stopped(module_valkey):
        raw.send(order("a", '{"order_id":"before-nonsense"}') + b"\x00nonsense\r\n\r\n")
        assert [raw.answer().status for _ in range(2)] == [202, 400]
        assert raw.ended()
    assert sells(http, "before-nonsense")


def test_a_broken_body_behind_another_request_is_answered_behind_it(raw: Raw) -> None:
    broken = b"POST /v1/items HTTP/1.1\r\nhost: t\r\n" + _CHUNKED + b"1\r\n{\r\nzz\r\n"
    raw.send(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n" + broken)
    assert [raw.answer().status for _ in range(2)] == [200, 400]
    assert raw.ended()


def test_clients_that_vanish(gateway: Gateway, http: httpx.Client) -> None:
    """With a reset, in the middle of everything."""
    request = order("a", '{"order_id":"vanished"}')
    for size in (1, 30, len(request) - 1, len(request), len(request)):
        with gateway.connect() as raw:
            raw.send(request[:size])
            raw.reset()
    assert sells(http, "meanwhile")


def test_http_1_0_and_clients_that_want_to_close(gateway: Gateway) -> None:
    for version, headers in ((b"1.0", ()), (b"1.1", ("connection: close",))):
        with gateway.connect() as raw:
            raw.send(order("a", '{"order_id":"old"}', *headers).replace(b"HTTP/1.1", b"HTTP/" + version))
            answer = raw.answer()
            assert (answer.status in (200, 201), answer.headers["connection"]) == (True, "close")
            assert raw.ended()


def test_a_body_that_waits_to_be_asked_for(raw: Raw) -> None:
    head, _, body = order("a", '{"order_id":"expect"}', "expect: 100-continue").partition(b"\r\n\r\n")
    raw.send(head + b"\r\n\r\n")
    assert raw.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    raw.send(body)
    assert raw.answer().status == 201


# Java's own HTTP client offers this with every request of plain HTTP; curl does with --http2.
_OFFER = (
    "connection: Upgrade, HTTP2-Settings",
    "upgrade: h2c",
    "http2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
)


def test_an_offer_of_another_protocol_takes_nothing_from_a_request(raw: Raw, http: httpx.Client) -> None:
    assert http.post("/v1/items/a/deductions", json={"order_id": "offered", "quantity": 5}).status_code == 201
    raw.send(post("/v1/items/a/orders/offered/refund", '{"quantity": 1}', *_OFFER))
    assert raw.answer().json["refunded"] == 1
    raw.send(order("a", '{"order_id":"offer-1"}', *_OFFER) + order("a", '{"order_id":"offer-2"}', *_OFFER))
    assert [raw.answer().json["order_id"] for _ in range(2)] == ["offer-1", "offer-2"]


def test_an_offer_that_comes_in_pieces_and_is_followed_by_more(raw: Raw) -> None:
    request = order("a", '{"order_id":"offer-3"}', *_OFFER)
    head, _, body = request.partition(b"\r\n\r\n")
    for piece in (head[:40], head[40:] + b"\r\n\r\n", body[:5], body[5:] + order("a", '{"order_id":"offer-4"}')):
        raw.send(piece)
    assert [raw.answer().json["order_id"] for _ in range(2)] == ["offer-3", "offer-4"]


def test_two_idempotency_keys_are_none(raw: Raw) -> None:
    raw.send(order("a", "{}", "idempotency-key: key-1", "idempotency-key: key-2"))
    answer = raw.answer()
    assert (answer.status, answer.json["field"]) == (400, "order_id")


# --- more than there is room for ---


def test_beyond_the_bounds_nobody_waits(gateway: Gateway, http: httpx.Client, module_valkey: TestServer) -> None:
    """Four orders are under way, two wait, the rest is refused before the shard is asked. An unknown outcome is no no:
    the same order again is never sold twice."""
    orders = [order("a", f'{{"order_id":"bound-{number}"}}') for number in range(8)]
    answers = _answered_meanwhile(gateway, module_valkey, orders)
    assert Counter(answer.status for answer in answers) == {202: 4, 503: 4}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
    assert {answer.json.get("outcome") for answer in answers if answer.status == 202} == {"pending"}
    for number in range(8):
        for _ in range(2):
            assert sells(http, f"bound-{number}")
    assert http.get("/healthz").status_code == 200


def test_holds_and_steps_that_nobody_decides_are_pending_and_done_once(
    gateway: Gateway, http: httpx.Client, module_valkey: TestServer
) -> None:
    path = "/v1/items/a/orders/paid"
    assert http.post("/v1/items/a/reservations", json={"order_id": "paid", "ttl_s": 600}).status_code == 201
    requests = (
        (f"{path}/confirm", '{"payment_ref":"p-1"}'),
        (f"{path}/%63onfirm", '{"payment_ref":"p-1"}'),
        ("/v1/items/a/reservations", '{"order_id":"unsure","ttl_s":600}'),
    )
    answers = _answered_meanwhile(gateway, module_valkey, [post(*request) for request in requests])
    assert {(answer.status, answer.json["outcome"]) for answer in answers} == {(202, "pending")}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
    confirmed = http.post(f"{path}/confirm", json={"payment_ref": "p-1"})
    assert (confirmed.status_code, confirmed.json()["state"]) == (200, "confirmed")
    assert http.post("/v1/items/a/reservations", json={"order_id": "unsure", "ttl_s": 600}).status_code in (200, 201)
    eventually(lambda: len(http.get(f"{path}/history").json().get("events", [])) == 2, "it is written")
    kinds = [event["kind"] for event in http.get(f"{path}/history").json()["events"]]
    assert kinds == ["held", "confirmed"]


def test_changes_of_items_that_nobody_can_follow_are_pending_and_done_once(
    gateway: Gateway, http: httpx.Client, module_valkey: TestServer
) -> None:
    item = http.get("/v1/items/a").json()
    requests = (
        ("/v1/items/a/restock", '{"adjustment_id":"truck","quantity":5}'),
        ("/v1/items", '{"sku":"half-open","total":10,"partitions":1}'),
    )
    answers = _answered_meanwhile(gateway, module_valkey, [post(*request) for request in requests])
    assert [(answer.status, answer.json["outcome"]) for answer in answers] == [(202, "pending")] * 2
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
    again = [http.post(path, content=body) for path, body in requests]
    assert [answer.status_code for answer in again] == [200, 200]
    assert [answer.json()["total"] for answer in again] == [item["total"] + 5, 10]
    assert again[1].json()["available"] == 10


def test_a_connection_too_many_is_told_so(tmp_path: Path) -> None:
    """256 files are set apart for others than clients."""
    with running_gateway(tmp_path, most_files=256 + 2) as small, small.connect() as first, small.connect():
        with small.connect() as third:
            answer = third.answer()
            assert (answer.status, answer.json["detail"]) == (503, "too many connections; try again")
            assert third.ended()
        first.send(b"GET /metrics HTTP/1.1\r\nhost: t\r\n\r\n")
        assert b'hotsku_http_dropped_total{reason="too many connections"} 1.0' in first.answer().body
        assert small.stop().status == 0


def test_readiness_names_what_is_away(http: httpx.Client, module_valkey: TestServer) -> None:
    with stopped(module_valkey):
        ready = http.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert ready.json()["back_ends"]["ledger"] == "ok"
    assert ready.json()["back_ends"]["shard"] != "ok"
    assert str(module_valkey.socket) not in ready.text
    assert http.get("/readyz").status_code == 200


def test_nothing_was_lost_or_sold_twice(http: httpx.Client) -> None:
    assert http.get("/v1/audit").json()["ok"]
