"""Holds answers back until the next batch is on its way: a shard that waits while we write to our clients is idle.

A round's reply comes as one, and from it each partition answers its orders; then the next round opens, packs what has
come meanwhile, and is written. All of that takes a few turns of the loop. Encoded, signed and written at once, the
answers of a round (a system call each) would stand before the next one. Measured with 64 connections, in pairs: 24%
more orders with 8 partitions, 8% with one.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# The turns that a round takes from its reply to the writing of the next one: its tasks go on, they leave, the next
# round opens, its tasks send, the connection writes.
_TURNS = 5


class Outbox(Generic[T]):
    """Answers on their way out."""

    def __init__(self, deliver: Callable[[list[T]], None]) -> None:
        """
        Args:
            deliver: given all that were put since the last time.
        """
        self._deliver = deliver
        self._held: list[T] = []

    def put(self, answer: T) -> None:
        """Have the answer delivered soon."""
        if not self._held:
            self._wait(_TURNS)
        self._held.append(answer)

    def _wait(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._wait, turns - 1)
            return
        held, self._held = self._held, []
        self._deliver(held)
