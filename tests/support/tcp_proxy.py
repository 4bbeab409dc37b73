"""Between a ledger and its database: loses a COMMIT, or its answer, or lets it come late."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Literal

# What happens to the next COMMIT; its connection breaks each time.
#   "lose answer": it is carried out, and nobody hears of it.
#   "lose commit": it never arrives.
#   "late": it arrives when another connection has begun to change something.
Fault = Literal["lose answer", "lose commit", "late"]

_COMMIT = (b"Q\x00\x00\x00\x0bCOMMIT\x00", b"\x03COMMIT")  # as PostgreSQL and as MySQL send it
_CHANGES = (b"INSERT INTO", b"COPY ", b"UPDATE ", b"DELETE FROM")


class TcpProxy:
    """Forwards bytes both ways; the next COMMIT meets `fault`, if one is set.

    Attributes:
        commits: how many met one.
        then_away: whether the server is away for everybody once a fault was met.
        meanwhile: awaited before the caller of a "lose commit" hears of it, when the server knows already.
    """

    def __init__(self, host: str, port: int) -> None:
        self.fault: Fault | None = None
        self.commits = 0
        self.then_away = False
        self._away = False
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self._target = host, port
        self._late: asyncio.StreamWriter | None = None
        self._commit = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        back = asyncio.ensure_future(_forward(server_reader, writer))
        try:
            while (data := await reader.read(1 << 20)) and not self._away:
                self._release_for(data)
                if any(commit in data for commit in _COMMIT) and self.fault is not None:
                    await self._meet(data, back, server_reader, server_writer)
                    return
                server_writer.write(data)
        finally:
            back.cancel()
            writer.close()
            if self._late is not server_writer:
                server_writer.close()

    async def _meet(
        self,
        commit: bytes,
        back: "asyncio.Future[None]",
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        fault, self.fault = self.fault, None
        self.commits += 1
        self._away = self.then_away
        # The server's goodbye would tell the caller too early.
        back.cancel()
        with suppress(asyncio.CancelledError):
            await back
        if fault == "lose answer":
            server_writer.write(commit)
            await server_reader.read(1 << 16)
        elif fault == "late":
            self._late, self._commit = server_writer, commit
        elif self.meanwhile is not None:
            server_writer.close()
            await self.meanwhile()

    def _release_for(self, data: bytes) -> None:
        if self._late is not None and any(change in data for change in _CHANGES):
            late, self._late = self._late, None
            late.write(self._commit)
            late.close()  # when all is written


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 20):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def running_tcp_proxy(host: str, port: int) -> AsyncIterator[tuple[TcpProxy, int]]:
    """A proxy in front of a server, and the port where it listens on loopback."""
    proxy = TcpProxy(host, port)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            await proxy.serve(reader, writer)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield proxy, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
