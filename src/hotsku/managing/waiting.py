"""Waits until something is done that others have a part in: the ledger, or whoever arms partitions."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from hotsku.domain.events import PartitionRef
from hotsku.ports import Clock, News, Signals, Work

# The word that the ledger has moved may be lost, and so may a flush.
_RETELL_S = 0.2


class Waiting:
    """Tries something again whenever the ledger has moved, or partitions were armed."""

    def __init__(self, signals: Signals, clock: Clock) -> None:
        self._signals = signals
        self._clock = clock
        self._moved = asyncio.Event()
        self._listens = False

    async def until(
        self, done: Callable[[], Awaitable[bool]], patience_ms: int, flush: Sequence[PartitionRef] = ()
    ) -> bool:
        """Call `done` until it says yes. False where that takes too long.

        Args:
            flush: the partitions whose events are waited for.
        """
        self._listen()
        until_ms = self._clock.monotonic_ms() + patience_ms
        while True:
            moved = self._moved
            if await done():
                return True
            if self._clock.monotonic_ms() >= until_ms:
                return False
            if flush:
                self._signals.publish(Work(flush=list(flush)))
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETELL_S):
                    await moved.wait()

    def _listen(self) -> None:
        if not self._listens:
            self._listens = True
            self._signals.subscribe(work=self._hear_work, news=self._hear_news)

    def _hear_work(self, work: Work) -> None:
        if work.applied:
            self._wake_waiting()

    def _hear_news(self, news: News) -> None:
        if news.rearmed:
            self._wake_waiting()

    def _wake_waiting(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
