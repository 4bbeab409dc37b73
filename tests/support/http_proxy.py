"""Between a client and a gateway: loses requests and replies, holds them back, or answers like a proxy in trouble."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

# What happens to the next request.
#   "lose request": it does not arrive, and its connection breaks.
#   "lose reply": it is carried out, and its connection breaks.
#   "cut reply": half of the reply comes.
#   "late": its connection breaks; it arrives when the test calls `release`.
#   "stuck": it arrives, and nothing comes back.
#   "bad gateway": it is carried out, and a page of the proxy's own comes back.
#   "other page": it does not arrive, and somebody else's page says 200.
Fault = Literal["lose request", "lose reply", "cut reply", "late", "stuck", "bad gateway", "other page"]

_PAGES = {"bad gateway": b"502 Bad Gateway", "other page": b"200 OK"}


class HttpProxy:
    """Forwards requests, one connection each; the next ones meet the faults, one each."""

    def __init__(self, port: int) -> None:
        self.faults: deque[Fault] = deque()
        self.requests: list[bytes] = []
        self.url = ""
        self._port = port
        self._late: list[bytes] = []
        self._more = asyncio.Condition()

    async def wait_for(self, count: int) -> None:
        """Wait until so many requests have come in all."""
        async with self._more:
            await self._more.wait_for(lambda: len(self.requests) >= count)

    async def release(self) -> list[bytes]:
        """Send on what was held back, and wait for the replies; nobody else hears them."""
        late, self._late = self._late, []
        return [await self._forward(request) for request in late]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await _message(reader):
                async with self._more:
                    self.requests.append(request)
                    self._more.notify_all()
                if not await self._meet(self.faults.popleft() if self.faults else None, request, reader, writer):
                    return
        finally:
            writer.close()

    async def _meet(
        self, fault: Fault | None, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection stays open."""
        if fault == "late":
            self._late.append(request)
        if fault in ("late", "lose request"):
            return False
        reply = b"" if fault == "other page" else await self._forward(request)
        if fault == "stuck":
            await reader.read()  # until the client gives up
        elif fault == "cut reply":
            writer.write(reply[: len(reply) - 10])
        elif fault in _PAGES:
            writer.write(b"HTTP/1.1 %s\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\n<br>" % _PAGES[fault])
        elif fault is None:
            writer.write(reply)
        return fault is None

    async def _forward(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(request)
            return await _message(reader)
        finally:
            writer.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """The next request or reply, empty at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        return head + await reader.readexactly(int(length or 0))
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


@asynccontextmanager
async def running_http_proxy(port: int) -> AsyncIterator[HttpProxy]:
    """A proxy on loopback in front of the gateway at `port`."""
    proxy = HttpProxy(port)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            await proxy.serve(reader, writer)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
