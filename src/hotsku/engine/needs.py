"""What an engine tells the workers, gathered over its partitions: asks, refills, counts, fences.

A need is told at once when it arises, then again while it stands: signals may be lost.
"""

import asyncio
from collections.abc import Callable

from hotsku.domain.events import PartitionRef
from hotsku.ports import Ask, Clock, Counted, FencedReport, Needs, Refill, Signals

ASK_INTERVAL_MS = 50
_REFILL_INTERVAL_MS = 20
_FENCED_INTERVAL_MS = 100

AskMaker = Callable[[int, float], Ask | None]


class NeedsBoard:
    """Gathers one engine's needs and publishes them. Nothing here waits."""

    def __init__(self, engine_id: str, signals: Signals, clock: Clock) -> None:
        self.engine_id = engine_id
        self._signals = signals
        self._clock = clock
        self._number = 0
        self._scheduled = False
        self._standing: dict[PartitionRef, AskMaker] = {}
        self._new_asks: dict[PartitionRef, AskMaker] = {}
        self._refills: dict[PartitionRef, Refill] = {}
        self._counted: set[PartitionRef] = set()
        self._fenced: dict[PartitionRef, FencedReport] = {}
        self._told_ms: dict[tuple[type, PartitionRef], float] = {}

    def ask(self, ref: PartitionRef, maker: AskMaker) -> None:
        """Orders have been parked at `ref`; `maker` gives their ask for a number and a time, as long as any waits."""
        if ref not in self._standing:
            self._standing[ref] = self._new_asks[ref] = maker
            self._schedule()

    def served(self, ref: PartitionRef) -> None:
        """Nobody waits at `ref` any more: the next who does is told of at once."""
        self._standing.pop(ref, None)

    def refill(self, refill: Refill) -> None:
        """A standby is low."""
        if self._due(Refill, refill.ref, _REFILL_INTERVAL_MS):
            self._refills[refill.ref] = refill
            self._schedule()

    def counted(self, ref: PartitionRef) -> None:
        """So many events have gathered that the relay is to send them."""
        self._counted.add(ref)
        self._schedule()

    def fenced(self, report: FencedReport) -> None:
        """A shard fenced a partition."""
        if self._due(FencedReport, report.ref, _FENCED_INTERVAL_MS):
            self._fenced[report.ref] = report
            self._schedule()

    def repeat_asks(self) -> None:
        """Tell every standing ask again; call it every `ASK_INTERVAL_MS`."""
        if self._standing:
            self._new_asks = dict(self._standing)
            self._publish()

    def _due(self, kind: type, ref: PartitionRef, interval_ms: float) -> bool:
        now = self._clock.monotonic_ms()
        if now - self._told_ms.get((kind, ref), -interval_ms) < interval_ms:
            return False
        self._told_ms[kind, ref] = now
        return True

    def _schedule(self) -> None:
        # At the end of this turn of the loop: what several partitions need travels together.
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._publish)

    def _publish(self) -> None:
        self._scheduled = False
        self._number += 1
        needs = Needs(
            engine_id=self.engine_id,
            no=self._number,
            asks=self._take_asks(),
            refills=list(self._refills.values()),
            counted=[Counted(ref=ref) for ref in self._counted],
            fenced=list(self._fenced.values()),
        )
        self._refills.clear()
        self._counted.clear()
        self._fenced.clear()
        if needs.asks or needs.refills or needs.counted or needs.fenced:
            self._signals.publish(needs)

    def _take_asks(self) -> list[Ask]:
        now = self._clock.monotonic_ms()
        asks = []
        for ref, maker in self._new_asks.items():
            ask = maker(self._number, now)
            if ask is None:
                self._standing.pop(ref, None)
            else:
                asks.append(ask)
        self._new_asks = {}
        return asks
