"""hs_begin, hs_arm and hs_disarm: who may sell from this memory."""

from collections.abc import Callable

import pytest

from tests.lua import invariants
from tests.lua.fence import assert_fenced
from tests.lua.partition import MARK, Partition, connect, order
from tests.support.servers import TestServer

Make = Callable[..., Partition]


def test_a_begun_partition_is_armed_and_empty(shared: Make) -> None:
    partition = shared(limit=3, opens_at=5, closes_at=10**13)
    status = partition.status()
    assert status["armed_incarnation"] == status["incarnation"] == 1
    assert (status["limit"], status["opens_at"], status["closes_at"], status["sealed"]) == (3, 5, 10**13, -1)
    assert partition.deduct(order("a")).codes == "D"
    invariants.check(partition)


def test_begin_again_changes_nothing(partition: Partition) -> None:
    partition.deduct(order("a", 5))
    memory = partition.memory()
    assert partition.begin() == ["ALREADY"]
    assert partition.begin(limit=5, closes_at=1) == ["ALREADY"]
    assert partition.begin(incarnation=0) == ["STALE", 1]
    assert partition.begin(incarnation=2) == ["FENCED"]
    assert partition.memory() == memory


def test_begin_after_a_restart_before_the_first_lease(server: TestServer) -> None:
    """Nobody has had stock from it: there is nothing that could be forgotten."""
    with connect(server) as client:
        partition = Partition.begun(client)
        server.restart()
        assert partition.begin() == ["OK"]
        assert partition.install(1, 5) == ["OK", 1]
        assert partition.begin() == ["ALREADY"]
        server.restart()
        assert partition.begin() == ["FENCED"]
        assert partition.status()["left_b"] == 5


def test_begin_does_not_arm_what_had_a_lease_or_an_event(partition: Partition) -> None:
    partition.disarm()
    assert partition.begin() == ["FENCED"]
    partition.arm(1, 0)
    partition.reclaim(1, 100)
    partition.tamper(lease_no=0, installed=100)
    partition.disarm()
    assert partition.begin() == ["FENCED"]


def test_arm_of_an_armed_partition(partition: Partition) -> None:
    partition.deduct(order("a"))
    memory = partition.memory()
    assert partition.arm(1, 1) == ["ALREADY"]
    assert partition.arm(1, 0) == ["REFUSED", "incarnation or seq differs"]
    assert partition.arm(2, 1) == ["REFUSED", "incarnation or seq differs"]
    assert partition.memory() == memory
    assert partition.deduct(order("b")).codes == "A"


def test_arm_of_a_partition_that_is_not_there(shared: Make) -> None:
    assert Partition(shared().client).arm(1, 0) == ["REFUSED", "the shard does not have the partition"]


def test_arm_only_by_the_incarnation_and_seq_that_it_has(partition: Partition) -> None:
    partition.deduct(order("a"), order("b"))
    partition.disarm()
    memory = partition.memory()
    for incarnation, seq in [(1, 1), (1, 3), (0, 2), (2, 2), (1, 0), (1, -1)]:
        assert partition.arm(incarnation, seq) == ["REFUSED", "incarnation or seq differs"]
    assert partition.memory() == memory
    assert partition.arm(1, 2) == ["OK"]
    assert partition.arm(1, 2) == ["ALREADY"]
    assert partition.deduct(order("a"), order("c")).codes == "RA"
    invariants.check(partition)


def _cut_the_stream(partition: Partition) -> None:
    partition.client.delete(partition.keys.stream)


def _shorten_the_stream(partition: Partition) -> None:
    partition.client.delete(partition.keys.stream)
    partition.client.xadd(partition.keys.stream, {"k": "deducted"}, id="1-1")


def _put_another_incarnation_in_the_stream(partition: Partition) -> None:
    partition.client.xadd(partition.keys.stream, {"k": "deducted"}, id="2-2")


def _put_an_event_in_the_stream(partition: Partition) -> None:
    partition.client.xadd(partition.keys.stream, {"k": "deducted"}, id="1-3")


def _go_back_before_the_first_sale(partition: Partition) -> None:
    partition.tamper(seq=0, taken=0, left_b=100)


