"""How much is under way at once: a bound, and a bounded queue before it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hotsku.errors import Overloaded


class Flights:
    """Slots for what is under way, first come, first served. Beyond the queue callers are refused at once, before
    anything is asked of a shard."""

    def __init__(self, most: int, most_waiting: int) -> None:
        """
        Args:
            most: slots.
            most_waiting: callers that may wait for one.
        """
        self._most = most
        self._most_waiting = most_waiting
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.taken = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def try_take(self) -> bool:
        """Take a slot, if one is free and nobody waits for it."""
        if self.taken >= self._most or self._waiting:
            return False
        self.taken += 1
        return True

    def give_back(self, slots: int = 1) -> None:
        """Slots are free again: whoever waited longest gets them."""
        self.taken -= slots
        while self._waiting and self.taken + self._waiting[0][0] <= self._most:
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self.taken += wanted
                turn.set_result(None)

    @asynccontextmanager
    async def slots(self, wanted: int = 1) -> AsyncIterator[None]:
        """Be under way with so many slots (at most all there are).

        Raises:
            Overloaded: the queue is full.
        """
        wanted = min(wanted, self._most)
        if not self._waiting and self.taken + wanted <= self._most:
            self.taken += wanted
        else:
            await self._wait(wanted)
        try:
            yield
        finally:
            self.give_back(wanted)

    async def _wait(self, wanted: int) -> None:
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded("too many requests are under way; try again")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(wanted)
            else:
                self._waiting = deque(entry for entry in self._waiting if entry[1] is not turn)
            raise
