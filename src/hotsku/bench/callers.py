"""Callers in a closed loop: each sends its next request when it has heard the answer to its last."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

from hotsku.bench.report import Measured
from hotsku.domain.deduction import Deduction, Outcome
from hotsku.ports import Clock
from hotsku.strategies.base import Answer

# Sends the request with this number. What it gives is awaited as it is: a task or a coroutine around it, and its answer
# put into other words, would count as the side's CPU.
Call = Callable[[int], Awaitable[Answer | Deduction]]

# Looked up once: an enum finds its members slowly, and what a caller does counts as the side's CPU.
_ACCEPTED, _REPLAYED, _YES = Answer.ACCEPTED, Answer.REPLAYED, Outcome.ACCEPTED


class Heard:
    """What callers heard: answers by kind, latencies in milliseconds."""

    def __init__(self) -> None:
        self.accepted = self.rejected = self.replayed = 0
        self.latencies: list[float] = []

    def note(self, answer: Answer | Deduction, ms: float) -> None:
        self.latencies.append(ms)
        if isinstance(answer, Deduction):
            yes = answer.outcome is _YES
            again = yes and answer.replayed
        else:
            yes, again = answer is _ACCEPTED, answer is _REPLAYED
        if again:
            self.replayed += 1
        elif yes:
            self.accepted += 1
        else:
            self.rejected += 1

    def measured(self, seconds: float) -> Measured:
        """The round in figures."""
        ordered = sorted(self.latencies)
        return Measured(
            seconds=seconds,
            accepted=self.accepted,
            rejected=self.rejected,
            replayed=self.replayed,
            p50_ms=percentile(ordered, 50),
            p99_ms=percentile(ordered, 99),
        )


async def closed_loop(clock: Clock, call: Call, callers: int, seconds: float, first: int = 0) -> Measured:
    """`callers` that send requests `first`, `first` + 1, … for `seconds`, and each one at least."""
    heard = Heard()
    numbers = iter(range(first, 1 << 62))
    tidy()
    now, note = clock.monotonic_ms, heard.note
    start_ms = now()
    end_ms = start_ms + seconds * 1000

    async def caller() -> None:
        since_ms = now()
        while True:
            answer = await call(next(numbers))
            now_ms = now()
            note(answer, now_ms - since_ms)
            if now_ms >= end_ms:
                return
            since_ms = now_ms

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    return heard.measured((now() - start_ms) / 1000)


def percentile(ordered: list[float], percent: float) -> float:
    """The value that `percent` of the ordered values do not exceed; 0 where there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def tidy() -> None:
    """Collect what earlier rounds left, and keep it out of the collector's way in this one."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
