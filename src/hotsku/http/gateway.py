"""The gateway as an ASGI application: the hot routes directly, everything else through the management application.

socket ──► server ──► gate ──► body ──► slot ──► engine ──► answer
                       │ 401 403 429  │ 400 408 413  │ 503
"""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from hotsku.http.access_log import AccessLog
from hotsku.http.answers import Answer, failed, problem, retry_later
from hotsku.http.asgi import App, Gone, Message, Receive, Scope, Send, TooLarge, read_body, send_answer
from hotsku.http.counters import Counters
from hotsku.http.flights import Flights
from hotsku.http.gate import Gate
from hotsku.http.head import Head, RequestIds, read_head
from hotsku.http.hot_routes import Call, HotRoutes, Matched
from hotsku.http.keys import Role
from hotsku.ports import Clock

# Whoever asks whether the server lives or what it can do needs no key; the console's reader types one into it.
_OPEN = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/console"})
# The scripts of the documents page.
_PAGES = "/static-offline-docs/"
_READING = frozenset({"GET", "HEAD"})


class Parts(Struct, frozen=True, kw_only=True):
    """What a gateway is made of.

    Attributes:
        flights: bounds the orders under way; `management_flights` everything else, which must not take their slots.
        deadline_s: for a call of a hot route; `management_deadline_s` for the others: an audit takes its time.
    """

    hot: HotRoutes
    management: App
    gate: Gate
    flights: Flights
    management_flights: Flights
    counters: Counters
    request_ids: RequestIds
    access_log: AccessLog
    clock: Clock
    deadline_s: float
    management_deadline_s: float


class Gateway:
    """The ASGI application."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        parts = self.parts
        started_ms = parts.clock.monotonic_ms()
        client = scope["client"][0] if scope.get("client") else ""
        head = read_head(client, scope["headers"])
        request_id = parts.request_ids.of(head)
        try:
            name, status, label = await self._served(scope, head, request_id, receive, send)
        except Gone:
            parts.counters.drop("client went away")
            return
        ms = parts.clock.monotonic_ms() - started_ms
        parts.counters.route(name).note(status, label, ms)
        parts.access_log.note(scope["method"], scope["path"], status, label, ms, request_id, client)

    async def _served(
        self, scope: Scope, head: Head, request_id: bytes, receive: Receive, send: Send
    ) -> tuple[str, int, str]:
        """Answer a request. Returns its route's name, the status and the label of the answer."""
        matched = None if b"%2f" in scope["raw_path"].lower() else self.parts.hot.match(scope["method"], scope["path"])
        headers = ((b"x-request-id", request_id),)
        if not matched:
            return await self._manage(scope, head, headers, receive, send)
        if isinstance(matched, Matched):
            answer = await self._answer(matched, scope["query_string"], head, receive)
            name = matched.route.path
        else:
            answer, name = _wrong_method(matched), "other"
        await send_answer(send, answer, headers)
        return name, answer.status, answer.label

    # --- hot routes ---

    async def _answer(self, matched: Matched, query: bytes, head: Head, receive: Receive) -> Answer:
        route, parts = matched.route, self.parts
        refusal = parts.gate.refuses(head, route.role, changes=route.method not in _READING)
        if refusal is not None:
            return refusal
        if head.length > route.max_body:
            return _too_large(route.max_body)
        late = _slow_body
        try:
            async with asyncio.timeout(parts.deadline_s):
                body = await read_body(receive, route.max_body)
                work = route.read(Call(matched.places, head, query, body))
                late = _no_slot
                async with parts.flights.slots(work.slots):
                    late = work.late
                    return await work.do()
        except Gone:
            raise
        except TooLarge:
            return _too_large(route.max_body)
        except TimeoutError:
            answer = late()
        except Exception as error:
            answer = failed(error)
        if route.places_orders:
            parts.counters.order(answer.label)
        return answer

    # --- everything else ---

    async def _manage(
        self, scope: Scope, head: Head, headers: tuple[tuple[bytes, bytes], ...], receive: Receive, send: Send
    ) -> tuple[str, int, str]:
        sending = _Sending(send, headers)
        refusal = self._refused(scope, head)
        if refusal is None:
            try:
                async with asyncio.timeout(self.parts.management_deadline_s), self.parts.management_flights.slots():
                    await self.parts.management(scope, receive, sending)
            except TimeoutError:
                refusal = retry_later(503, "unavailable", "the request could not be answered in time")
            except Exception as error:  # the framework has answered and logged its own
                refusal = failed(error)
        if refusal is not None and not sending.status:
            await send_answer(send, refusal, headers)
            return "management", refusal.status, refusal.label
        return _route_name(scope), sending.status, "answered" if sending.status < 400 else "refused"

    def _refused(self, scope: Scope, head: Head) -> Answer | None:
        if b"%2f" in scope["raw_path"].lower():
            return problem(400, "invalid_request", "path must be without an encoded slash", field="path")
        if scope["path"] in _OPEN or scope["path"].startswith(_PAGES):
            return None
        reading = scope["method"] in _READING
        return self.parts.gate.refuses(head, Role.READ if reading else Role.ADMIN, changes=not reading)


class _Sending:
    """Sends what the management application says, with our headers, and remembers the status."""

    def __init__(self, send: Send, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        self._send = send
        self._headers = headers
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", []), *self._headers]}
        await self._send(message)


def _route_name(scope: Scope) -> str:
    """The template of the route that the framework found; never the path, whose values are without number."""
    return getattr(scope.get("route"), "path", "other")


def _too_large(most: int) -> Answer:
    return problem(413, "too_large", f"body must be at most {most} bytes", field="body")


def _slow_body() -> Answer:
    return problem(408, "request_timeout", "the body did not arrive in time", field="body")


def _no_slot() -> Answer:
    return retry_later(503, "overloaded", "too many requests are under way; try again")


def _wrong_method(methods: Sequence[str]) -> Answer:
    allowed = ", ".join(methods)
    return problem(405, "method_not_allowed", f"method must be {allowed}", headers=((b"allow", allowed.encode()),))
