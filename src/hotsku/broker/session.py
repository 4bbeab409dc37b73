"""Consuming for ever from a broker that may restart, forget, or lose a consumer without a word.

The libraries restore consumers by themselves, but not after every loss (FastStream's issue 2758; a NATS consumer whose
stream was deleted hears of nothing at all). So a session is one connection with its consumers, it checks them, and
whatever seems wrong ends it: the next one connects and declares everything anew. What had not been acknowledged comes
again.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from hotsku.backoff import Backoff, end_if_cancelled
from hotsku.broker.link import close_quietly, words
from hotsku.log import get_logger
from hotsku.ports import Delivery

# A group of Kafka's consumers may be busy with the death of a member for so long.
_OPEN_S = 20.0

_log = get_logger("broker")


class ConsumerLost(Exception):
    """The session has no consumer any more where it had one."""


class Session(Protocol):
    """One connection with its consumers. It may raise whatever its library does."""

    async def open(self) -> None: ...
    async def read(self) -> list[Delivery]: ...
    async def close(self) -> None: ...


async def deliveries(new_session: Callable[[], Session]) -> AsyncGenerator[Delivery, None]:
    """Every message, for ever; a session that fails is followed by another, with growing pauses."""
    sessions = _Sessions(new_session)
    try:
        while True:
            for delivery in await sessions.read():
                yield delivery
    finally:
        await sessions.close()


class _Sessions:
    def __init__(self, new_session: Callable[[], Session]) -> None:
        self._new_session = new_session
        self._session: Session | None = None
        self._backoff = Backoff()
        self._failing = False

    async def read(self) -> list[Delivery]:
        end_if_cancelled()
        try:
            session = self._session or await self._open()
            found = await session.read()
        # Whatever a library raises, the next session begins afresh. Some tell their own end by a CancelledError.
        except (Exception, asyncio.CancelledError) as error:
            end_if_cancelled()
            await self._wait_out(error)
            return []
        self._backoff.reset()
        if self._failing:
            _log.info("the topic is read again")
            self._failing = False
        return found

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await close_quietly(session.close())

    async def _open(self) -> Session:
        self._session = self._new_session()
        async with asyncio.timeout(_OPEN_S):
            await self._session.open()
        return self._session

    async def _wait_out(self, error: BaseException) -> None:
        if not self._failing:
            _log.warning("the topic cannot be read, trying again", error=words(error))
            self._failing = True
        await self.close()
        await self._backoff.pause()


class Inbox:
    """What several consumers of a session have received, until the session's reader takes it."""

    def __init__(self) -> None:
        self._waiting: deque[Delivery] = deque()
        self._fault: BaseException | None = None
        self._changed = asyncio.Event()

    def put(self, delivery: Delivery) -> None:
        self._waiting.append(delivery)
        self._changed.set()

    def fail(self, fault: BaseException) -> None:
        """The session is over: `take` raises this."""
        self._fault = self._fault or fault
        self._changed.set()

    async def take(self, timeout_s: float) -> list[Delivery]:
        """What is there; waits for it, but not longer than `timeout_s` seconds."""
        if not self._waiting and self._fault is None:
            self._changed.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait()
            except TimeoutError:
                return []
        if self._fault is not None:
            raise self._fault
        found = list(self._waiting)
        self._waiting.clear()
        return found
