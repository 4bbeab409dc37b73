"""A connection to one shard, as bare as it can be: bytes out, parsed replies in, in order.

Every deduction passes here. An asyncio protocol over hiredis costs a fraction of the CPU of a full client's call, for
it has no pool, no retry and no task of its own. It never sends anything twice.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast

import hiredis
from msgspec import Struct

from hotsku.ports import Lost

Reply: TypeAlias = "bytes | int | list[Reply] | None"
Argument: TypeAlias = str | int | bytes

# The library's stub says a tuple of one.
_pack: Callable[[tuple[Argument, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]


class ReplyError(Exception):
    """The shard answered with an error."""


class Copies(Struct, frozen=True):
    """What an acknowledged write must have reached besides the server itself.

    A replica that runs `appendfsync always` answers only after its own fsync, for a server writes its file before it
    writes to its connections (`beforeSleep` in the server's source). So WAIT says that the write is on its disk.
    WAITAOF says the same a second later: a replica reports its last fsync, which its answer to a write precedes.

    Attributes:
        replicas: so many replicas.
        timeout_ms: how long to wait for them.
    """

    replicas: int
    timeout_ms: int

    def command(self) -> tuple[Argument, ...]:
        """What a connection sends after its writes: it covers only those of its own."""
        return ("WAIT", self.replicas, self.timeout_ms)

    def reached(self, reply: Reply) -> bool:
        """Whether the reply to `command` says that enough have it."""
        return cast(int, reply) >= self.replicas


_ASKING = _pack(("ASKING",))

# How often within its timeout a connection looks at its oldest call.
_LOOKS = 4


class Pipe(asyncio.Protocol):
    """Replies resolve the futures of their calls, first in, first out."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._copies: Copies | None = None
        self._copied: asyncio.Future[Reply] | None = None
        self._why = "closed"
        self._reader = hiredis.Reader(replyError=ReplyError)
        self._waiting: deque[asyncio.Future[Reply]] = deque()
        self._outgoing: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, packed: bytes) -> "asyncio.Future[Reply]":
        if self._transport is None or self._transport.is_closing():
            raise Lost("the connection to the shard is closed", sent=False)
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting.append(future)
        self._outgoing.append(packed)
        if len(self._outgoing) == 1:
            self._loop.call_soon(self._write)
        return future

    def wait_for(self, copies: Copies) -> "asyncio.Future[Reply]":
        """Have the copies waited for at the end of this turn of the loop, once for all of its calls: a connection that
        waits takes no further call meanwhile. Gives the reply."""
        self._copies = copies
        if self._copied is None:
            self._copied = self._loop.create_future()
            self._copied.add_done_callback(_seen)  # every caller of the turn may have gone
        return self._copied

    def _write(self) -> None:
        """Write all calls of this turn of the loop at once. The shard reads them at once, too, and syncs once for them;
        one write a call would wake it at the first."""
        outgoing, self._outgoing = self._outgoing, []
        if self._copied is not None and self._copies is not None:
            outgoing.append(_pack(self._copies.command()))
            self._waiting.append(self._copied)
            self._copied = None
        if self._transport is not None:
            self._transport.write(b"".join(outgoing))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._watch(None, 0)

    def _watch(self, oldest: "asyncio.Future[Reply] | None", looks: int) -> None:
        """Give the connection up when its oldest call gets no reply. One timer a connection: one a call would cost more
        than the call."""
        if self._transport is None:
            return
        now_oldest = self._waiting[0] if self._waiting else None
        looks = looks + 1 if now_oldest is not None and now_oldest is oldest else 0
        if looks > _LOOKS:
            self._why = f"no reply in {self._timeout_s:g} s"
            self.close()
            return
        self._loop.call_later(self._timeout_s / _LOOKS, self._watch, now_oldest, looks)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                future = self._waiting.popleft()
                if future.done():  # its caller has gone
                    continue
                if isinstance(reply, ReplyError):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            # What follows cannot be told apart any more: the calls in flight have an unknown outcome.
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._copied is not None:
            self._waiting.append(self._copied)
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(Lost(f"the connection to the shard broke ({exc or self._why})", sent=True))


# Opens the transport to a shard (see `hotsku.shard.address`).
Opener = Callable[[Callable[[], Pipe]], Awaitable[tuple[asyncio.BaseTransport, Pipe]]]


class Wire:
    """One connection, opened when first used and again after it broke."""

    def __init__(self, opener: Opener, greeting: list[tuple[Argument, ...]], timeout_s: float) -> None:
        """
        Args:
            opener: opens the transport.
            greeting: commands that every new connection starts with (AUTH).
            timeout_s: how long a call waits for its reply; then the connection is given up, for its replies would
                come in the place of others.
        """
        self._opener = opener
        self._greeting = greeting
        self._timeout_s = timeout_s
        self._pipe: Pipe | None = None
        self._connecting: asyncio.Task[Pipe] | None = None

    async def call(self, *arguments: Argument, asking: bool = False, copies: Copies | None = None) -> Reply:
        """Send one command and wait for its reply.

        Args:
            asking: its slot is on its way to this server, which is told that the other one has sent us.
            copies: wait until they have it, too.

        Raises:
            Lost: the connection could not be opened, broke, or gave no reply in time; too few copies have the write.
            ReplyError: the shard answered with an error.
        """
        pipe = self._pipe
        if pipe is None or not pipe.open:
            pipe = await self._connect()
        if asking:
            pipe.send(_ASKING).add_done_callback(_seen)
        answer = pipe.send(_pack(arguments))
        if copies is None:
            return await answer
        copied = pipe.wait_for(copies)
        reply = await answer
        await _check_copies(copies, copied)
        return reply

    def close(self) -> None:
        """Close the connection; calls in flight are lost."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    async def _connect(self) -> Pipe:
        """Callers who find no connection wait for one attempt together: each of its own would take its own timeout."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._open())
            self._connecting.add_done_callback(_seen)
        return await asyncio.shield(self._connecting)

    async def _open(self) -> Pipe:
        try:
            async with asyncio.timeout(self._timeout_s):
                _, pipe = await self._opener(lambda: Pipe(self._timeout_s))
                for command in self._greeting:
                    await pipe.send(_pack(command))
        except (OSError, TimeoutError) as error:
            raise Lost(f"the shard cannot be reached ({_words(error)})", sent=False) from error
        self._pipe = pipe
        return pipe


def _seen(future: "asyncio.Future[Reply] | asyncio.Task[Pipe]") -> None:
    """Nobody need look at what it failed with."""
    if not future.cancelled():
        future.exception()


async def _check_copies(copies: Copies, replied: "asyncio.Future[Reply]") -> None:
    try:
        reached = copies.reached(await replied)
    except ReplyError as error:  # the server became a replica while it waited
        raise Lost(str(error), sent=True) from error
    if not reached:
        raise Lost(f"fewer than {copies.replicas} replicas have it", sent=True)


def _words(error: Exception) -> str:
    return str(error) or "no answer in time"
