"""What an engine tells the workers: at once when it arises, again while it stands, and not too often."""

import asyncio
from collections.abc import Callable

import pytest
from tests.support.listening import HandClock, RecordingSignals

from hotsku.domain.events import PartitionRef
from hotsku.engine.needs import NeedsBoard
from hotsku.ports import Ask, Counted, FencedReport, Needs, Refill

pytestmark = pytest.mark.anyio

A, B = PartitionRef(1, 0), PartitionRef(1, 1)


class Board:
    """A board, its clock, and what it has told."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.signals = RecordingSignals()
        self.board = NeedsBoard("engine-1", self.signals, self.clock)
        self.waiting = {A: 3, B: 2}
        self.asked: list[tuple[int, float]] = []

    def maker(self, ref: PartitionRef) -> Callable[[int, float], Ask | None]:
        """Asks for what is waiting at `ref`; for nothing where that is 0."""

        def ask(number: int, now_ms: float) -> Ask | None:
            self.asked.append((number, now_ms))
            units = self.waiting[ref]
            return Ask(ref=ref, incarnation=1, waiting=units, smallest=1, age_ms=0) if units else None

        return ask

    def ask(self, ref: PartitionRef) -> None:
        self.board.ask(ref, self.maker(ref))

    async def told(self) -> list[Needs]:
        """What was published since the last look, at the end of this turn of the loop."""
        await asyncio.sleep(0)
        return [signal for signal in self.signals.take() if isinstance(signal, Needs)]

    async def asks(self) -> list[list[tuple[PartitionRef, int]]]:
        return [[(ask.ref, ask.waiting) for ask in needs.asks] for needs in await self.told()]


@pytest.fixture
def board() -> Board:
    return Board()


def refill(ref: PartitionRef = A, taken: int = 0) -> Refill:
    return Refill(ref=ref, incarnation=1, taken=taken, at_ms=0)


def fenced(ref: PartitionRef = A, acknowledged_seq: int = 7) -> FencedReport:
    return FencedReport(ref=ref, incarnation=1, acknowledged_seq=acknowledged_seq)


# --- asks ---


async def test_an_ask_is_told_at_once(board: Board) -> None:
    board.ask(A)
    assert await board.asks() == [[(A, 3)]]
    assert await board.asks() == []


async def test_an_ask_is_told_again_at_every_call_as_it_is_then(board: Board) -> None:
    board.ask(A)
    await board.told()
    for units in (3, 9, 1):
        board.waiting[A] = units
        board.board.repeat_asks()
        assert await board.asks() == [[(A, units)]]


async def test_while_it_stands_it_is_not_told_more_often(board: Board) -> None:
    board.ask(A)
    await board.told()
    board.ask(A)
    assert await board.told() == []


async def test_an_ask_that_nobody_waits_for_stands_no_more(board: Board) -> None:
    board.ask(A)
    board.ask(B)
    await board.told()
    board.waiting[A] = 0
    board.board.repeat_asks()
    assert await board.asks() == [[(B, 2)]]
    board.asked.clear()
    board.board.repeat_asks()
    assert await board.asks() == [[(B, 2)]]
    assert len(board.asked) == 1  # A is not even looked at


async def test_an_ask_may_arise_again(board: Board) -> None:
    board.ask(A)
    await board.told()
    board.waiting[A] = 0
    board.board.repeat_asks()
    await board.told()
    board.waiting[A] = 4
    board.ask(A)
    assert await board.asks() == [[(A, 4)]]


async def test_who_waits_after_all_were_served_is_told_of_at_once(board: Board) -> None:
    board.ask(A)
    board.ask(B)
    await board.told()
    board.board.served(A)
    board.board.repeat_asks()
    assert await board.asks() == [[(B, 2)]]
    board.ask(A)
    assert await board.asks() == [[(A, 3)]]
    board.board.served(PartitionRef(9, 9))  # who never asked


async def test_where_nobody_waits_nothing_is_told(board: Board) -> None:
    board.board.repeat_asks()
    board.waiting[A] = 0
    board.ask(A)
    board.board.repeat_asks()
    assert await board.told() == []


async def test_needs_are_numbered_and_asks_are_made_for_their_number(board: Board) -> None:
    numbers = []
    for _ in range(3):
        board.ask(A)
        board.board.repeat_asks()
        numbers += [needs.no for needs in await board.told()]
    assert numbers == sorted(set(numbers))
    assert {number for number, _ in board.asked} == set(numbers)
    assert {now_ms for _, now_ms in board.asked} == {board.clock.at_ms}


# --- refills, counts, fences ---


async def test_what_arises_in_one_turn_travels_together(board: Board) -> None:
    board.ask(A)
    board.ask(B)
    board.board.refill(refill(A))
    board.board.counted(B)
    board.board.counted(B)
    board.board.fenced(fenced(A))
    (needs,) = await board.told()
    assert needs.engine_id == "engine-1"
    assert [ask.ref for ask in needs.asks] == [A, B]
    assert needs.refills == [refill(A)]
    assert needs.counted == [Counted(ref=B)]
    assert needs.fenced == [fenced(A)]
    assert await board.told() == []


async def test_refills_of_a_partition_are_told_every_20_ms_at_most(board: Board) -> None:
    told = []
    for taken in range(50):
        board.board.refill(refill(A, taken))
        told += [one.taken for needs in await board.told() for one in needs.refills]
        board.clock.at_ms += 4
    assert told == list(range(0, 50, 5))


async def test_partitions_do_not_wait_for_each_other(board: Board) -> None:
    board.board.refill(refill(A))
    await board.told()
    board.board.refill(refill(B))
    board.board.fenced(fenced(A))
    (needs,) = await board.told()
    assert (needs.refills, needs.fenced) == ([refill(B)], [fenced(A)])


async def test_a_fence_is_told_every_100_ms_at_most(board: Board) -> None:
    board.board.fenced(fenced())
    assert len(await board.told()) == 1
    board.clock.at_ms += 99.9
    board.board.fenced(fenced())
    assert await board.told() == []
    board.clock.at_ms += 0.1
    board.board.fenced(fenced(acknowledged_seq=9))
    assert [needs.fenced for needs in await board.told()] == [[fenced(acknowledged_seq=9)]]


async def test_every_count_is_told_once(board: Board) -> None:
    board.board.counted(A)
    assert [needs.counted for needs in await board.told()] == [[Counted(ref=A)]]
    board.board.counted(A)
    assert [needs.counted for needs in await board.told()] == [[Counted(ref=A)]]
    board.ask(B)
    assert [needs.counted for needs in await board.told()] == [[]]
