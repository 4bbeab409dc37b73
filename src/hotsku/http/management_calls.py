"""The calls that are no hot route: those of the management application, with bounds of their own.

A call has its body before it takes a slot, and is out of it before its answer is sent: a client that sends or reads
slowly keeps nobody else out.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext

from hotsku.http.answers import Answer, Headers, failed, no_slot, pending, problem, retry_later, slow_body, too_large
from hotsku.http.asgi import App, Gone, Message, Receive, Refused, Scope, Send, read_body, send_answer
from hotsku.http.bodies import MAX_BODY
from hotsku.http.flights import Flights
from hotsku.http.gate import Gate
from hotsku.http.head import Head
from hotsku.http.keys import READING, Role

READYZ = "/readyz"
METRICS = "/metrics"

# Whoever asks whether the server lives or what it can do needs no key; the console's reader types one into it.
_OPEN = frozenset({"/healthz", READYZ, "/openapi.json", "/docs", "/docs/oauth2-redirect", "/console"})
# The scripts of the documents page.
_PAGES = "/static-offline-docs/"


class ManagementCalls:
    """Answers them."""

    def __init__(
        self,
        app: App,
        gate: Gate,
        flights: Flights,
        probe_flights: Mapping[str, Flights],
        *,
        body_deadline_s: float,
        deadline_s: float,
    ) -> None:
        """
        Args:
            app: the management application.
            flights: bounds the calls under way, which must not take the slots of orders.
            probe_flights: of the paths that have bounds of their own: they answer also while `flights` is full.
            deadline_s: for a call that has its body: an audit takes its time.
        """
        self._app = app
        self._gate = gate
        self._flights = flights
        self._probe_flights = probe_flights
        self._body_deadline_s = body_deadline_s
        self._deadline_s = deadline_s

    async def serve(
        self, scope: Scope, head: Head, headers: Headers, receive: Receive, send: Send
    ) -> tuple[str, int, str]:
        """Answer a call.

        Args:
            headers: of every answer.

        Returns:
            Its route's name, the status and the label of the answer.

        Raises:
            Gone: the client went away before it had sent all of it.
        """
        bounds = self._bounds_of(scope["path"])
        sending = _Sending(send, headers, holds=bounds is not None)
        answer = self._refused(scope, head)
        if answer is None:
            answer = await self._done(scope, head, receive, sending, bounds.slots() if bounds else nullcontext())
        if answer is not None and not sending.status:
            await send_answer(send, answer, headers)
            return "management", answer.status, answer.label
        await sending.let_go()
        return _route_name(scope), sending.status, "answered" if sending.status < 400 else "refused"

    def _bounds_of(self, path: str) -> Flights | None:
        """Where a call has to have a slot; None: it asks no back end."""
        if path in self._probe_flights:
            return self._probe_flights[path]
        return None if _is_open(path) else self._flights

    def _refused(self, scope: Scope, head: Head) -> Answer | None:
        if b"%2f" in scope["raw_path"].lower():
            return problem(400, "invalid_request", "path must be without an encoded slash", field="path")
        if _is_open(scope["path"]):
            return None
        reads = scope["method"] in READING
        return self._gate.refuses(head, Role.READ if reads else Role.ADMIN, changes=not reads)

    async def _done(
        self, scope: Scope, head: Head, receive: Receive, sending: "_Sending", slot: AbstractAsyncContextManager[None]
    ) -> Answer | None:
        """Have the application answer. What is to be said where it did not; also where it did, and then failed."""
        if head.length > MAX_BODY:
            return too_large(MAX_BODY)
        late, begun, reads = slow_body, False, scope["method"] in READING
        try:
            async with asyncio.timeout(self._body_deadline_s):
                body = await read_body(scope, receive, MAX_BODY)
            late = no_slot
            async with asyncio.timeout(self._deadline_s), slot:
                late, begun = (_unread if reads else pending), True
                await self._app(scope, _given(body, receive), sending)
        except Gone:
            raise
        except Refused as refused:
            return refused.answer
        except TimeoutError:
            return late()
        except asyncio.CancelledError:  # the server stops: this answer is the last that the task does
            return _cut_off(unsure=begun and not reads)
        except Exception as error:  # the framework has answered and logged its own
            return failed(error)
        return None


class _Sending:
    """Sends what the application says, with our headers, and remembers the status."""

    def __init__(self, send: Send, headers: Headers, *, holds: bool) -> None:
        """
        Args:
            holds: whether all of it waits for `let_go`.
        """
        self._send = send
        self._headers = headers
        self._holds = holds
        self._held: list[Message] = []
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", []), *self._headers]}
        if self._holds:
            self._held.append(message)
        else:
            await self._send(message)

    async def let_go(self) -> None:
        """Send what was held back."""
        for message in self._held:
            await self._send(message)


def _given(body: bytes, receive: Receive) -> Receive:
    """What gives the application the whole body, and then what the connection says: that the client has gone."""
    unread = [body]

    async def give() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()

    return give


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith(_PAGES)


def _route_name(scope: Scope) -> str:
    """The template of the route that the framework found; never the path, whose values are without number."""
    return getattr(scope.get("route"), "path", "other")


def _unread() -> Answer:
    return retry_later(503, "unavailable", "the request could not be answered in time")


def _cut_off(*, unsure: bool) -> Answer:
    """The server stops, and waits no longer.

    Args:
        unsure: the request may have changed something.
    """
    if not unsure:
        return retry_later(503, "unavailable", "the server stops; nothing was done by this request: send it again")
    why = "the server stops, and it is not known whether the request was carried out: send the same request again"
    return retry_later(503, "stopping", why)
