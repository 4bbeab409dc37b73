"""Signals: hints between processes that may be lost; whoever sends one repeats it while it is true."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from hotsku.domain.events import PartitionRef


class Ask(Struct, frozen=True, kw_only=True):
    """A dry partition's standing need, as one engine has it.

    `waiting` is what its parked orders lack in all, `smallest` what the first of them lacks (the least that helps, for
    parked orders are served in their order), `age_ms` the age of the oldest. `no` counts the engine's asks.
    """

    ref: PartitionRef
    incarnation: int
    waiting: int
    smallest: int
    age_ms: int


class Refill(Struct, frozen=True, kw_only=True):
    """A partition's standby is low. `taken` units had gone from the partition by `at_ms` of the shard's clock."""

    ref: PartitionRef
    incarnation: int
    taken: int
    at_ms: int


class Counted(Struct, frozen=True, kw_only=True):
    """A partition has reached another multiple of `relay_max_events`: the relay's count trigger."""

    ref: PartitionRef


class FencedReport(Struct, frozen=True, kw_only=True):
    """An engine met a fence. `acknowledged_seq` is the highest seq of the incarnation that it has acknowledged."""

    ref: PartitionRef
    incarnation: int
    acknowledged_seq: int


class Needs(Struct, frozen=True, kw_only=True):
    """What one engine needs of the workers. `no` numbers the engine's `Needs`, so that a standing can name them."""

    engine_id: str
    no: int
    asks: list[Ask] = []
    refills: list[Refill] = []
    counted: list[Counted] = []
    fenced: list[FencedReport] = []


class News(Struct, frozen=True, kw_only=True):
    """What the workers tell the engines.

    `installed` partitions have new stock; `rearmed` ones may be called again. `available` says of an item how many
    units are not sold (pool and pre-allocated), in one ledger read made after the `Needs` in `heard` (engine id to
    `no`).
    """

    installed: list[tuple[PartitionRef, int]] = []  # partition, units
    rearmed: list[PartitionRef] = []
    item_id: int | None = None
    available: int | None = None
    heard: dict[str, int] = {}


class Work(Struct, frozen=True, kw_only=True):
    """What workers tell each other: streams to flush now; watermarks that the ledger has reached."""

    flush: list[PartitionRef] = []
    applied: list[tuple[PartitionRef, int, int]] = []  # partition, incarnation, watermark


class Signals(Protocol):
    """Publish and subscribe, at most once. `publish` never waits and never fails."""

    def publish(self, signal: Needs | News | Work) -> None: ...
    def subscribe(
        self,
        *,
        needs: Callable[[Needs], None] | None = None,
        news: Callable[[News], None] | None = None,
        work: Callable[[Work], None] | None = None,
    ) -> None: ...
