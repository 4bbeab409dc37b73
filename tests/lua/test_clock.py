"""Opening, closing and deadlines by the shard's clock, which never runs backwards for a partition.

The tests move the partition's stored clock instead of waiting: within 5 s ahead of the real one it is the time."""

from collections.abc import Callable

from tests.lua import invariants
from tests.lua.partition import Decided, Partition, order

Make = Callable[..., Partition]


def real_now(partition: Partition) -> int:
    return int(partition.status()["now_ms"])


def test_not_before_it_opens(still: Make) -> None:
    opens_at = real_now(still()) + 3000
    partition = still(stock=10, opens_at=opens_at)
    assert partition.deduct(order("a")).codes == "N"
    partition.tamper(clock=opens_at - 1)
    assert partition.deduct(order("a")).codes == "N"
    partition.tamper(clock=opens_at)
    assert partition.deduct(order("b")).codes == "A"


def test_not_from_the_moment_it_closes(still: Make) -> None:
    closes_at = real_now(still()) + 4000
    partition = still(stock=10, closes_at=closes_at)
    assert partition.deduct(order("a")).codes == "A"
    partition.tamper(clock=closes_at)
    reply = partition.deduct(order("b"), order("a"))
    assert (reply.codes, reply.quantities) == ("CR", [(1, 1)])
    assert partition.deduct(order("b"), take=False).codes == "C"


def test_without_times_it_is_always_open(partition: Partition) -> None:
    assert partition.deduct(order("a")).codes == "A"


def test_the_clock_of_a_sale_is_kept(partition: Partition) -> None:
    reply = partition.deduct(order("a"))
    assert partition.status()["clock"] == reply.now == partition.entries()[0].at
    assert 0 <= partition.status()["now_ms"] - reply.now < 60_000


def test_within_5_s_it_stands_still_rather_than_run_backwards(partition: Partition) -> None:
    ahead = real_now(partition) + 4000
    partition.tamper(clock=ahead)
    first, second = partition.deduct(order("a")), partition.deduct(order("b"))
    assert ahead <= first.now <= second.now
    assert partition.reclaim(1, 1) == ["OK", 1]
    assert [event.at >= ahead for event in partition.events()] == [True] * 3
    assert partition.status()["clock"] >= ahead
    invariants.check(partition)


def test_more_than_5_s_ahead_is_no_clock_to_sell_by(still: Make) -> None:
    partition = still(stock=100)
    partition.tamper(clock=real_now(partition) + 8_000)
    memory = partition.memory()
    assert partition.deduct(order("a")) == Decided("FENCED")
    assert partition.reclaim(1, 5) == ["FENCED"]
    assert partition.memory() == memory
    partition.tamper(clock=0)
    assert partition.deduct(order("a")).codes == "A"


def test_a_deadline_is_by_the_same_clock(partition: Partition) -> None:
    now = real_now(partition) + 4000
    partition.tamper(clock=now)
    assert partition.deduct(order("a"), deadline=now - 1).kind == "LATE"
    assert partition.deduct(order("a"), deadline=now + 60_000).kind == "OK"
