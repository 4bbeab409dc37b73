"""Calls of the management application: what they wait for, and whom they keep waiting."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from tests.support.listening import HandClock

from hotsku.http.asgi import Message, Receive, Scope, Send
from hotsku.http.flights import Flights
from hotsku.http.gate import Gate
from hotsku.http.head import read_head
from hotsku.http.keys import load_keys
from hotsku.http.management_calls import METRICS, READYZ, ManagementCalls
from hotsku.http.rate_limit import RateLimit

pytestmark = pytest.mark.anyio

_LONG_S = 60.0


class App:
    """An application whose answers wait until they may go; it tells what it was given."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.begun = asyncio.Event()
        self.given: list[Message] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.given.append(await receive())
        self.begun.set()
        if scope["path"].startswith("/v1/"):
            await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


class Client:
    """Sends a body in pieces, and keeps what it hears."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces or (b"",))
        self.heard: list[Message] = []
        self.reads = asyncio.Event()
        self.reads.set()

    async def receive(self) -> Message:
        if not self._pieces:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": self._pieces.pop(0), "more_body": bool(self._pieces)}

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        self.heard.append(message)

    @property
    def said(self) -> tuple[int, bytes]:
        """The status and the body that it heard."""
        begin, *rest = self.heard
        return begin["status"], b"".join(message["body"] for message in rest)


class Desk:
    """The calls of one application, with one slot."""

    def __init__(self, keys: str | None = None) -> None:
        self.app = App()
        self.flights = Flights(1, 0)
        self.calls = ManagementCalls(
            self.app,
            Gate(load_keys(keys), RateLimit(0, HandClock())),
            self.flights,
            {READYZ: Flights(1, 0), METRICS: Flights(1, 0)},
            body_deadline_s=_LONG_S,
            deadline_s=_LONG_S,
        )

    async def ask(self, client: Client, path: str, method: str = "GET", receive: Receive | None = None) -> None:
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "state": {}}
        await self.calls.serve(scope, read_head("t", []), (), receive or client.receive, client.send)


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # nothing else tells
        await asyncio.sleep(0)


async def test_probes_and_pages_answer_while_management_is_full() -> None:
    desk, slow = Desk(), Client()
    waiting = asyncio.create_task(desk.ask(slow, "/v1/audit"))
    await desk.app.begun.wait()
    for path in ("/healthz", READYZ, METRICS, "/docs", "/console"):
        client = Client()
        await desk.ask(client, path)
        assert client.said == (200, b"{}")
    refused = Client()
    await desk.ask(refused, "/v1/items")
    assert refused.said[0] == 503
    desk.app.may_answer.set()
    await waiting
    assert slow.said == (200, b"{}")


async def test_who_sends_slowly_takes_no_slot() -> None:
    desk, never = Desk(), asyncio.Event()

    async def receive() -> Message:
        await never.wait()
        raise AssertionError

    desk.app.may_answer.set()
    waiting = asyncio.create_task(desk.ask(Client(), "/v1/items", "POST", receive))
    await asyncio.sleep(0)
    client = Client()
    await desk.ask(client, "/v1/items")
    assert client.said == (200, b"{}")
    waiting.cancel()


async def test_who_reads_slowly_keeps_no_slot() -> None:
    desk, slow = Desk(), Client()
    slow.reads.clear()
    desk.app.may_answer.set()
    waiting = asyncio.create_task(desk.ask(slow, "/v1/items"))
    await desk.app.begun.wait()
    await _until(lambda: not desk.flights.taken)
    client = Client()
    await desk.ask(client, "/v1/items")
    assert client.said == (200, b"{}")
    slow.reads.set()
    await waiting
    assert slow.said == (200, b"{}")


async def test_the_application_has_the_body_at_once_and_then_hears_of_the_connection() -> None:
    desk, client = Desk(), Client(b'{"a":', b"1}")
    desk.app.may_answer.set()
    await desk.ask(client, "/v1/items", "POST")
    assert desk.app.given == [{"type": "http.request", "body": b'{"a":1}', "more_body": False}]


async def test_who_may_not_is_told_before_the_body_is_read() -> None:
    desk, client = Desk("admin:a"), Client()

    async def receive() -> Message:
        raise AssertionError

    await desk.ask(client, "/v1/items", "POST", receive)
    assert client.said[0] == 401
    assert msgspec.json.decode(client.said[1])["field"] == "authorization"


@pytest.mark.parametrize(("method", "kind"), [("GET", "unavailable"), ("POST", "stopping")])
async def test_what_a_stop_cuts_off_is_answered(method: str, kind: str) -> None:
    desk, client = Desk(), Client()
    call = asyncio.create_task(desk.ask(client, "/v1/items", method))
    await desk.app.begun.wait()
    call.cancel()
    await call
    _is_cut_off(client, kind)


async def test_a_stop_before_a_change_has_begun_says_that_nothing_was_done() -> None:
    desk, client = Desk(), Client()

    async def receive() -> Message:
        await desk.app.may_answer.wait()
        raise AssertionError

    call = asyncio.create_task(desk.ask(client, "/v1/items", "POST", receive))
    await asyncio.sleep(0)
    call.cancel()
    await call
    _is_cut_off(client, "unavailable")


def _is_cut_off(client: Client, kind: str) -> None:
    status, body = client.said
    assert (status, msgspec.json.decode(body)["type"]) == (503, f"urn:hotsku:problem:{kind}")
    assert (b"retry-after", b"1") in client.heard[0]["headers"]
