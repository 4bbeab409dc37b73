"""Rounds: who gets a turn together, and who waits."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hotsku.engine.rounds import Round, Rounds

pytestmark = pytest.mark.anyio


class Partition:
    """Waits for a turn, and keeps it until told to end."""

    def __init__(self, rounds: Rounds) -> None:
        self.round: Round | None = None
        self._end = asyncio.Event()
        self.task = asyncio.create_task(self._take(rounds))

    async def _take(self, rounds: Rounds) -> None:
        self.round = await rounds.turn()
        with self.round:
            await self._end.wait()

    def end(self) -> None:
        self._end.set()


class Crowd:
    """Partitions that want to send to one server."""

    def __init__(self) -> None:
        self.rounds = Rounds()
        self._all: list[Partition] = []

    async def come(self, count: int) -> list[Partition]:
        """So many more want a turn at once."""
        made = [Partition(self.rounds) for _ in range(count)]
        self._all += made
        await _turns_of_the_loop()
        return made

    async def go(self) -> None:
        """All have their turns, and end them."""
        for partition in self._all:
            partition.end()
        await asyncio.gather(*(partition.task for partition in self._all))


@pytest.fixture
async def crowd() -> AsyncIterator[Crowd]:
    made = Crowd()
    yield made
    await made.go()


async def _turns_of_the_loop(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def _sharing(made: list[Partition]) -> list[int]:
    """Their rounds by number, 0 for those that wait."""
    numbers: dict[Round | None, int] = {None: 0}
    return [numbers.setdefault(partition.round, len(numbers)) for partition in made]


async def test_two_rounds_share_those_who_want_to_send(crowd: Crowd) -> None:
    assert _sharing(await crowd.come(5)) == [1, 1, 1, 2, 2]


async def test_a_third_round_waits_for_one_to_end(crowd: Crowd) -> None:
    early, late = await crowd.come(4), await crowd.come(2)
    assert _sharing(late) == [0, 0]
    early[0].end()
    await _turns_of_the_loop()
    assert _sharing(late) == [0, 0]  # the other turn of its round is not over
    early[1].end()
    await _turns_of_the_loop()
    assert _sharing([*early[2:], *late]) == [1, 1, 2, 2]


async def test_who_comes_while_one_round_is_small_leaves_the_other_its_half(crowd: Crowd) -> None:
    first = await crowd.come(1)
    assert _sharing([*first, *await crowd.come(3)]) == [1, 2, 2, 0]


async def test_two_rounds_are_not_opened_in_one_turn_of_the_loop(crowd: Crowd) -> None:
    """Both would reach the server in one write, and be synced and answered as one."""
    waiting = [asyncio.create_task(crowd.rounds.turn()) for _ in range(2)]
    seen = set()
    while not all(turn.done() for turn in waiting):
        await asyncio.sleep(0)
        seen.add(sum(turn.done() for turn in waiting))
    assert seen == {0, 1, 2}
    for turn in waiting:
        with turn.result():
            pass
    await _is_idle(crowd)


async def test_a_round_is_of_sixteen_at_most(crowd: Crowd) -> None:
    assert _sharing(await crowd.come(40)) == [1] * 16 + [2] * 16 + [0] * 8


async def test_who_gave_up_gets_no_turn(crowd: Crowd) -> None:
    early = await crowd.come(2)
    gone = asyncio.create_task(crowd.rounds.turn())
    await _turns_of_the_loop()
    late = await crowd.come(2)
    await _cancelled(gone)
    early[0].end()
    await _turns_of_the_loop()
    assert _sharing(late) == [1, 1]  # half of those who want to send, and who gave up is none of them
    await crowd.go()
    await _is_idle(crowd)


async def test_a_turn_that_nobody_takes_any_more_is_over(crowd: Crowd) -> None:
    gone = asyncio.create_task(crowd.rounds.turn())
    await asyncio.sleep(0)  # it waits
    asyncio.get_running_loop().call_soon(gone.cancel)  # right after its turn has come
    await asyncio.gather(gone, return_exceptions=True)
    assert gone.cancelled()
    await _is_idle(crowd)


async def test_a_fault_ends_a_turn(crowd: Crowd) -> None:
    with pytest.raises(ZeroDivisionError), await crowd.rounds.turn():
        raise ZeroDivisionError
    await _is_idle(crowd)


async def _cancelled(turn: "asyncio.Task[Round]") -> None:
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    assert turn.cancelled()


async def _is_idle(crowd: Crowd) -> None:
    """Two rounds can be opened, as at first."""
    assert _sharing(await crowd.come(2)) == [1, 2]
