"""The gateway as an ASGI application: the hot routes directly, everything else through the management application.

socket ──► server ──► gate ──► body ──► slot ──► engine ──► answer
                       │ 401 403 429  │ 400 408 413  │ 503
"""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from hotsku.http.access_log import AccessLog
from hotsku.http.answers import Answer, failed, no_slot, problem, slow_body, too_large
from hotsku.http.asgi import Gone, Receive, Refused, Scope, Send, read_body, send_answer
from hotsku.http.counters import Counters
from hotsku.http.flights import Flights
from hotsku.http.gate import Gate
from hotsku.http.head import Head, RequestIds, read_head
from hotsku.http.hot_routes import Call, HotRoutes, Matched
from hotsku.http.keys import READING
from hotsku.http.management_calls import ManagementCalls
from hotsku.ports import Clock


class Parts(Struct, frozen=True, kw_only=True):
    """What a gateway is made of.

    Attributes:
        flights: bounds the orders under way.
        deadline_s: for a call of a hot route.
    """

    hot: HotRoutes
    management: ManagementCalls
    gate: Gate
    flights: Flights
    counters: Counters
    request_ids: RequestIds
    access_log: AccessLog
    clock: Clock
    deadline_s: float


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
        except asyncio.CancelledError:  # the server stops, and the client takes no answer
            parts.counters.drop("reads too slowly")
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
            return await self.parts.management.serve(scope, head, headers, receive, send)
        if isinstance(matched, Matched):
            answer = await self._answer(matched, scope, head, receive)
            name = matched.route.path
        else:
            answer, name = _wrong_method(matched), "other"
        await send_answer(send, answer, headers)
        return name, answer.status, answer.label

    async def _answer(self, matched: Matched, scope: Scope, head: Head, receive: Receive) -> Answer:
        route, parts = matched.route, self.parts
        fault = parts.gate.refuses(head, route.role, changes=route.method not in READING)
        if fault is None and head.length > route.max_body:
            fault = too_large(route.max_body)
        if fault is None:
            late = slow_body
            try:
                async with asyncio.timeout(parts.deadline_s):
                    body = await read_body(scope, receive, route.max_body)
                    work = route.read(Call(matched.places, head, scope["query_string"], body))
                    late = no_slot
                    async with parts.flights.slots(work.slots):
                        late = work.late
                        return await work.do()  # it counts its orders itself
            except Gone:
                raise
            except Refused as refused:
                fault = refused.answer
            except (TimeoutError, asyncio.CancelledError):  # cancelled where the server stops: the task ends with this
                fault = late()
            except Exception as error:
                fault = failed(error)
        if route.places_orders:
            parts.counters.order(fault.label)
        return fault


def _wrong_method(methods: Sequence[str]) -> Answer:
    allowed = ", ".join(methods)
    words = f"method must be {allowed}"
    return problem(405, "method_not_allowed", words, field="method", headers=((b"allow", allowed.encode()),))
