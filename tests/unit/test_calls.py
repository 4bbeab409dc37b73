"""Calls: whose batches travel together, who waits, and what one partition's trouble does to the others."""

import asyncio
from collections.abc import Sequence

import pytest
from tests.support.listening import HandClock

from hotsku.domain.events import PartitionRef
from hotsku.engine.calls import Calls
from hotsku.engine.shard_clock import ShardClock
from hotsku.engine.timing import Timing
from hotsku.ports import BatchReply, Late, Lost, OrderBatch, Refusal

pytestmark = pytest.mark.anyio

Answer = BatchReply | Refusal


def reply(now_ms: int = 5_000) -> BatchReply:
    return BatchReply(0, 0, False, 0, now_ms, "", [])


class Server:
    """Answers a call when the test says so."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.shard_clock = ShardClock(self.clock, 1_000)
        self.calls: Calls[OrderBatch, BatchReply] = Calls(
            self._call, self.shard_clock, Timing(deadline_ms=2_000, two_calls_from=32)
        )
        self.under_way: list[tuple[list[int], int, asyncio.Future[list[Answer]]]] = []

    async def _call(self, deadline_ms: int, batches: Sequence[OrderBatch]) -> list[Answer]:
        answer: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self.under_way.append(([batch.ref.partition for batch in batches], deadline_ms, answer))
        return await answer

    async def want(self, *numbers: int, size: int = 200) -> list["Partition"]:
        """Partitions that want to send a batch each."""
        made = [Partition(self, number, size) for number in numbers]
        for partition in made:
            self.calls.want(partition)
        await turns_of_the_loop()
        return made

    @property
    def sent(self) -> list[list[int]]:
        """The partitions of each call under way."""
        return [numbers for numbers, _, _ in self.under_way]

    async def answer(self, answers: Sequence[Answer] | None = None) -> None:
        """The oldest call under way is answered: each batch with a reply, unless told otherwise."""
        numbers, _, future = self.under_way.pop(0)
        future.set_result(list(answers) if answers else [reply()] * len(numbers))
        await turns_of_the_loop()


class Partition:
    """Sends one batch of `size` requests."""

    def __init__(self, server: Server, number: int, size: int) -> None:
        self.heard: list[Answer] = []
        self.batches = 1
        self._number = number
        self._size = size

    @property
    def waiting(self) -> int:
        return self._size if self.batches else 0

    def depart(self) -> tuple[OrderBatch, int] | None:
        self.batches -= 1
        return None if self.batches < 0 else (OrderBatch(PartitionRef(1, self._number), 1, True, b""), self._size)

    def hear(self, answer: Answer, deadline_ms: int) -> None:
        self.heard.append(answer)


async def turns_of_the_loop(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_two_calls_share_those_who_want_to_send() -> None:
    server = Server()
    await server.want(*range(5))
    assert server.sent == [[0, 1, 2], [3, 4]]


async def test_a_third_call_waits_for_one_to_be_answered() -> None:
    server = Server()
    early, late = await server.want(*range(4)), await server.want(4, 5)
    assert server.sent == [[0, 1], [2, 3]]
    await server.answer()
    assert [len(partition.heard) for partition in early] == [1, 1, 0, 0]
    assert server.sent == [[2, 3], [4, 5]]
    await server.answer()
    await server.answer()
    assert [len(partition.heard) for partition in (*early, *late)] == [1] * 6


async def test_few_orders_are_not_split() -> None:
    """Each call has a sync of its own, which costs more than they do."""
    server = Server()
    await server.want(*range(15), size=2)
    assert server.sent == [list(range(15))]


async def test_few_orders_wait_for_the_call_under_way_and_more_do_not() -> None:
    server = Server()
    await server.want(0, size=10)
    await server.want(1, size=20)
    assert server.sent == [[0]]
    await server.answer()
    assert server.sent == [[1]]
    await server.want(2, size=11)
    assert server.sent == [[1]]
    await server.want(3, size=1)
    assert server.sent == [[1], [2, 3]]


async def test_who_comes_while_one_call_is_small_leaves_the_other_its_half() -> None:
    server = Server()
    await server.want(0)
    await server.want(1, 2, 3)
    assert server.sent == [[0], [1, 2]]


async def test_two_calls_do_not_leave_in_one_turn_of_the_loop() -> None:
    """Both would reach the server in one write, and be synced and answered as one."""
    server = Server()
    for number in range(2):
        server.calls.want(Partition(server, number, 200))
    seen = []
    for _ in range(6):
        await asyncio.sleep(0)
        seen.append(len(server.sent))
    assert sorted(set(seen)) == [0, 1, 2]


async def test_a_call_is_not_too_long() -> None:
    """A large batch goes with few others, for those behind it wait; many small ones go together."""
    server = Server()
    await server.want(*range(4), size=600)
    assert server.sent == [[0, 1], [2, 3]]
    await server.answer()
    await server.answer()
    await server.want(*range(8), size=1000)
    assert server.sent == [[0], [1], [2], [3]]  # the server is never to wait for such as these
    for _ in range(8):
        await server.answer()
    await server.want(*range(400), size=1)
    assert [len(call) for call in server.sent] == [112, 112]


async def test_who_has_nothing_to_send_any_more_is_left_out() -> None:
    server = Server()
    gone, here = Partition(server, 0, 200), Partition(server, 1, 200)
    gone.batches = 0
    server.calls.want(gone)
    await turns_of_the_loop()
    assert server.sent == []
    server.calls.want(here)
    await turns_of_the_loop()
    assert server.sent == [[1]]


async def test_each_hears_its_own_answer_and_the_next_deadline_is_by_the_servers_time() -> None:
    server = Server()
    partitions = [*await server.want(0, 1, 2), *await server.want(3, size=200)]
    await server.answer([Lost("gone", sent=True), Late(7_000)])
    assert [type(each) for partition in partitions[:2] for each in partition.heard] == [Lost, Late]
    assert server.shard_clock.in_ms(0) == 7_000
    _, deadline_ms, _ = server.under_way[-1]
    assert deadline_ms == 9_000  # the next call's: by the server's clock


@pytest.mark.parametrize("answers", [[reply(7_000), reply(5_000)], [reply(5_000), Late(7_000)]])
async def test_of_several_times_the_latest_counts(answers: list[Answer]) -> None:
    """Else a partition whose clock is ahead of the others' would be late again each time."""
    server = Server()
    await server.want(0, 1, size=10)
    await server.answer(answers)
    await server.want(0, 1, size=10)
    _, deadline_ms, _ = server.under_way[-1]
    assert deadline_ms == 9_000


async def test_a_call_that_breaks_off_makes_room_for_others() -> None:
    server = Server()
    await server.want(0, 1)
    _, _, future = server.under_way.pop(0)
    future.cancel()
    await turns_of_the_loop()
    await server.want(2)
    assert server.sent == [[1], [2]]


async def test_a_partition_hears_whatever_becomes_of_its_call() -> None:
    """One that never heard would never send again, and its callers would wait for ever."""
    server = Server()
    partitions = await server.want(0, 1, 2)
    await server.answer([reply()])  # to two
    _, _, future = server.under_way.pop(0)
    future.set_exception(ValueError("no reply at all"))
    await turns_of_the_loop()
    heard = [partition.heard for partition in partitions]
    assert [[isinstance(each, Lost) and each.sent for each in told] for told in heard] == [[True]] * 3
    await server.want(3)
    assert server.sent == [[3]]
