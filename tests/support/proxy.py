"""A unix socket between an engine and its shard that loses what a network may lose."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

# What happens to the next call: its reply is lost; it is lost itself; it is held back until the test releases it. The
# connection of the caller breaks each time, but for "stuck": then nothing more happens on it.
Fault = Literal["lose reply", "lose call", "hold", "stuck"]


class Proxy:
    """Forwards bytes both ways; the next calls that have `about` in them meet the faults, one each."""

    def __init__(self, target: Path) -> None:
        self.about = b"hs_deduct"
        self.faults: deque[Fault] = deque()
        self.cut = False  # the calls after the faults are lost for as long as this is set, also those sent again
        self.calls = 0
        self._target = target
        self._held: list[tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def release(self) -> list[bytes]:
        """Send on the calls that were held back, and wait for what the shard says; nobody else hears it."""
        replies = []
        held, self._held = self._held, []
        for call, reader, writer in held:
            writer.write(call)
            replies.append(await reader.read(65536))
            writer.close()
        return replies

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        shard_reader, shard_writer = await asyncio.open_unix_connection(str(self._target))
        self._writers.append(shard_writer)
        back = self._start(self._forward(shard_reader, writer))
        while call := await reader.read(1 << 20):
            fault = self._fault(call)
            if fault in ("hold", "lose reply"):
                back.cancel()
                await asyncio.gather(back, return_exceptions=True)
            if fault == "hold":
                self._held.append((call, shard_reader, shard_writer))
                break
            if fault == "stuck":
                await reader.read()  # until the caller gives up
                break
            if fault != "lose call":
                shard_writer.write(call)
            if fault == "lose reply":
                await shard_reader.read(65536)
            if fault:
                break
        writer.close()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.close()

    def _fault(self, call: bytes) -> Fault | None:
        if self.about not in call:
            return None
        self.calls += 1
        if self.faults:
            return self.faults.popleft()
        return "lose call" if self.cut else None

    def _start(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                writer.write(data)
        writer.close()


@asynccontextmanager
async def running_proxy(target: Path, path: Path) -> AsyncIterator[Proxy]:
    """A proxy that listens at `path`, in front of the server at `target`."""
    proxy = Proxy(target)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            await proxy.serve(reader, writer)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_unix_server(connected, str(path))
    try:
        yield proxy
    finally:
        server.close()
        proxy.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
