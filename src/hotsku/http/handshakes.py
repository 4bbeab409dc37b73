"""Takes connections for TLS, and counts those among the open ones that have not finished their handshake.

A server of the loop's own tells of a connection after its handshake only. Who opens connections, and begins none, would
take all file descriptors, also those that are set apart for shards and the ledger.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from hotsku.http.protocol import GatewayProtocol
from hotsku.http.serving import Serving
from hotsku.log import get_logger

# Taken in one turn of the loop: while thousands come, those that are there have their turns, too.
_AT_ONCE = 64
# Without a free file descriptor the socket stays ready to be read: looking at it without a pause would take a core.
_PAUSE_S = 1.0

_log = get_logger("http")


class Handshakes:
    """TLS connections up to the end of their handshake."""

    def __init__(self, config: Config, state: ServerState, context: ssl.SSLContext, deadline_s: float) -> None:
        """
        Args:
            context: the server's certificate.
            deadline_s: of a handshake.
        """
        self._config = config
        self._state = state
        self._context = context
        self._deadline_s = deadline_s
        self._serving = cast(Serving, config.loaded_app)
        self._loop = asyncio.get_running_loop()
        self._sockets: Sequence[socket.socket] = ()
        self._under_way: dict[_TlsConnection, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Take connections from sockets that listen, until `close`."""
        self._sockets = sockets
        for each in sockets:
            each.setblocking(False)
            self._loop.add_reader(each, self._take, each)

    async def close(self) -> None:
        """Take no more, and end those that are under way: nobody has asked for anything on them yet."""
        for each in self._sockets:
            self._loop.remove_reader(each)
        self._sockets = ()
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _take(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                taken, _address = listening.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._pause(listening, error)
                return
            self._begin(taken)

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        _log.warning("no connection can be taken", why=error.strerror, again_in_s=_PAUSE_S)
        self._loop.remove_reader(listening)
        self._loop.call_later(_PAUSE_S, self._go_on, listening)

    def _go_on(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._take, listening)

    def _begin(self, taken: socket.socket) -> None:
        if len(self._state.connections) + len(self) >= self._serving.most_connections:
            self._serving.drop("too many connections")
            taken.close()
            return
        taken.setblocking(False)
        connection = _TlsConnection(self._config, self._state, self._under_way)
        task = self._loop.create_task(self._shake_hands(taken, connection))
        self._under_way[connection] = task
        task.add_done_callback(lambda _: self._under_way.pop(connection, None))

    async def _shake_hands(self, taken: socket.socket, connection: "_TlsConnection") -> None:
        with suppress(OSError):  # of a client that goes, is late, or speaks no TLS; the loop has closed the socket
            await self._loop.connect_accepted_socket(
                lambda: connection, taken, ssl=self._context, ssl_handshake_timeout=self._deadline_s
            )


class _TlsConnection(GatewayProtocol):
    """A connection that leaves the handshakes in the moment in which it joins those that are served."""

    def __init__(
        self, config: Config, state: ServerState, handshakes: "dict[_TlsConnection, asyncio.Task[None]]"
    ) -> None:
        super().__init__(config, state, {})
        self._handshakes = handshakes

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._handshakes.pop(self, None)
        super().connection_made(transport)
