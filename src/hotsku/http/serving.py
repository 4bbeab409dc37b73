"""The gateway of one server process, put together: routes, bounds, counters, and what a connection needs of them."""

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from hotsku.app import Opened
from hotsku.errors import BackendUnavailable
from hotsku.http.access_log import AccessLog
from hotsku.http.answers import Answer
from hotsku.http.asgi import Receive, Scope, Send
from hotsku.http.counters import Counters, CountersFolder
from hotsku.http.fast_lane import FastLane
from hotsku.http.flights import Flights
from hotsku.http.gate import Gate
from hotsku.http.gateway import Gateway, Parts
from hotsku.http.head import Head, RequestIds
from hotsku.http.hot_routes import FastRoute, HotRoutes
from hotsku.http.keys import Keys
from hotsku.http.known_heads import KnownHeads
from hotsku.http.management import management
from hotsku.http.management_calls import METRICS, READYZ, ManagementCalls
from hotsku.http.metrics import exposed, request_families, stock_families, worker_families
from hotsku.http.rate_limit import RateLimit
from hotsku.http.readiness import readiness
from hotsku.http.sale_routes import fast_routes, other_routes
from hotsku.http.shard_numbers import ShardNumbers
from hotsku.http.stock_figures import StockFigures, StockReader
from hotsku.ports import Lost
from hotsku.settings import Settings
from hotsku.worker_counts import read_counts

# Audits, scrapes and lists take time and memory: a few at once, and they never take a slot of an order.
_MANAGEMENT_AT_ONCE = 32
_MANAGEMENT_WAITING = 256
_MANAGEMENT_DEADLINE_S = 60.0
# What an orchestrator and a scraper ask must be answered also while management is full. Each asks back ends for up to
# two seconds.
_PROBES_AT_ONCE = 4
_PROBES_WAITING = 32
# A scraper waits for some seconds: what the server counted must not be lost to it because a back end is away.
_FIGURES_TIMEOUT_S = 2.0