@pytest.mark.parametrize(
    ("damage", "seq"),
    [
        (_cut_the_stream, 2),
        (_shorten_the_stream, 2),
        (_put_another_incarnation_in_the_stream, 2),
        (_put_an_event_in_the_stream, 2),
        (_go_back_before_the_first_sale, 0),
    ],
)
def test_arm_is_refused_where_the_stream_does_not_end_at_seq(
    partition: Partition, damage: Callable[[Partition], None], seq: int
) -> None:
    partition.deduct(order("a"), order("b"))
    partition.disarm()
    damage(partition)
    assert partition.arm(1, seq) == ["REFUSED", "the stream does not end at seq"]
    assert_fenced(partition)


def test_arm_over_the_stream_of_an_earlier_incarnation(shared: Make) -> None:
    """A new incarnation has no event yet; what the stream holds of the last one stays to be salvaged."""
    partition = shared()
    partition.client.xadd(partition.keys.stream, {"k": "deducted"}, id="1-9")
    partition.tamper(incarnation=2)
    assert partition.arm(2, 0) == ["REFUSED", "the memory changed under an armed fence"]
    partition.tamper(incarnation=1)
    partition.disarm()
    partition.tamper(incarnation=2)
    for key in (partition.keys.orders, partition.keys.buyers):
        partition.client.hset(key, MARK, 2)
    assert partition.arm(2, 0) == ["OK"]
    assert partition.install(1, 5, 1, incarnation=2) == ["OK", 1]
    assert partition.deduct(order("a"), incarnation=2).codes == "A"


@pytest.mark.parametrize(
    "fields", [{"left_a": 1}, {"left_b": -1, "left_a": 99}, {"installed": 101}, {"taken": 0}], ids=str
)
def test_arm_is_refused_where_the_buckets_do_not_add_up(partition: Partition, fields: dict[str, int]) -> None:
    partition.deduct(order("a", 2))
    partition.disarm()
    partition.tamper(**fields)
    assert partition.arm(1, 1) == ["REFUSED", "the buckets do not add up"]
    assert_fenced(partition)


def test_disarm_fences(partition: Partition) -> None:
    partition.deduct(order("a"))
    assert partition.disarm() == ["OK"]
    assert partition.status()["sealed"] == -1
    assert_fenced(partition)
    assert partition.disarm() == ["FENCED"]


def test_disarm_by_another_incarnation_does_nothing(partition: Partition) -> None:
    assert partition.disarm(incarnation=0, seal=True) == ["STALE", 1]
    assert partition.disarm(incarnation=2, seal=True) == ["FENCED"]
    assert partition.status()["sealed"] == -1
    assert partition.deduct(order("a")).codes == "A"


def test_a_seal_says_the_last_seq_until_it_is_armed_again(server: TestServer) -> None:
    with connect(server) as client:
        partition = Partition.begun(client, stock=10)
        partition.deduct(order("a"), order("b"))
        assert partition.disarm(seal=True) == ["OK"]
        assert_fenced(partition)
        server.restart(kill=False)
        assert (partition.status()["sealed"], partition.status()["seq"]) == (2, 2)
        assert_fenced(partition)
        assert partition.arm(1, 2) == ["OK"]
        assert partition.status()["sealed"] == -1
        partition.deduct(order("c"))
        server.restart()
        assert (partition.status()["sealed"], partition.status()["seq"]) == (-1, 3)


def test_the_name_of_a_memory_outlives_calls_and_not_a_restart(server: TestServer) -> None:
    with connect(server) as client:
        partition = Partition.begun(client)
        name = partition.name_of_memory()
        partition.deduct(order("a"))
        assert partition.name_of_memory() == name
        server.restart()
        assert partition.name_of_memory() != name


def test_begin_that_is_late_by_a_restart(server: TestServer) -> None:
    """A paused caller read "never leased to"; meanwhile the partition sold, and its memory was lost and restarted."""
    with connect(server) as client:
        partition = Partition(client)
        before = partition.name_of_memory()
        assert partition.begin() == ["OK"]
        partition.install(1, 5)
        client.flushall()
        server.restart()
        assert partition.begin(memory=before) == ["FENCED"]
        assert partition.status() == {}


def test_arm_that_is_late_by_a_restart(server: TestServer) -> None:
    with connect(server) as client:
        partition = Partition.begun(client, stock=5)
        partition.deduct(order("a"))
        server.restart()
        before = partition.name_of_memory()
        server.restart()
        assert partition.arm(1, 1, memory=before) == ["REFUSED", "the shard has restarted since"]
        assert partition.arm(1, 1) == ["OK"]
