"""The fast lane: a bug that meets one answer of a batch does not silence the others."""

import asyncio
from collections.abc import Sequence

import pytest
from tests.support.listening import HandClock

from hotsku.domain.deduction import Deduction
from hotsku.engine.request import Listener
from hotsku.errors import BackendUnavailable
from hotsku.http.access_log import AccessLog
from hotsku.http.answers import Answer
from hotsku.http.asgi import Receive, Scope, Send
from hotsku.http.counters import Counters
from hotsku.http.fast_lane import FastCall, FastLane
from hotsku.http.flights import Flights
from hotsku.http.gate import Gate
from hotsku.http.gateway import Parts
from hotsku.http.head import Head, RequestIds, Way
from hotsku.http.hot_routes import Call, Hear, HotRoutes, Work
from hotsku.http.keys import Role, load_keys
from hotsku.http.management_calls import ManagementCalls
from hotsku.http.rate_limit import RateLimit

pytestmark = pytest.mark.anyio


class Route:
    """A route whose orders the test decides."""

    method = "POST"
    path = "/v1/items/{sku}/deductions"
    role = Role.SELL
    max_body = 100
    places_orders = True

    def __init__(self) -> None:
        self.hear: list[Hear] = []

    def read(self, call: Call) -> Work:
        raise NotImplementedError

    def offer(self, places: Sequence[str], head: Head, body: bytes, hear: Hear) -> Listener | None:
        self.hear.append(hear)
        return Listener(hear)

    def told(self, deduction: Deduction) -> Answer:
        raise NotImplementedError


class Client:
    """Keeps the statuses that it is answered, unless its connection is broken."""

    def __init__(self, *, broken: bool = False) -> None:
        self.statuses: list[int] = []
        self._broken = broken

    def reply(self, call: FastCall, answer: Answer) -> None:
        call.response_complete = True
        if self._broken:
            raise OSError("broken")
        self.statuses.append(answer.status)


class Log(AccessLog):
    """Fails at one client's requests."""

    def note(self, method: str, path: str, status: int, label: str, ms: float, request_id: bytes, client: str) -> None:
        if client == "unlucky":
            raise OSError("no line for you")


class EarlyTrouble(FastLane):
    """Fails at one client's requests before anything else is done, as what tells of requests may."""

    def _finish(self, call: FastCall, answer: Answer, now_ms: float) -> None:
        if call.head.client == "unlucky":
            raise OSError("nothing to tell of you")
        super()._finish(call, answer, now_ms)


async def _management(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotImplementedError


class Lane:
    """A fast lane with one route."""

    def __init__(self, kind: type[FastLane] = FastLane, log: type[AccessLog] = AccessLog) -> None:
        clock = HandClock()
        gate = Gate(load_keys(None), RateLimit(0, clock))
        self.flights = Flights(10, 0)
        self.route = Route()
        parts = Parts(
            hot=HotRoutes([self.route]),
            management=ManagementCalls(_management, gate, Flights(1, 0), {}, body_deadline_s=1.0, deadline_s=1.0),
            gate=gate,
            flights=self.flights,
            counters=Counters(),
            request_ids=RequestIds("t"),
            access_log=log(clock),
            clock=clock,
            deadline_s=1.0,
        )
        self.lane = kind(parts, [self.route])

    def take(self, client: Client, name: str) -> FastCall:
        """A client's order is under way."""
        way = Way(b"deductions", ("a",))
        call = FastCall(connection=client, way=way, head=Head(name, {}), keep_alive=True, more_body=False)
        assert self.lane.take(call)
        return call

    async def answer(self) -> None:
        """The engine has decided all of them in one batch."""
        for hear in self.route.hear:
            hear(BackendUnavailable("away"))
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("lane", "unlucky", "hears"),
    [
        (Lane(log=Log), Client(), [503]),
        (Lane(EarlyTrouble), Client(), [503]),
        (Lane(), Client(broken=True), []),
    ],
    ids=["access log", "spans", "connection"],
)
async def test_the_others_of_a_batch_are_answered_whatever_happens_to_one(
    lane: Lane, unlucky: Client, hears: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    before, after = Client(), Client()
    lane.take(before, "before")
    lane.take(unlucky, "unlucky")
    lane.take(after, "after")
    await lane.answer()
    assert [client.statuses for client in (before, unlucky, after)] == [[503], hears, [503]]
    assert lane.flights.taken == 0
    assert "this is a bug in hotsku" in caplog.text


async def test_a_late_call_that_meets_a_bug_is_pending_and_looking_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    lane, unlucky = Lane(EarlyTrouble), Client()
    lane.take(unlucky, "unlucky").look(float("inf"))
    assert unlucky.statuses == [202]
    assert lane.flights.taken == 0
    assert "this is a bug in hotsku" in caplog.text
