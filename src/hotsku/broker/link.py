"""A connection for publishing: opened when it is needed, given up when a call on it fails, closed in bounded time.

The libraries reconnect by themselves, each in its own way and some for ever. Here a connection that failed once is
never used again: what is new is known to be good, and a caller waits no longer than it said.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Generic, TypeVar

from hotsku.backoff import end_if_cancelled
from hotsku.errors import BackendUnavailable
from hotsku.settings_values import shown_url

CLOSE_S = 3.0
DEADLINE_S = 5.0

C = TypeVar("C")

# The event loop itself holds its tasks only weakly.
_closing: set["asyncio.Task[None]"] = set()


class Link(Generic[C]):
    """At most one open connection, which all callers share."""

    def __init__(
        self,
        open_it: Callable[[], Awaitable[C]],
        close_it: Callable[[C], Coroutine[object, object, None]],
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """
        Args:
            open_it: opens a connection, or leaves nothing behind.
            deadline_s: how long one call may take, with opening.
        """
        self._open_it = open_it
        self._close_it = close_it
        self._deadline_s = deadline_s
        self._connection: C | None = None
        self._opening = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def call(self, use: Callable[[C], Awaitable[object]]) -> None:
        """Open a connection where there is none, and use it.

        Raises:
            BackendUnavailable: it failed or took too long; it may have happened all the same.
        """
        connection: C | None = None
        try:
            async with asyncio.timeout(self._deadline_s):
                connection = await self._get()
                await use(connection)
        # Whatever a library raises, the outcome is unknown. Some tell their own end by a CancelledError.
        except (Exception, asyncio.CancelledError) as error:
            self._give_up(connection)
            end_if_cancelled()
            raise BackendUnavailable(f"the broker took no message: {words(error)}") from error

    async def open(self) -> None:
        """Open the connection now, and let what fails be seen as the library raised it."""
        async with asyncio.timeout(self._deadline_s):
            await self._get()

    async def close(self) -> None:
        """Close what is open."""
        self._give_up(self._connection)
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _get(self) -> C:
        async with self._opening:
            if self._connection is None:
                self._connection = await self._open_it()
            return self._connection

    def _give_up(self, connection: C | None) -> None:
        if connection is None or connection is not self._connection:
            return
        self._connection = None
        task = asyncio.create_task(close_quietly(self._close_it(connection)))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def close_quietly(closing: Coroutine[object, object, object]) -> None:
    """Wait for `closing`, but not for long, and whatever it says: the connection may be broken already.

    What takes longer goes on by itself: a library that is cancelled while it closes leaves its sockets open.
    """
    task = asyncio.create_task(_ended(closing))
    _closing.add(task)
    task.add_done_callback(_closing.discard)
    await asyncio.wait({task}, timeout=CLOSE_S)


async def _ended(closing: Coroutine[object, object, object]) -> None:
    with suppress(Exception, asyncio.CancelledError):
        await closing


def words(error: BaseException) -> str:
    """What went wrong in one line, without passwords."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    return " ".join(shown_url(str(error) or type(error).__name__).split())
