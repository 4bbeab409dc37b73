"""What becomes of a batch whose answer is none that can be handed out."""

import asyncio
from collections.abc import Sequence
from math import inf

import pytest
from tests.support.listening import HandClock, RecordingSignals

from hotsku.domain.deduction import Deduction
from hotsku.domain.events import PartitionRef
from hotsku.engine.batch_path import BatchPath
from hotsku.engine.calls import Calls
from hotsku.engine.incarnation import KnownIncarnation
from hotsku.engine.needs import NeedsBoard
from hotsku.engine.request import Request
from hotsku.engine.shard_clock import ShardClock
from hotsku.engine.timing import Timing
from hotsku.errors import HotSKUError, OutcomeUnknown
from hotsku.ports import BatchReply, OrderBatch, Refusal, Stale

pytestmark = pytest.mark.anyio

REF = PartitionRef(1, 0)


class Path(BatchPath[OrderBatch, BatchReply, Request]):
    """A partition whose server answers every call with what comes next of `answers`."""

    def __init__(self, answers: list[BatchReply | Refusal]) -> None:
        self.fresh: list[Request] = []
        self.speechless = False
        self._answers = answers
        clock = HandClock()
        incarnation = KnownIncarnation(
            ref=REF,
            sku="a",
            number=1,
            clock=clock,
            board=NeedsBoard("e", RecordingSignals(), clock),
            relay_max_events=100,
            look_up=self._look_up,
            mark_fast=self._mark_fast,
            alone_ms=1_000,
        )
        incarnation.trust(1, inf, replicated=False)
        calls = Calls(self._call, ShardClock(clock, 0), Timing())
        super().__init__(incarnation=incarnation, calls_of=lambda _: calls, clock=clock, timing=Timing())

    def _whoever_waits(self) -> tuple[list[Request], ...]:
        return self._batch, self.fresh

    @property
    def waiting(self) -> int:
        return len(self.fresh)

    async def place(self, order_id: str) -> Deduction:
        future: asyncio.Future[Deduction] = asyncio.get_running_loop().create_future()
        self.fresh.append(Request(order_id, "", future, inf, 0, 1))
        self._wake()
        return await future

    async def _call(self, deadline_ms: int, batches: Sequence[OrderBatch]) -> list[BatchReply | Refusal]:
        return [self._answers.pop(0)]

    async def _look_up(self, ref: PartitionRef) -> tuple[int, float, bool]:
        raise ValueError("a bug")

    async def _mark_fast(self, ref: PartitionRef, incarnation: int) -> bool:
        raise ValueError("a bug")

    def _waits(self) -> bool:
        return bool(self.fresh)

    def _take(self) -> list[Request]:
        batch, self.fresh = self.fresh, []
        return batch

    def _words(self, batch: list[Request], incarnation: int) -> OrderBatch:
        if self.speechless:
            raise ValueError("a bug")
        return OrderBatch(REF, incarnation, True, b"")

    def _decided(self, batch: list[Request], reply: BatchReply) -> None:
        for request in batch:
            request.fail(HotSKUError("decided"))

    def _unknown(self, batch: list[Request], until_ms: int) -> None:
        raise AssertionError("nothing was lost")

    def _give_up(self, request: Request, error: HotSKUError) -> None:
        request.fail(error)


async def test_a_bug_on_the_way_of_an_answer_does_not_silence_its_partition() -> None:
    path = Path([Stale(), BatchReply(0, 0, False, 0, 1, "", [])])
    async with asyncio.timeout(60):
        with pytest.raises(OutcomeUnknown):
            await path.place("o-1")
        with pytest.raises(HotSKUError, match="decided"):
            await path.place("o-2")


async def test_a_bug_where_a_batch_departs_does_not_silence_its_partition() -> None:
    path = Path([BatchReply(0, 0, False, 0, 1, "", [])])
    async with asyncio.timeout(60):
        path.speechless = True
        with pytest.raises(OutcomeUnknown):
            await path.place("o-1")
        path.speechless = False
        with pytest.raises(HotSKUError, match="decided"):
            await path.place("o-2")
