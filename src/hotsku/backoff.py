"""How long to wait before trying again."""

import asyncio


class Backoff:
    """Pauses that double from `first_s` to `most_s` seconds, until something worked."""

    def __init__(self, first_s: float = 0.05, most_s: float = 1.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def reset(self) -> None:
        """It worked: the next pause is the first one again."""
        self._next_s = self._first_s

    def next_s(self) -> float:
        """The seconds that the next pause takes."""
        delay_s = self._next_s
        self._next_s = min(delay_s * 2, self._most_s)
        return delay_s

    async def pause(self) -> None:
        """Wait, unless the task is to end."""
        end_if_cancelled()
        await asyncio.sleep(self.next_s())


def end_if_cancelled() -> None:
    """Raise the cancellation of the current task if a library has swallowed it. Endless loops ask this every turn.

    redis-py closes the connection of a call that is cancelled; where that fails, the caller sees a `ConnectionError`
    instead. It also sends under `asyncio.wait_for`, which in Python 3.11 forgets a cancellation that comes at the
    moment when the sending is done.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
