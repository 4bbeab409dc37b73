"""The connection: uvicorn's protocol with bounds for slow, broken and greedy clients, and the fast lane.

uvicorn waits for ever for the rest of a head, keeps whatever a head brings along, and takes any number of pipelined
requests. A sale is when somebody tries that.
"""

import asyncio
from typing import Any, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from hotsku.http.answers import Answer, problem, retry_later, slow_body
from hotsku.http.asgi import Scope, refuse_body
from hotsku.http.bodies import MAX_BODY
from hotsku.http.cycle_transport import CycleTransport
from hotsku.http.fast_lane import FastCall
from hotsku.http.head import Head, fast_way, read_head
from hotsku.http.message_size import MAX_HEAD, MessageSize
from hotsku.http.serving import Serving

MAX_HEADERS = 100
MAX_PIPELINED = 32
# So many bytes are read, and passed over, of a client that sends on where nothing more is taken from it.
MAX_PASSED_OVER = 1 << 20

# A connection without a request is kept for so long: shops keep theirs open.
IDLE_TIMEOUT_S = 75.0

# An answer when the rest of what the client sends does not matter any more.
_CLOSE = b"connection: close\r\n"


class _Refused(Exception):
    """Stops the parser: the connection is at its end."""


class GatewayProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._serving = cast(Serving, config.loaded_app)
        self._host = ""
        self._running: RequestResponseCycle | FastCall | None = None
        # When the connection began, a head, or the wait behind an answer; and when the client stopped reading.
        self._since_s = self._serving.now_s
        self._writing_since_s: float | None = None
        # Where the parser is: between two requests, or in a head. What it is being fed, if it was between them, and no
        # answer was due; and the size of whatever it is being fed.
        self._between = True
        self._in_head = False
        self._segment = b""
        self._piece = 0
        # Of the request that is being read; what comes behind the fields of its head are trailers.
        self.url = b""
        self._fields = 0
        self._size = MessageSize()
        self._offer = b""  # the head, without the offer, of a request that offers another protocol
        # How the connection ends. What the parser was stopped for; whether nothing more is taken from the client, and
        # how many bytes it sent nevertheless; an answer that comes behind those that are due; and whether the last one
        # was written, and the client has time to read it.
        self._refusal: Answer | None = None
        self._is_deaf = False
        self._passed_over = 0
        self._farewell: Answer | None = None
        self._lingers = False
        self._may_linger = True

    def _last(self) -> "RequestResponseCycle | FastCall | None":
        """The request that came last; the attribute's own type says less than is true."""
        return self.cycle

    def _is_under_way(self) -> bool:
        last = self._last()
        return last is not None and not last.response_complete

    # --- the connection ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._host = self.client[0] if self.client else ""
        if len(self.connections) > self._serving.most_connections:
            self._serving.drop("too many connections")
            self._end(retry_later(503, "overloaded", "too many connections; try again"))
            self.transport.close()  # it has no place to linger in

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends nothing more. What it sent whole is answered, and a body that was refused, and then the
        connection ends."""
        last = self._last()
        self._may_linger = False
        if self._lingers or last is None or last.response_complete or (last.more_body and not self._is_deaf):
            return False
        last.keep_alive = False
        if isinstance(last, FastCall):
            last.half_close()
        return self.scheme == "http"  # TLS cannot be open in one direction alone

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave_alone()
        super().connection_lost(exc)

    def _leave_alone(self) -> None:
        """Nobody is there any more for the request under way: uvicorn knows the last of the pipelined ones alone."""
        cycle = self._running
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if isinstance(cycle, FastCall):
                cycle.abandon()

    def _abort(self) -> None:
        self._leave_alone()
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._listens():
            self._pass_over(len(data))
            return
        last = self._last()
        if self._between and (last is None or last.response_complete):
            if self._is_known(data):
                return
            self._segment = data
        self._piece = len(data)
        self._feed(data)
        self._segment = b""
        if not self._between and self._listens():
            if self._in_head:
                self._wait_for_head(len(data))
            else:
                self._wait_for_body(len(data))

    def _listens(self) -> bool:
        return not self._is_deaf and not self.transport.is_closing()

    def _pass_over(self, size: int) -> None:
        self._passed_over += size
        if self._passed_over <= MAX_PASSED_OVER:
            return
        if self._lingers:
            self._abort()
        else:
            self.flow.pause_reading()  # its answer comes first

    def _hang_up(self) -> None:
        """End the connection behind its last answer. A client that still sends would hear of a reset, and might never
        read its answer: what it sends is passed over, until it ends the connection, too, or has had its time."""
        running = self._running
        sends = self._is_deaf or (running is not None and running.more_body)
        if not sends or not self._may_linger:
            self.transport.close()
            return
        self._is_deaf = self._lingers = True
        self._since_s = self._serving.now_s
        self.flow.resume_reading()
        if self.transport.can_write_eof():  # over TLS it cannot
            self.transport.write_eof()

    def shutdown(self) -> None:
        """As uvicorn does; a stop waits for nobody who only sends."""
        self._may_linger = False
        if self._lingers:
            self._abort()
        else:
            super().shutdown()

    def _wait_for_head(self, piece: int) -> None:
        if self._size.is_head_too_large(piece):
            self._serving.drop("head too large")
            self._give_up(_large_head())

    def _wait_for_body(self, piece: int) -> None:
        last = self._last()
        if self._size.is_beside_body_too_large(piece):
            self._serving.drop("too much beside the body")
            self._give_up(_large_frame())
        elif isinstance(last, FastCall) and not last.request_id:
            last.request_id = self._serving.request_ids.of(last.head)
            self._serving.fast_lane.await_body(last)

    def _feed(self, data: bytes) -> None:
        """Have the parser read on."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._declined(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _declined(self, rest: bytes) -> None:
        """Serve a request that offers another protocol as if it did not (RFC 9110, 7.8). The parser has stopped behind
        its head, and taken it for all of it: another reads the head without the offer, and the body."""
        offer, self._offer = self._offer, b""
        if offer:
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
            self._feed(offer + rest)

    def _is_known(self, segment: bytes) -> bool:
        """Take a request whose head the parser has read before."""
        serving = self._serving
        found = serving.known_heads.find(segment)
        if found is None:
            return False
        known, body = found
        call = FastCall(
            connection=self,
            way=known.way,
            head=Head(self._host, known.headers),
            keep_alive=known.keep_alive,
            admitted=True,
            body=body,
            more_body=False,
        )
        return self._take(call)

    def _take(self, call: FastCall) -> bool:
        serving = self._serving
        call.request_id = call.request_id or serving.request_ids.of(call.head)
        self._running = call
        self.cycle = cast("Any", call)
        if serving.fast_lane.take(call):
            return True
        self._running = None
        self.cycle = cast("Any", None)
        return False

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or what the parser was stopped for."""
        if self.transport.is_closing():
            return
        self._serving.drop("not HTTP")
        self._give_up(self._refusal or problem(400, "invalid_request", "the request is not HTTP", field="head"))

    def _give_up(self, answer: Answer) -> None:
        """Nothing more is taken from this client."""
        self._is_deaf = True
        if not self._is_under_way():
            if self._is_whole():  # else it has had an answer to the request that it goes on with
                self._end(answer)
            self._hang_up()
        elif self._is_about_its_body():
            self._end_body(answer)
        elif self._is_whole():
            self._farewell = answer
        else:
            self._abort()  # it would take this for the answer to the request that is under way

    def _is_about_its_body(self) -> bool:
        """Whether what is wrong can only be the body of the request that came last, which has not been answered."""
        last = self._last()
        if last is None or not last.more_body:
            return False
        return isinstance(last, FastCall) or not last.response_started

    def _is_whole(self) -> bool:
        """Whether all of the request that came last is here; also where none came."""
        last = self._last()
        return last is None or not last.more_body

    def _end_body(self, answer: Answer) -> None:
        """The last answer on this connection, to the request that came last, of which no more body is taken."""
        last = self._last()
        if isinstance(last, FastCall):
            last.request_id = last.request_id or self._serving.request_ids.of(last.head)
            self._serving.fast_lane.refuse(last, answer)
        elif last is not None:
            last.keep_alive = False
            refuse_body(cast(Scope, last.scope), answer)
            last.message_event.set()

    def _end(self, answer: Answer) -> None:
        """The last answer on this connection, to what is no request yet, or none that may come in."""
        read = not self._between  # else the head that is there was of the request before
        request_id = self._serving.refused(
            answer,
            read_head(self._host, self.headers if read else ()),
            self.parser.get_method().decode() if read and not self._in_head else "",
            self.url.decode("latin-1") if read else "",
        )
        self._write(answer, b"x-request-id: %b\r\n%b" % (request_id, _CLOSE))

    def _write(self, answer: Answer, more: bytes) -> None:
        """Write an answer; `more` are whole lines of its head."""
        body = answer.body
        for name, value in answer.headers:
            more += b"%b: %b\r\n" % (name, value)
        self.transport.write(
            b"%b%bcontent-type: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (self._serving.begins[answer.status], more, answer.media, len(body), body)
        )

    # --- the parser ---

    def on_message_begin(self) -> None:
        # uvicorn's would make a scope: most requests do without.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._between = False
        self._in_head = True
        self._size.begin()
        self._since_s = self._serving.now_s

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._fields = len(self.headers)
        if self._size.was_head_too_large(self._piece, self.url, self.headers):
            self._refuse(_large_head())
        if len(self.headers) > MAX_HEADERS:
            self._refuse(problem(431, "too_large", f"there must be at most {MAX_HEADERS} headers", field="headers"))
        self._see_one_host()
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refuse(problem(400, "invalid_request", f"at most {MAX_PIPELINED} requests may be pipelined"))
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._offer = self._head_without_offer()
            return
        way = fast_way(self.url)
        if way is not None and self._is_usual():
            head = read_head(self._host, self.headers)
            if head.length <= MAX_BODY:
                self._running = FastCall(
                    connection=self, way=way, head=head, keep_alive=self.parser.should_keep_alive()
                )
                self.cycle = cast("Any", self._running)
                return
        self._go_the_usual_way()

    def _see_one_host(self) -> None:
        """RFC 9112, 3.2: who passes a request with two on may have taken it for the other one's."""
        hosts = [name for name, _ in self.headers].count(b"host")
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() >= "1.1"):
            self._refuse(problem(400, "invalid_request", "host must be there once", field="host"))

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _go_the_usual_way(self) -> None:
        """Let uvicorn and the gateway have the request."""
        url, headers, expects = self.url, self.headers[: self._fields], self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)  # the scope has this list
        super().on_headers_complete()
        self.cycle.transport = CycleTransport(self.transport, self._hang_up)
        self.headers = list(headers)  # so that no trailer is taken for a header (RFC 9110, 6.5.1)

    def on_body(self, body: bytes) -> None:
        self._size.add_body(len(body))
        cycle = self._last()
        if not isinstance(cycle, FastCall):
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.body = cycle.body + body if cycle.body else body
            if len(cycle.body) > MAX_BODY:
                self._leave_fast_lane(cycle, complete=False)

    def on_message_complete(self) -> None:
        if self._offer:
            return
        self._between = not self.parser.should_upgrade()
        call = self._last()
        if not isinstance(call, FastCall):
            super().on_message_complete()
            self.cycle.more_body = False  # uvicorn's says so only of a request that has no answer yet
            return
        call.more_body = False
        if call.response_complete:
            return
        if not self._take(call):
            self._leave_fast_lane(call, complete=True)
        elif call.admitted and self._segment:
            heads = self._serving.known_heads
            heads.learn(self._segment, call.body, call.way, call.head, keep_alive=call.keep_alive)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _is_usual(self) -> bool:
        """Whether a request may take the fast lane: it is alone on its connection, and asks for nothing special."""
        return (
            self.parser.get_method() == b"POST"
            and not self._is_under_way()
            and not self.expect_100_continue
            and not self.parser.should_upgrade()
        )

    def _leave_fast_lane(self, call: FastCall, *, complete: bool) -> None:
        """Let uvicorn and the gateway have a request after all."""
        self.cycle = cast("Any", None)
        self._go_the_usual_way()
        super().on_body(call.body)
        if complete:
            super().on_message_complete()

    def reply(self, call: FastCall, answer: Answer) -> None:
        """Answer a request of the fast lane."""
        call.response_complete = True
        if call.disconnected or self.transport.is_closing():
            return
        if call.keep_alive:
            self._write(answer, b"x-request-id: %b\r\n" % call.request_id)
            self.on_response_complete()
        else:
            self._write(answer, b"x-request-id: %b\r\n%b" % (call.request_id, _CLOSE))
            self._hang_up()

    def _refuse(self, answer: Answer) -> None:
        self._refusal = answer
        raise _Refused

    # --- time ---

    def on_response_complete(self) -> None:
        """As uvicorn does, without a timer for each request: `look` sees idle connections."""
        self.server_state.total_requests += 1
        self._since_s = self._serving.now_s
        if self._lingers or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._farewell is not None:
            self._end(self._farewell)
            self._hang_up()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing_since_s = self._serving.now_s

    def resume_writing(self) -> None:
        super().resume_writing()
        self._writing_since_s = None

    def look(self, now_s: float) -> None:
        """End the connection if its client has had its time: the deadline of a request is also one for each part of it,
        and for the taking of its answer."""
        late_s, last = self._serving.deadline_s, self._last()
        if isinstance(self._running, FastCall):
            self._running.look(self._serving.late_before_ms)
        if self._writing_since_s is not None and now_s - self._writing_since_s > late_s:
            self._serving.drop("reads too slowly")
            self._abort()
        elif self._lingers:
            if now_s - self._since_s > late_s:
                self._abort()
        elif not self._is_under_way():
            self._look_between_requests(now_s - self._since_s, late_s)
        elif isinstance(last, FastCall) and last.more_body and now_s - self._since_s > late_s:
            self._serving.drop("body too slow")
            self._end_body(slow_body())

    def _look_between_requests(self, waited_s: float, late_s: float) -> None:
        last = self._last()
        if self._in_head and waited_s > late_s:
            self._serving.drop("head too slow")
            self._give_up(problem(408, "request_timeout", "the head did not arrive in time", field="head"))
        elif last is not None and last.more_body and waited_s > late_s:
            self._serving.drop("sends on after its answer")
            self._abort()
        elif waited_s > IDLE_TIMEOUT_S:
            self.transport.close()


def _large_frame() -> Answer:
    allowed = f"chunk sizes, extensions and trailers must be at most {MAX_HEAD} bytes"
    return problem(431, "too_large", allowed, field="body")


def _large_head() -> Answer:
    return problem(431, "too_large", f"head must be at most {MAX_HEAD} bytes", field="headers")
