"""hs_install: every lease exactly once, in order, whatever arrives twice, late or out of turn."""

from collections.abc import Callable

import pytest
import redis

from tests.lua import invariants
from tests.lua.partition import Partition, order

Make = Callable[..., Partition]


def test_the_same_lease_again_adds_nothing(shared: Make) -> None:
    partition = shared(stock=10)
    memory = partition.memory()
    assert partition.install(1, 10) == ["ALREADY", 1]
    assert partition.install(1, 999, 50) == ["ALREADY", 1]
    assert partition.install(0, 10) == ["ALREADY", 1]
    assert partition.install(-1, 10) == ["ALREADY", 1]
    assert partition.memory() == memory


def test_a_lease_whose_predecessor_is_missing_waits(shared: Make) -> None:
    partition = shared(stock=10)
    memory = partition.memory()
    assert partition.install(3, 10) == ["GAP", 1]
    assert partition.install(10**9, 10) == ["GAP", 1]
    assert partition.memory() == memory
    assert [partition.install(no, 10) for no in (2, 3, 2)] == [["OK", 2], ["OK", 3], ["ALREADY", 3]]
    assert partition.status()["installed"] == 30
    invariants.check(partition)


def test_a_lease_that_comes_late_does_not_come_back(shared: Make) -> None:
    """Its units have been sold meanwhile: a second installation would sell them again."""
    partition = shared(stock=10)
    assert partition.deduct(order("a", 10)).codes == "A"
    assert partition.install(1, 10) == ["ALREADY", 1]
    assert partition.deduct(order("b", 1)).codes == "D"


@pytest.mark.parametrize("quantity", [0, -1, 10**9 + 1, 10**12])
def test_a_quantity_that_is_none_is_refused_and_its_number_stays_free(shared: Make, quantity: int) -> None:
    partition = shared(stock=10)
    memory = partition.memory()
    with pytest.raises(redis.ResponseError, match="quantity must be an integer from 1 to"):
        partition.install(2, quantity)
    assert partition.memory() == memory
    assert partition.install(2, 10**9) == ["OK", 2]


def test_another_incarnation(partition: Partition) -> None:
    memory = partition.memory()
    assert partition.install(2, 10, 1, incarnation=0) == ["STALE", 1]
    assert partition.install(2, 10, 1, incarnation=2) == ["FENCED"]
    assert partition.memory() == memory


def test_a_sale_is_not_an_event_of_the_lease(partition: Partition) -> None:
    """A lease is the ledger's own doing: it has no seq, and the stream says nothing of it."""
    assert partition.status()["seq"] == 0
    assert partition.events() == []
