"""The way of most requests: one order, of an item that is known here, while there is a free slot.

It asks nothing of the event loop: no task, no future, no timer a request. A request goes from the parser to the engine,
and its answer from the engine to the socket. What does not fit goes the usual way, through the gateway.
"""

from hotsku.domain.deduction import Deduction
from hotsku.engine.inventory import Inventory
from hotsku.engine.request import Listener
from hotsku.errors import HotSKUError
from hotsku.http.access_log import is_worth_a_line
from hotsku.http.answers import Answer, decided, failed, pending
from hotsku.http.gateway import Parts
from hotsku.http.head import Head
from hotsku.http.hot_routes import Deduct
from hotsku.http.outbox import Outbox, Reply


class FastCall:
    """One order under way. Its `reply` is called once, unless its client has gone."""

    __slots__ = ("_lane", "_listener", "_reply", "_request_id", "head", "started_ms")

    def __init__(self, lane: "FastLane", head: Head, request_id: bytes, reply: Reply, started_ms: float) -> None:
        self._lane = lane
        self._reply: Reply | None = reply
        self._request_id = request_id
        self._listener: Listener | None = None
        self.head = head
        self.started_ms = started_ms

    def listens(self, listener: Listener) -> None:
        """The engine has the order."""
        self._listener = listener

    def hear(self, answer: Deduction | HotSKUError) -> None:
        """The engine has decided."""
        said = decided(answer) if isinstance(answer, Deduction) else failed(answer)
        reply = self._take_reply(said)
        if reply is not None:
            self._lane.outbox.put(reply, said)

    def end(self, answer: Answer) -> None:
        """Reply at once, if that has not been done and somebody still waits."""
        reply = self._take_reply(answer)
        if reply is not None:
            reply(answer)

    def _take_reply(self, answer: Answer) -> Reply | None:
        reply, self._reply = self._reply, None
        self._listener = None  # it knows us, too: nobody but the garbage collector would part the two
        if reply is not None:
            self._lane.ended(self, answer, self._request_id)
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
            self._lane.gone(self)


class FastLane:
    """Takes orders that need nothing but the engine."""

    path = Deduct.path

    def __init__(self, parts: Parts, stock: Inventory, deduct: Deduct) -> None:
        self._parts = parts
        self._stock = stock
        self._deduct = deduct
        self._counters = parts.counters.route(Deduct.path)
        self._calls: dict[FastCall, None] = {}  # the oldest first
        self.outbox = Outbox()

    @property
    def under_way(self) -> int:
        return len(self._calls)

    def take(self, sku: str, head: Head, body: bytes, request_id: bytes, reply: Reply) -> FastCall | None:
        """Take an order. `reply` may be called before this returns.

        Returns:
            The call, or None where it does not fit here; then nothing was done.
        """
        parts = self._parts
        flights = parts.flights
        if not flights.try_take():
            return None
        call = FastCall(self, head, request_id, reply, parts.clock.monotonic_ms())
        self._calls[call] = None
        refusal = parts.gate.refuses(head, Deduct.role, changes=True)
        if refusal is not None:
            call.end(refusal)
            return call
        try:
            asked = self._deduct.order(sku, body, head)
            listener = self._stock.offer(
                asked.sku, asked.quantity, order_id=asked.order_id, buyer_id=asked.buyer_id, hear=call.hear
            )
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
        parts = self._parts
        status, label = answer.status, answer.label
        ms = parts.clock.monotonic_ms() - call.started_ms
        self._counters.note(status, label, ms)
        parts.counters.order(label)
        if is_worth_a_line(status, ms):
            parts.access_log.note("POST", self.path, status, label, ms, request_id, call.head.client)

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
