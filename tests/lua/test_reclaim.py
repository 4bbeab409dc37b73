"""hs_reclaim: unsold units leave exactly once, as an event."""

from collections.abc import Callable

from hotsku.domain.events import Event, EventKind
from tests.lua import invariants
from tests.lua.partition import Partition, order

Make = Callable[..., Partition]


def test_units_leave_as_an_event(partition: Partition) -> None:
    partition.deduct(order("a", 30))
    assert partition.reclaim(1, 50) == ["OK", 50]
    status = partition.status()
    assert (status["returned"], status["left_a"] + status["left_b"], status["seq"]) == (50, 20, 2)
    [_, returned] = partition.events()
    assert returned == Event(seq=2, kind=EventKind.RETURNED, quantity=50, at=returned.at)
    assert 0 <= status["now_ms"] - returned.at < 60_000
    invariants.check(partition)


def test_the_same_reclaim_again_takes_nothing_and_says_what_it_took(partition: Partition) -> None:
    assert partition.reclaim(1, 40) == ["OK", 40]
    memory = partition.memory()
    assert partition.reclaim(1, 40) == ["ALREADY", 40]
    assert partition.reclaim(1, 60) == ["ALREADY", 40]
    assert partition.memory() == memory
    assert partition.reclaim(2, 5) == ["OK", 5]
    memory = partition.memory()
    assert partition.reclaim(1, 40) == ["ALREADY", 0]
    assert partition.reclaim(0, 40) == ["ALREADY", 0]
    assert partition.memory() == memory


def test_a_reclaim_out_of_turn(partition: Partition) -> None:
    memory = partition.memory()
    assert partition.reclaim(2, 5) == ["GAP", 0]
    assert partition.memory() == memory
    assert [partition.reclaim(1, 5), partition.reclaim(3, 5)] == [["OK", 5], ["GAP", 1]]


def test_no_more_than_there_is(partition: Partition) -> None:
    partition.deduct(order("a", 97))
    assert partition.reclaim(1, 10**9) == ["OK", 3]
    assert partition.deduct(order("b")).codes == "D"
    invariants.check(partition)


def test_nothing_to_take_is_no_event_and_uses_no_number(partition: Partition) -> None:
    memory = partition.memory()
    assert partition.reclaim(1, 0) == ["OK", 0]
    assert partition.reclaim(1, -5) == ["OK", 0]
    assert partition.memory() == memory
    partition.deduct(order("a", 100))
    assert partition.reclaim(1, 5) == ["OK", 0]
    assert len(partition.events()) == 1
    assert partition.status()["reclaim_no"] == 0


def test_the_standby_gives_first(shared: Make) -> None:
    partition = shared(stock=50, threshold=10)
    partition.install(2, 30, 10)
    assert partition.reclaim(1, 20) == ["OK", 20]
    assert (partition.status()["left_b"], partition.status()["left_a"]) == (50, 10)
    assert partition.reclaim(2, 20) == ["OK", 20]
    assert (partition.status()["left_b"], partition.status()["left_a"]) == (40, 0)
    invariants.check(partition)


def test_what_is_left_in_the_standby_sells(shared: Make) -> None:
    """No unit may be stranded in a bucket that never becomes active."""
    partition = shared(stock=50, threshold=10)
    partition.install(2, 30, 10)
    partition.deduct(order("a", 45))
    partition.reclaim(1, 20)
    left = partition.status()["left_a"] + partition.status()["left_b"]
    assert left == 15
    assert partition.deduct(*[order(f"o{i}") for i in range(15)]).codes == "A" * 15


def test_another_incarnation(partition: Partition) -> None:
    memory = partition.memory()
    assert partition.reclaim(1, 5, incarnation=0) == ["STALE", 1]
    assert partition.reclaim(1, 5, incarnation=2) == ["FENCED"]
    assert partition.memory() == memory
