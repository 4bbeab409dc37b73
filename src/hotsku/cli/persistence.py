"""Sends an order again while a back end is away: the same order is never sold twice, so that is always safe."""

import asyncio
from collections.abc import Awaitable, Callable

from hotsku.backoff import Backoff
from hotsku.domain.deduction import Deduction
from hotsku.errors import BackendUnavailable, OutcomeUnknown, Overloaded
from hotsku.ports import Clock

RETRYABLE = (OutcomeUnknown, BackendUnavailable, Overloaded)

# Without any answer for so long, callers give up.
PATIENCE_MS = 30_000.0

Attempt = Callable[[], Awaitable[Deduction]]


class Persistence:
    """The patience that many concurrent callers share: as long as any of them is answered, none gives up.

    Set `answered_ms` (monotonic) at every answer.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.answered_ms = clock.monotonic_ms()
        self.retries = 0

    async def again(self, attempt: Attempt) -> Deduction:
        """Repeat an attempt that has just failed with a retryable fault, until it is answered.

        Raises:
            OutcomeUnknown, BackendUnavailable, Overloaded: nobody has been answered for 30 s.
        """
        backoff, since_ms = Backoff(), self._clock.monotonic_ms()
        while True:
            await asyncio.sleep(backoff.next_s())
            self.retries += 1
            try:
                return await attempt()
            except RETRYABLE:
                if self._clock.monotonic_ms() - max(since_ms, self.answered_ms) >= PATIENCE_MS:
                    raise
