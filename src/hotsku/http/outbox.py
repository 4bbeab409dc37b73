"""Holds answers back until the next call is on its way: a shard that waits while we write to our clients is idle.

A call's reply comes as one, and from it each partition answers its orders; then the next call opens, packs what has
come meanwhile, and is written. All of that takes a few turns of the loop. Encoded, signed and written at once, the
answers of a call (a system call each) would stand before the next one.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# The turns from the answers of one call to the writing of the next one (`engine.calls`): it opens, its task sends, the
# connection writes; and one more.
_TURNS = 4


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
