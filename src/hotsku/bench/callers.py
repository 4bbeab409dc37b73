"""Callers in a closed loop: each sends its next request when it has heard the answer to its last."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

from hotsku.bench.report import Measured
from hotsku.ports import Clock
from hotsku.strategies.base import Answer

# Sends the request with this number.
Call = Callable[[int], Awaitable[Answer]]

# Looked up once: an enum finds its members slowly, and what a caller does counts as the side's CPU.
_ACCEPTED = Answer.ACCEPTED
_REPLAYED = Answer.REPLAYED


class Heard:
    """What callers heard: answers by kind, latencies in milliseconds."""

    def __init__(self) -> None:
        self.accepted = self.rejected = self.replayed = 0
        self.latencies: list[float] = []

    def note(self, answer: Answer, ms: float) -> None:
        if answer is _ACCEPTED:
            self.accepted += 1
        elif answer is _REPLAYED:
            self.replayed += 1
        else:
            self.rejected += 1
        self.latencies.append(ms)

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
    """`callers` that send requests `first`, `first` + 1, … for `seconds`."""
    heard = Heard()
    numbers = iter(range(first, 1 << 62))
    tidy()
    start_ms = clock.monotonic_ms()
    end_ms = start_ms + seconds * 1000

    async def caller() -> None:
        since_ms = clock.monotonic_ms()
        while since_ms < end_ms:
            answer = await call(next(numbers))
            now_ms = clock.monotonic_ms()
            heard.note(answer, now_ms - since_ms)
            since_ms = now_ms

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    return heard.measured((clock.monotonic_ms() - start_ms) / 1000)


def percentile(ordered: list[float], percent: float) -> float:
    """The value that `percent` of the ordered values do not exceed; 0 where there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def tidy() -> None:
    """Collect what earlier rounds left, and keep it out of the collector's way in this one."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
