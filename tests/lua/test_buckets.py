"""The two buckets: where stock goes in, where it comes out, when they swap, when a refill is wanted."""

from collections.abc import Callable

from tests.lua import invariants
from tests.lua.partition import Partition, order

Make = Callable[..., Partition]


def filled(shared: Make, selling: int, standby: int, threshold: int) -> Partition:
    """Bucket B sells `selling` units, A stands by with `standby`."""
    partition = shared(stock=selling, threshold=threshold)
    assert partition.install(2, standby, threshold) == ["OK", 2]
    status = partition.status()
    assert (status["active"], status["left_b"], status["left_a"]) == ("b", selling, standby)
    return partition


def test_stock_goes_into_the_standby_only(shared: Make) -> None:
    partition = filled(shared, 50, 50, 10)
    assert partition.install(3, 30, 10) == ["OK", 3]
    status = partition.status()
    assert (status["active"], status["left_b"], status["left_a"]) == ("b", 50, 80)


def test_the_first_stock_sells_at_once(shared: Make) -> None:
    partition = shared()
    assert partition.install(1, 5, 10) == ["OK", 1]
    reply = partition.deduct(order("a"))
    assert (reply.codes, reply.active, reply.left_a, reply.left_b) == ("A", "b", 0, 4)


def test_the_active_bucket_alone_sells_until_it_is_below_the_threshold(shared: Make) -> None:
    partition = filled(shared, 50, 50, 10)
    reply = partition.deduct(order("a", 40))
    assert (reply.active, reply.left_b, reply.left_a) == ("b", 10, 50)
    reply = partition.deduct(order("b", 1))
    assert (reply.active, reply.left_b, reply.left_a) == ("a", 9, 50)
    reply = partition.deduct(order("c", 1))
    assert (reply.active, reply.left_b, reply.left_a) == ("a", 9, 49)


def test_a_leftover_sells_later(shared: Make) -> None:
    partition = filled(shared, 12, 12, 10)
    seen = [partition.deduct(order(f"o{i}", 1)) for i in range(24)]
    assert "".join(reply.codes for reply in seen) == "A" * 24
    # b to 9, a to 9: both are below the threshold, so a empties before b takes over; no swapping at every order.
    assert "".join(reply.active for reply in seen) == "bb" + "a" * 12 + "b" * 10
    invariants.check(partition)


def test_one_order_may_draw_on_both(shared: Make) -> None:
    partition = filled(shared, 10, 10, 5)
    reply = partition.deduct(order("a", 13))
    assert (reply.codes, reply.left_b, reply.left_a, reply.active) == ("A", 0, 7, "a")
    assert partition.deduct(order("b", 8), order("c", 7)).codes == "DD"
    assert partition.deduct(order("c", 7)).codes == "A"
    invariants.check(partition)


def test_refill_is_said_as_long_as_the_standby_is_low(shared: Make) -> None:
    partition = shared(stock=20, threshold=10)
    assert [partition.deduct(order(f"o{i}")).refill for i in range(3)] == [True] * 3
    assert partition.deduct(order("o0"), take=False).refill is True
    assert partition.install(2, 9, 10) == ["OK", 2]
    assert partition.deduct(order("p")).refill is True
    assert partition.install(3, 1, 10) == ["OK", 3]
    assert partition.deduct(order("q")).refill is False
    assert partition.deduct(order("r", 7)).refill is True  # they swapped: the leftover stands by


def test_a_new_lease_switches_where_the_active_bucket_is_low(shared: Make) -> None:
    partition = shared(stock=20, threshold=10)
    partition.deduct(order("a", 15))
    assert partition.install(2, 10, 10) == ["OK", 2]
    status = partition.status()
    assert (status["active"], status["left_a"], status["left_b"]) == ("a", 10, 5)


def test_the_threshold_is_the_last_lease_s_and_at_least_1(shared: Make) -> None:
    partition = shared(stock=20, threshold=10)
    for no, (threshold, kept) in enumerate([(7, 7), (0, 1), (-5, 1)], start=2):
        assert partition.install(no, 5, threshold) == ["OK", no]
        assert partition.status()["threshold"] == kept
