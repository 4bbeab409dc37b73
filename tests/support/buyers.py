"""Buyers over HTTP: connections of their own, and the patience to send the same request again until it is decided."""

import asyncio
import json
from random import Random
from types import TracebackType
from typing import Self

from tests.support.gateway import post

Json = dict[str, object]
Answer = tuple[int, Json]

# Not decided: the same request is to be sent again.
_AGAIN = (202, 429, 503)


class Cut(Exception):
    """The connection ended before an answer; `received` is what had come of it."""

    def __init__(self, received: bytes) -> None:
        super().__init__(received)
        self.received = received


class Line:
    """One keep-alive connection, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()

    async def post(self, path: str, body: Json) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            Cut: the connection ended.
            OSError: it cannot be opened.
        """
        reader, writer = await self._open()
        received = b""
        try:
            writer.write(post(path, json.dumps(body)))
            received = await reader.readuntil(b"\r\n\r\n")
            head = received.decode("latin-1").lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            answer = await reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            self.hang_up()
            raise Cut(received + error.partial) from None
        except ConnectionError:
            self.hang_up()
            raise Cut(received) from None
        if "connection: close" in head:
            self.hang_up()
        return int(head.split(" ")[1]), json.loads(answer)

    async def send_and_vanish(self, path: str, body: Json, random: Random) -> None:
        """Send a request, or a part of it, and hang up without a look at what comes."""
        _, writer = await self._open()
        data = post(path, json.dumps(body))
        writer.write(data[: random.choice([len(data), len(data), len(data) // 2])])
        self.hang_up()

    def hang_up(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        return self._streams


async def decided(line: Line, path: str, body: Json) -> Answer:
    """Send a request until it is decided."""
    while True:
        try:
            status, answer = await line.post(path, body)
        except Cut:
            continue
        if status not in _AGAIN:
            return status, answer
