"""Which replies count: what an engine believes of a partition's incarnation, and what it has acknowledged."""

import asyncio
from collections.abc import Callable
from math import inf

import pytest
from msgspec import Struct
from tests.support.listening import HandClock, RecordingSignals

from hotsku.domain.events import PartitionRef
from hotsku.engine.incarnation import KnownIncarnation
from hotsku.engine.needs import NeedsBoard
from hotsku.errors import BackendUnavailable
from hotsku.ports import Fenced, FencedReport, Late, Lost, Needs, Refusal, Stale

pytestmark = pytest.mark.anyio

REF = PartitionRef(7, 2)


class Said(Struct):
    seq_before: int
    copied: bool = True


class World:
    """One partition's incarnation, and the ledger that it is looked up in."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.signals = RecordingSignals()
        self.ledger: tuple[int, float, bool] | None = (2, inf, False)
        self.marked: list[int] = []
        self.open = True
        board = NeedsBoard("e", self.signals, self.clock)
        self.known = KnownIncarnation(
            ref=REF,
            sku="sku",
            number=1,
            clock=self.clock,
            board=board,
            relay_max_events=100,
            look_up=self._look_up,
            mark_fast=self._mark_fast,
            alone_ms=1000,
        )
        self.known.trust(1, inf, False)

    async def _mark_fast(self, ref: PartitionRef, incarnation: int) -> bool:
        assert ref == REF
        if self.ledger is None:
            raise BackendUnavailable("away")
        self.marked.append(incarnation)
        return self.open

    async def _look_up(self, ref: PartitionRef) -> tuple[int, float, bool]:
        assert ref == REF
        if self.ledger is None:
            raise BackendUnavailable("away")
        return self.ledger

    async def call(self, seq_before: int, meanwhile: Callable[[], None] = lambda: None, *, copied: bool = True) -> Said:
        """A call whose reply is told as it is, or looked at more closely."""
        sent = self.known.sent()
        meanwhile()
        said = Said(seq_before, copied)
        return said if self.known.counts(said, sent) else await self.known.heed(said, sent)

    async def refused(self, refusal: Refusal, meanwhile: Callable[[], None] = lambda: None) -> Said:
        """A call that has no reply."""
        sent = self.known.sent()
        meanwhile()
        return await self.known.heed(refusal, sent)

    async def told(self) -> list[FencedReport]:
        await asyncio.sleep(0)
        return [report for signal in self.signals.take() if isinstance(signal, Needs) for report in signal.fenced]

    async def counted(self) -> int:
        await asyncio.sleep(0)
        return sum(len(signal.counted) for signal in self.signals.take() if isinstance(signal, Needs))


async def test_a_reply_that_knows_all_that_was_acknowledged_counts() -> None:
    world = World()
    world.known.acknowledge(0, 10)
    assert (await world.call(10)).seq_before == 10
    assert (await world.call(17)).seq_before == 17  # another engine's orders
    assert await world.told() == []


async def test_a_reply_that_has_forgotten_does_not_count_and_the_workers_hear_of_it() -> None:
    """It was carried out all the same: nobody may be told that nothing was done."""
    world = World()
    world.known.acknowledge(0, 10)
    with pytest.raises(Lost, match="forgotten") as lost:
        await world.call(9)
    assert lost.value.sent
    assert await world.told() == [FencedReport(ref=REF, incarnation=1, acknowledged_seq=10)]
    assert "forgotten" in world.known.why


async def test_what_was_acknowledged_after_the_call_was_sent_proves_nothing_against_its_reply() -> None:
    """Two batches are in flight at once: the other one's reply may be told first."""
    world = World()
    world.known.acknowledge(0, 10)
    assert (await world.call(12, meanwhile=lambda: world.known.acknowledge(15, 5))).seq_before == 12
    assert await world.told() == []
    world.known.acknowledge(12, 3)
    assert world.known.seq == 20  # it never goes back


async def test_a_reply_under_an_incarnation_that_is_over_does_not_count() -> None:
    world = World()
    with pytest.raises(Lost, match="new incarnation") as lost:
        await world.call(0, meanwhile=lambda: world.known.trust(2, inf, False))
    assert lost.value.sent


