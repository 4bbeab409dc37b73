"""One server process at work: takes connections from a socket until it is told to stop, then answers what it has."""

import asyncio
import contextlib
import gc
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from msgspec import Struct

from hotsku.app import connect_to
from hotsku.engine.timing import Timing
from hotsku.http.handshakes import Handshakes
from hotsku.http.keys import load_keys
from hotsku.http.protocol import GatewayProtocol
from hotsku.http.serving import Serving
from hotsku.http.tls import Tls, tls_of
from hotsku.settings import Settings

_TICK_S = 0.1
_LEAVE_COUNTERS_EVERY = 5
# File descriptors that are not connections of clients.
_OTHER_FILES = 256
_MOST_CONNECTIONS = 65_536
_BACKLOG = 4_096
_GRACE_S = 2.0
# A request costs us five times what its order costs the engine, so shard and gateway would wait for each other.
# `python -m benchmarks.http`: at 64 connections, with the ledger held, the route makes a tenth to a fifth more.
_TIMING = Timing(two_calls_from=32)


class ServerOptions(Struct, frozen=True, kw_only=True):
    """What a server process is told beside the settings.

    Attributes:
        fd: the file descriptor of its listening socket.
        number: of this process among its siblings.
        rate_limit_per_s: requests of one client; 0: no limit.
        folder: where siblings leave their counters; None: there are none.
        worker: the file where the worker process leaves its counts.
    """

    fd: int
    number: int
    rate_limit_per_s: int
    folder: str | None = None
    worker: str | None = None


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, handshake_s: float) -> None:
        super().__init__(config)
        self._handshake_s = handshake_s
        self._handshakes: Handshakes | None = None

    @property
    def open_connections(self) -> int:
        """Also those that are in their TLS handshake."""
        return len(self.server_state.connections) + len(self._handshakes or ())

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which with TLS knows neither a bound nor a deadline for handshakes."""
        if self.config.ssl is None:
            self.servers = [await self._listen(each) for each in sockets or []]
        else:
            self.servers = []
            self._handshakes = Handshakes(self.config, self.server_state, self.config.ssl, self._handshake_s)
            self._handshakes.listen(sockets or [])
        self.started = True

    async def _listen(self, each: socket.socket) -> asyncio.Server:
        def connection() -> GatewayProtocol:
            return GatewayProtocol(self.config, self.server_state, {})

        return await asyncio.get_running_loop().create_server(connection, sock=each, backlog=_BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which knows of no handshakes."""
        if self._handshakes is not None:
            await self._handshakes.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are for whoever runs us."""
        yield


async def serve(settings: Settings, options: ServerOptions, stop: asyncio.Event, started: asyncio.Event) -> None:
    """Serve until `stop` is set. Sets `started` when connections are taken.

    Raises:
        InvalidSettings, BackendUnavailable: it cannot start.
    """
    keys, tls = load_keys(settings.api_keys), tls_of(settings)
    async with connect_to(settings, timing=_TIMING) as opened:
        serving = Serving(
            opened,
            keys,
            rate_limit_per_s=options.rate_limit_per_s,
            most_connections=_most_connections(),
            folder=Path(options.folder) if options.folder else None,
            number=options.number,
            worker=Path(options.worker) if options.worker else None,
        )
        # What is there now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        deadline_s = settings.http_deadline_ms / 1000
        server = _Server(_config(serving, tls, deadline_s + _GRACE_S), deadline_s)
        ticking = asyncio.create_task(_tick(serving, server))
        stopping = asyncio.create_task(_stop(server, stop, started))
        try:
            await server.serve(sockets=[socket.socket(fileno=options.fd)])
        finally:
            ticking.cancel()
            stopping.cancel()
            serving.leave_counters()


def _config(serving: Serving, tls: Tls | None, grace_s: float) -> uvicorn.Config:
    return uvicorn.Config(
        serving,
        interface="asgi3",
        http=GatewayProtocol,
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=int(grace_s),
        ssl_certfile=tls.cert if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )


async def _tick(serving: Serving, server: _Server) -> None:
    """Let time pass: for late calls, for slow clients, for the counters that siblings read."""
    loop, turn = asyncio.get_running_loop(), 0
    while True:
        turn += 1
        now_s = loop.time()
        serving.tick(now_s, server.open_connections, server.server_state.default_headers)
        for connection in list(server.server_state.connections):
            if isinstance(connection, GatewayProtocol):
                connection.look(now_s)
        if turn % _LEAVE_COUNTERS_EVERY == 0:
            serving.leave_counters()
        await asyncio.sleep(_TICK_S)


async def _stop(server: uvicorn.Server, stop: asyncio.Event, started: asyncio.Event) -> None:
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.005)
    started.set()
    await stop.wait()
    server.should_exit = True


def _most_connections() -> int:
    """As many as there may be open files, less what else is open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_CONNECTIONS + _OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(1, max(allowed, soft) - _OTHER_FILES)