class _Begins(dict[int, bytes]):
    """How answers begin, by their status: the status line, and the headers that all of them get."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        super().__init__()
        self._lines = b"".join(b"%b: %b\r\n" % header for header in headers)

    def __missing__(self, status: int) -> bytes:
        begin = self[status] = STATUS_LINE[status] + self._lines
        return begin


class Serving:
    """The ASGI application, and the fast lane beside it.

    Attributes:
        now_s: the loop's time as of the last tick; asking for it at every step of every connection would cost.
        most_connections: open at once; those that come on top are told to try again.
        deadline_s: of a request.
        late_before_ms: calls of the fast lane that are older are late, as of the last tick.
        begins: how every answer begins, by its status.
        known_heads: of the connections' requests.
    """

    def __init__(
        self,
        opened: Opened,
        keys: Keys,
        *,
        rate_limit_per_s: int,
        most_connections: int,
        folder: Path | None,
        number: int,
        worker: Path | None = None,
    ) -> None:
        """
        Args:
            rate_limit_per_s: requests of one client; 0: no limit.
            folder: where several server processes leave their counters; None where this is the only one.
            number: of this process.
            worker: the file where the worker process beside it leaves its counts.
        """
        settings, clock = opened.stack.settings, opened.stack.clock
        self._stock_reader = StockReader(opened.stack.ledger, opened.shard)
        self._stock = opened.inventory
        self._worker = worker
        self._counters = Counters()
        self._folder = CountersFolder(folder, number, self._counters) if folder else None
        fast = fast_routes(opened.inventory, self._counters)
        hot = HotRoutes([*fast, *other_routes(opened.inventory, self._counters)])

        async def ready() -> Mapping[str, str]:
            return await readiness(opened.stack.ledger, opened.shard)

        gate = Gate(keys, RateLimit(rate_limit_per_s, clock))
        app = management(
            opened.inventory,
            hot,
            metrics=self.metrics,
            readiness=ready,
            numbers=ShardNumbers(opened.shard),
            keyed=bool(keys),
        )
        parts = Parts(
            hot=hot,
            management=ManagementCalls(
                app,
                gate,
                Flights(_MANAGEMENT_AT_ONCE, _MANAGEMENT_WAITING),
                {path: Flights(_PROBES_AT_ONCE, _PROBES_WAITING) for path in (READYZ, METRICS)},
                body_deadline_s=settings.http_deadline_ms / 1000,
                deadline_s=_MANAGEMENT_DEADLINE_S,
            ),
            gate=gate,
            flights=Flights(settings.http_max_in_flight, settings.http_max_waiting),
            counters=self._counters,
            request_ids=RequestIds(secrets.token_hex(6)),
            access_log=AccessLog(clock),
            clock=clock,
            deadline_s=settings.http_deadline_ms / 1000,
        )
        self._parts = parts
        self._gateway, self.fast_lane = _traced(settings, parts, fast) if settings.otel else _plain(parts, fast)
        self.request_ids = parts.request_ids
        self.most_connections = most_connections
        self.deadline_s = parts.deadline_s
        self.known_heads = KnownHeads()
        self.now_s = 0.0
        self.late_before_ms = 0.0
        self.begins = _Begins(())
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._gateway(scope, receive, send)

    def drop(self, why: str) -> None:
        """A connection is ended for a reason that its client gave."""
        self._counters.drop(why)

    def refused(self, answer: Answer, head: Head, method: str, path: str) -> bytes:
        """A connection ends with this answer to what no route has seen. Returns the request's id."""
        request_id = self.request_ids.of(head)
        self._counters.route("other").note(answer.status, answer.label, 0.0)
        self._parts.access_log.note(method, path, answer.status, answer.label, 0.0, request_id, head.client)
        return request_id

    def tick(self, now_s: float, connections: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Time passes: call it often.

        Args:
            connections: that are open.
            headers: that every answer gets.
        """
        self.now_s = now_s
        self.late_before_ms = self._clock.monotonic_ms() - self.deadline_s * 1000
        self.begins = _Begins(headers)
        self._count_batches()
        self._counters.levels.update(
            connections=connections, in_flight=self._parts.flights.taken, waiting=self._parts.flights.waiting
        )

    def _count_batches(self) -> None:
        self._counters.add_batches(self._stock.take_batch_sizes())

    def leave_counters(self) -> None:
        """Let the other server processes have this one's counters."""
        if self._folder is not None:
            self._folder.write()

    async def metrics(self, accept: str) -> tuple[str, bytes]:
        """The content type and the text of the metrics of all server processes and of the stock."""
        self._count_batches()
        counters = self._folder.of_all() if self._folder is not None else self._counters
        figures = await self._figures()
        worker = read_counts(self._worker) if self._worker is not None else None
        of_worker = worker_families(worker, figures) if worker is not None else ()
        return exposed([*request_families(counters), *of_worker, *stock_families(figures)], accept)

    async def _figures(self) -> StockFigures | None:
        try:
            async with asyncio.timeout(_FIGURES_TIMEOUT_S):
                return await self._stock_reader.read()
        except (BackendUnavailable, Lost, TimeoutError):
            return None


def _plain(parts: Parts, fast: Sequence[FastRoute]) -> tuple[Gateway, FastLane]:
    return Gateway(parts), FastLane(parts, fast)


def _traced(settings: Settings, parts: Parts, fast: Sequence[FastRoute]) -> tuple[Gateway, FastLane]:
    """The same, and each request is a span. Imported here: OpenTelemetry may be absent."""
    from hotsku.http.request_spans import RequestSpans
    from hotsku.http.traced import TracedFastLane, TracedGateway

    spans = RequestSpans("https" if settings.http_tls_cert else "http")
    return TracedGateway(parts, spans), TracedFastLane(parts, fast, spans)