async def test_a_new_incarnation_begins_at_nothing() -> None:
    world = World()
    world.known.acknowledge(0, 10)
    world.known.trust(2, inf, False)
    assert (world.known.number, world.known.seq) == (2, 0)
    world.known.trust(1, inf, False)  # old news
    assert world.known.number == 2
    await world.call(0)


async def test_a_fence_of_an_old_incarnation_is_reported_with_what_it_had() -> None:
    world = World()
    world.known.acknowledge(0, 10)

    def meanwhile() -> None:
        world.known.trust(2, inf, False)
        world.known.acknowledge(0, 3)

    with pytest.raises(Fenced):
        await world.refused(Fenced(), meanwhile)
    assert await world.told() == [FencedReport(ref=REF, incarnation=1, acknowledged_seq=10)]


async def test_trust_runs_out_and_does_not_pass_to_the_next_incarnation() -> None:
    world = World()
    world.known.trust(2, world.clock.at_ms + 100, False)
    await world.call(0)
    world.clock.at_ms += 101
    with pytest.raises(Lost, match="ledger cannot be reached") as lost:
        await world.call(0)
    assert lost.value.sent
    world.known.trust(2, world.clock.at_ms + 100, False)
    await world.call(0)


async def test_a_stale_call_looks_the_new_incarnation_up() -> None:
    world = World()
    for ledger, number in ((None, 1), ((2, inf, False), 2)):
        world.ledger = ledger
        with pytest.raises(Stale):
            await world.refused(Stale())
        assert world.known.sent().number == number
    await world.call(0)


async def test_what_was_not_done_is_passed_on() -> None:
    world = World()
    for refusal in (Late(5), BackendUnavailable("away"), Lost("broke", sent=True)):
        with pytest.raises(type(refusal)) as passed:
            await world.refused(refusal)
        assert passed.value is refusal
    assert world.known.why == "broke; try again"
    assert await world.told() == []


async def test_every_so_many_events_the_relay_hears_of_it() -> None:
    world = World()
    world.known.acknowledge(0, 99)
    assert await world.counted() == 0
    world.known.acknowledge(99, 1)
    assert await world.counted() == 1
    world.known.acknowledge(150, 40)  # of two in flight, the later one is told first
    world.known.acknowledge(100, 50)
    assert await world.counted() == 0
    world.known.acknowledge(190, 220)
    assert await world.counted() == 1


async def test_a_pause_ends_when_the_partition_may_be_called_again() -> None:
    world = World()
    pauses = [asyncio.create_task(world.known.pause()) for _ in range(2)]
    await asyncio.sleep(0)
    world.known.rearmed()
    for _ in range(5):  # turns of the loop, no time
        await asyncio.sleep(0)
    assert all(pause.done() for pause in pauses)
    await world.known.pause()  # ends by itself


async def test_what_a_copy_lacks_is_told_to_the_ledger_before_it_counts() -> None:
    world = World()
    world.known.trust(1, inf, True)
    with pytest.raises(Lost, match="a copy is away"):
        await world.call(0, copied=False)
    world.clock.at_ms += 999
    with pytest.raises(Lost, match="a copy is away"):
        await world.call(0, copied=False)
    assert world.marked == []
    world.clock.at_ms += 1
    await world.call(0, copied=False)
    await world.call(0, copied=False)
    assert world.marked == [1]  # once


async def test_a_copy_that_comes_back_in_time_leaves_no_mark() -> None:
    world = World()
    world.known.trust(1, inf, True)
    with pytest.raises(Lost, match="a copy is away"):
        await world.call(0, copied=False)
    world.clock.at_ms += 2000
    await world.call(0)
    with pytest.raises(Lost, match="a copy is away"):
        await world.call(0, copied=False)
    assert world.marked == []


async def test_what_a_copy_lacks_does_not_count_where_the_ledger_cannot_be_told_or_has_ended_it() -> None:
    world = World()
    world.known.trust(1, inf, True)
    with pytest.raises(Lost):
        await world.call(0, copied=False)
    world.clock.at_ms += 1000
    known, world.ledger = world.ledger, None
    with pytest.raises(Lost, match="cannot be told"):
        await world.call(0, copied=False)
    world.ledger, world.open = known, False
    for _ in range(2):
        with pytest.raises(Lost, match="over"):
            await world.call(0, copied=False)
