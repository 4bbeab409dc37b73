"""The gateway: what a hot route answers when the server's patience ends."""

import asyncio

import msgspec
import pytest
from tests.support.listening import HandClock

from hotsku.http.access_log import AccessLog
from hotsku.http.answers import Answer, pending
from hotsku.http.asgi import Message, Receive, Scope, Send
from hotsku.http.counters import Counters
from hotsku.http.flights import Flights
from hotsku.http.gate import Gate
from hotsku.http.gateway import Gateway, Parts
from hotsku.http.head import RequestIds
from hotsku.http.hot_routes import Call, HotRoutes, Work
from hotsku.http.keys import Role, load_keys
from hotsku.http.management_calls import ManagementCalls
from hotsku.http.rate_limit import RateLimit

pytestmark = pytest.mark.anyio


class Undecided:
    """A route whose orders nobody decides."""

    method = "POST"
    path = "/v1/orders"
    role = Role.SELL
    max_body = 100
    places_orders = True

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    def read(self, call: Call) -> Work:
        return Work(1, self._do, pending)

    async def _do(self) -> Answer:
        self.begun.set()
        await asyncio.Event().wait()
        raise AssertionError


async def _management(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotImplementedError


async def test_an_order_that_a_stop_cuts_off_is_pending() -> None:
    clock, route, counters, heard = HandClock(), Undecided(), Counters(), list[Message]()
    gate = Gate(load_keys(None), RateLimit(0, clock))
    gateway = Gateway(
        Parts(
            hot=HotRoutes([route]),
            management=ManagementCalls(_management, gate, Flights(1, 0), {}, body_deadline_s=60.0, deadline_s=60.0),
            gate=gate,
            flights=Flights(1, 0),
            counters=counters,
            request_ids=RequestIds("t"),
            access_log=AccessLog(clock),
            clock=clock,
            deadline_s=60.0,
        )
    )

    async def receive() -> Message:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Message) -> None:
        heard.append(message)

    scope = {"type": "http", "method": "POST", "path": route.path, "raw_path": route.path.encode(), "state": {}}
    call = asyncio.create_task(gateway({**scope, "query_string": b"", "headers": []}, receive, send))
    await route.begun.wait()
    call.cancel()
    await call
    assert heard[0]["status"] == 202
    assert (b"x-request-id", b"t-1") in heard[0]["headers"]
    assert msgspec.json.decode(heard[1]["body"])["outcome"] == "pending"
    assert counters.orders == {"pending": 1}
