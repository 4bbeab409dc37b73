"""Lets the partitions of one shard send their batches together.

Under `appendfsync always` a shard syncs once for all that it reads in one turn of its loop. Batches that partitions
send when they like arrive one by one, and each waits for a sync of its own; sent together they share one. So a
partition with a batch waits for the round under way to end, and the next round takes everyone who waits.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Rounds:
    """The rounds of an engine's batches to a shard: one under way at a time, with every partition that wants to."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._under_way = 0
        self._opening = False

    @asynccontextmanager
    async def next(self) -> AsyncIterator[None]:
        """Wait for the next round and be part of it. Inside, send one batch and wait for its reply, nothing else: the
        others wait for that."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._open_soon()
        try:
            await turn
        except asyncio.CancelledError:
            self._withdraw(turn)
            raise
        try:
            yield
        finally:
            self._leave()

    def _open_soon(self) -> None:
        if not self._under_way and not self._opening:
            self._opening = True
            # At the end of this turn of the loop: partitions that have just got something to send come along.
            asyncio.get_running_loop().call_soon(self._open)

    def _open(self) -> None:
        self._opening = False
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                self._under_way += 1
                turn.set_result(None)

    def _withdraw(self, turn: "asyncio.Future[None]") -> None:
        if turn.done() and not turn.cancelled():
            self._leave()
        elif turn in self._waiting:
            self._waiting.remove(turn)

    def _leave(self) -> None:
        self._under_way -= 1
        if self._waiting:
            self._open_soon()
