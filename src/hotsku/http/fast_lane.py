"""The way of most requests: an order, or a step of its life, of an item that is known here, while there is a free slot.

It asks nothing of the event loop: no task, no future, no timer a request. A request goes from the parser to the engine,
and its answer from the engine to the socket. What does not fit goes the usual way, through the gateway.
"""

from collections.abc import Sequence
from typing import ClassVar, Protocol

from msgspec import Struct

from hotsku.domain.deduction import Deduction
from hotsku.engine.request import Listener
from hotsku.errors import HotSKUError
from hotsku.http.access_log import is_worth_a_line
from hotsku.http.answers import Answer, failed, pending
from hotsku.http.counters import RouteCounters
from hotsku.http.gateway import Parts
from hotsku.http.head import Head, Way
from hotsku.http.hot_routes import FastRoute
from hotsku.http.outbox import Outbox
from hotsku.log import get_logger

_log = get_logger("http")


class Connection(Protocol):
    """Where a call came from."""

    def reply(self, call: "FastCall", answer: Answer) -> None:
        """Send the answer. Called once, unless the client has gone."""
        ...


class _NoEvent:
    """A request on the fast lane has nobody who waits for its parts."""

    def set(self) -> None:
        pass


class FastCall(Struct, eq=False, kw_only=True):
    """One request of the fast lane; it stands where uvicorn has its cycle of request and response.

    Attributes:
        body: what has come of it; `more_body`: there is more to come.
        response_complete, disconnected: it was answered; its client has gone.
        admitted: the gate has let it in, or its head before.
        takes_slot: it has one, and will have its answer.
    """

    connection: Connection
    way: Way
    head: Head
    keep_alive: bool
    admitted: bool = False
    body: bytes = b""
    more_body: bool = True
    response_complete: bool = False
    disconnected: bool = False
    request_id: bytes = b""
    started_ms: float = 0.0
    takes_slot: bool = False
    fast: "FastLane | None" = None
    listener: Listener | None = None

    message_event: ClassVar[_NoEvent] = _NoEvent()

    def hear(self, said: Deduction | HotSKUError) -> None:
        """The engine has decided."""
        self.listener = None  # it knows us, too: nobody but the garbage collector would part the two
        if self.fast is not None:
            self.fast.outbox.put((self, said))

    def look(self, before_ms: float) -> None:
        """Say that nobody knows yet, if the engine has had the order since before then."""
        if self.listener is not None and self.fast is not None and self.started_ms < before_ms:
            self._leave(self.listener)
            self.fast.end(self, pending())

    def half_close(self) -> None:
        """The client sends nothing more. Most that do so have gone, but this one may wait for its answer."""
        self.keep_alive = False
        if self.listener is not None:
            self.listener.leave(hears=True)

    def abandon(self) -> None:
        """The client has gone."""
        self.disconnected = True
        if self.takes_slot and self.fast is not None:
            if self.listener is not None:
                self._leave(self.listener)
            self.fast.gone(self)

    def _leave(self, listener: Listener) -> None:
        self.listener = None
        listener.leave()


class _Lane(Struct, frozen=True):
    """One route, and its counters."""

    route: FastRoute
    counters: RouteCounters


class FastLane:
    """Takes requests that need nothing but the engine."""

    def __init__(self, parts: Parts, routes: Sequence[FastRoute]) -> None:
        self._parts = parts
        self._lanes = {
            route.path.rpartition("/")[2].encode(): _Lane(route, parts.counters.route(route.path)) for route in routes
        }
        self.outbox = Outbox(self._deliver)

    def await_body(self, call: FastCall) -> None:
        """The head of a call is here, and not all of its body: who may not come in need not send it."""
        call.started_ms = self._parts.clock.monotonic_ms()
        role = self._lanes[call.way.word].route.role
        refusal = self._parts.gate.judges(call.head, role, changes=True)
        if refusal is not None:
            self.refuse(call, refusal)

    def refuse(self, call: FastCall, answer: Answer) -> None:
        """Answer a call that has not come whole: the last on its connection."""
        call.keep_alive = False
        call.started_ms = call.started_ms or self._parts.clock.monotonic_ms()  # its head came with what is wrong
        self.end(call, answer)

    def take(self, call: FastCall) -> bool:
        """Take a request. It may have its answer before this returns.

        Returns:
            False where it does not fit here; then nothing was done.
        """
        parts = self._parts
        if not parts.flights.try_take():
            return False
        call.takes_slot = True
        call.fast = self
        call.started_ms = parts.clock.monotonic_ms()
        route = self._lanes[call.way.word].route
        head = call.head
        refusal = (
            parts.gate.limits(head.client) if call.admitted else parts.gate.refuses(head, route.role, changes=True)
        )
        if refusal is not None:
            self.end(call, refusal)
            return True
        call.admitted = True
        try:
            listener = route.offer(call.way.places, head, call.body, call.hear)
        except HotSKUError as error:
            self.end(call, failed(error))
            return True
        if listener is None:
            call.takes_slot = False
            parts.flights.give_back()
            parts.gate.forget(head.client)
            return False
        call.listener = listener
        return True

    def end(self, call: FastCall, answer: Answer) -> None:
        """A call has its answer."""
        self._end(call, answer, self._parts.clock.monotonic_ms())

    def gone(self, call: FastCall) -> None:
        """A call's client has gone."""
        call.takes_slot = False
        self._parts.flights.give_back()
        self._parts.counters.drop("client went away")

    def _deliver(self, heard: list[tuple[FastCall, Deduction | HotSKUError]]) -> None:
        now_ms, lanes = self._parts.clock.monotonic_ms(), self._lanes
        for call, said in heard:
            if not call.takes_slot:  # its client has gone meanwhile
                continue
            try:
                answer = lanes[call.way.word].route.told(said) if isinstance(said, Deduction) else failed(said)
            except Exception as error:  # the others are not to wait for their answers because of a bug
                answer = failed(error)
            self._end(call, answer, now_ms)

    def _end(self, call: FastCall, answer: Answer, now_ms: float) -> None:
        """End a call; a bug on the way must not keep the answers from the others that are to be ended with it."""
        try:
            self._finish(call, answer, now_ms)
        except Exception as error:
            _log.error("this is a bug in hotsku", exc_info=error)
            self._only_reply(call, answer)

    def _only_reply(self, call: FastCall, answer: Answer) -> None:
        """Give a call its answer, if it does not have it: what was decided is true, whatever became of the counters."""
        if call.takes_slot:
            call.takes_slot = False
            self._parts.flights.give_back()
        if not call.response_complete:
            call.connection.reply(call, answer)

    def _finish(self, call: FastCall, answer: Answer, now_ms: float) -> None:
        parts, lane = self._parts, self._lanes[call.way.word]
        if call.takes_slot:
            call.takes_slot = False
            parts.flights.give_back()
        status, label, ms = answer.status, answer.label, now_ms - call.started_ms
        lane.counters.note(status, label, ms)
        if lane.route.places_orders:
            parts.counters.order(label)
        if is_worth_a_line(status, ms):
            parts.access_log.note("POST", lane.route.path, status, label, ms, call.request_id, call.head.client)
        call.connection.reply(call, answer)
