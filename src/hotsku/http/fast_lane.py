"""The way of most requests: an order, or a step of its life, of an item that is known here, while there is a free slot.

It asks nothing of the event loop: no task, no future, no timer a request. A request goes from the parser to the engine,
and its answer from the engine to the socket. What does not fit goes the usual way, through the gateway.
"""

import re
from collections.abc import Sequence

from msgspec import Struct

from hotsku.domain.deduction import Deduction
from hotsku.engine.request import Listener
from hotsku.errors import HotSKUError
from hotsku.http.access_log import is_worth_a_line
from hotsku.http.answers import Answer, failed, pending
from hotsku.http.counters import RouteCounters
from hotsku.http.gateway import Parts
from hotsku.http.head import Head
from hotsku.http.hot_routes import FastRoute
from hotsku.http.outbox import Outbox, Reply

# The paths of the fast routes, of ids that need no decoding; the last part is what `FastLane` finds the route by.
_ID = rb"[A-Za-z0-9._:@+=-]{1,64}"
_FAST = re.compile(
    rb"/v1/items/(%b)/(?:(deductions|reservations)|orders/(%b)/(confirm|release|extend|refund|begin-payment))"
    % (_ID, _ID)
)


class Way(Struct, frozen=True, gc=False):
    """Where a fast request goes: the last part of its path, and what the path's places hold."""

    word: bytes
    places: Sequence[str]


def fast_way(path: bytes) -> Way | None:
    """The way of a path; None where it is not a fast one."""
    found = _FAST.fullmatch(path)
    if found is None:
        return None
    sku, word, order_id, step = found.groups()
    return Way(word, (sku.decode(),)) if word else Way(step, (sku.decode(), order_id.decode()))


class _Lane(Struct, frozen=True):
    """One route, and its counters."""

    route: FastRoute
    counters: RouteCounters


class FastCall:
    """One request under way. Its `reply` is called once, unless its client has gone."""

    __slots__ = ("_fast", "_listener", "_reply", "_request_id", "head", "lane", "started_ms")

    def __init__(
        self, fast: "FastLane", lane: _Lane, head: Head, request_id: bytes, reply: Reply, started_ms: float
    ) -> None:
        self._fast = fast
        self._reply: Reply | None = reply
        self._request_id = request_id
        self._listener: Listener | None = None
        self.head = head
        self.lane = lane
        self.started_ms = started_ms

    def listens(self, listener: Listener) -> None:
        """The engine has the order."""
        self._listener = listener

    def hear(self, answer: Deduction | HotSKUError) -> None:
        """The engine has decided."""
        said = self.lane.route.told(answer) if isinstance(answer, Deduction) else failed(answer)
        reply = self._take_reply(said)
        if reply is not None:
            self._fast.outbox.put(reply, said)

    def end(self, answer: Answer) -> None:
        """Reply at once, if that has not been done and somebody still waits."""
        reply = self._take_reply(answer)
        if reply is not None:
            reply(answer)

    def _take_reply(self, answer: Answer) -> Reply | None:
        reply, self._reply = self._reply, None
        self._listener = None  # it knows us, too: nobody but the garbage collector would part the two
        if reply is not None:
            self._fast.ended(self, answer, self._request_id)
        return reply

    def late(self, answer: Answer) -> None:
        """The deadline has passed."""
        if self._listener is not None:
            self._listener.leave()
        self.end(answer)

    def abandon(self) -> None:
        """The client has gone."""
        if self._reply is not None:
            self._reply = None
            if self._listener is not None:
                self._listener.leave()
            self._fast.gone(self)


class FastLane:
    """Takes requests that need nothing but the engine."""

    def __init__(self, parts: Parts, routes: Sequence[FastRoute]) -> None:
        self._parts = parts
        self._lanes = {
            route.path.rpartition("/")[2].encode(): _Lane(route, parts.counters.route(route.path)) for route in routes
        }
        self._calls: dict[FastCall, Way] = {}  # the oldest first
        self.outbox = Outbox()

    @property
    def under_way(self) -> int:
        return len(self._calls)

    def take(self, way: Way, head: Head, body: bytes, request_id: bytes, reply: Reply) -> FastCall | None:
        """Take a request. `reply` may be called before this returns.

        Returns:
            The call, or None where it does not fit here; then nothing was done.
        """
        parts = self._parts
        flights = parts.flights
        if not flights.try_take():
            return None
        lane = self._lanes[way.word]
        call = FastCall(self, lane, head, request_id, reply, parts.clock.monotonic_ms())
        self._calls[call] = way
        refusal = parts.gate.refuses(head, lane.route.role, changes=True)
        if refusal is not None:
            call.end(refusal)
            return call
        try:
            listener = lane.route.offer(way.places, head, body, call.hear)
        except HotSKUError as error:
            call.end(failed(error))
            return call
        if listener is None:
            del self._calls[call]
            flights.give_back()
            return None
        call.listens(listener)
        return call

    def ended(self, call: FastCall, answer: Answer, request_id: bytes) -> None:
        """A call has its answer."""
        self._leave(call)
        parts, lane = self._parts, call.lane
        status, label = answer.status, answer.label
        ms = parts.clock.monotonic_ms() - call.started_ms
        lane.counters.note(status, label, ms)
        if lane.route.places_orders:
            parts.counters.order(label)
        if is_worth_a_line(status, ms):
            parts.access_log.note("POST", lane.route.path, status, label, ms, request_id, call.head.client)

    def gone(self, call: FastCall) -> None:
        """A call's client has gone."""
        self._leave(call)
        self._parts.counters.drop("client went away")

    def end_late_calls(self) -> None:
        """Say of the calls whose deadline has passed that nobody knows yet. Call it often."""
        before_ms = self._parts.clock.monotonic_ms() - self._parts.deadline_s * 1000
        late = []
        for call in self._calls:
            if call.started_ms > before_ms:
                break
            late.append(call)
        for call in late:
            call.late(pending())

    def _leave(self, call: FastCall) -> None:
        del self._calls[call]
        self._parts.flights.give_back()
