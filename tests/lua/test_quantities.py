"""hs_deduct against what is no order: nothing is lost, nothing is half done, and the stream stays readable."""

from collections.abc import Callable
from functools import partial

import msgspec
import pytest
import redis

from tests.lua import invariants
from tests.lua.partition import Partition, order, step

NO_QUANTITIES = [
    0, -1, 1.5, 0.999999, float("nan"), float("inf"), float("-inf"), 10**9 + 1, 10**12, 2**53 + 1, 2**63 - 1, -(2**63),
    2**64 - 1, 1e300, "3", "", "nan", True, False, None, [], [1], {}, {"1": 1},
]  # fmt: skip


@pytest.mark.parametrize("quantity", NO_QUANTITIES, ids=repr)
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_what_is_no_quantity_is_told_so_and_its_neighbours_are_served(
    partition: Partition, quantity: object, place: str
) -> None:
    asked = [order("a", 2), order("b", 3)]
    asked.insert({"first": 0, "middle": 1, "last": 2}[place], order("bad", quantity))
    codes = partition.deduct(*asked).codes
    assert codes == "".join("A" if type(asked_for) is int and asked_for in (2, 3) else "I" for _, asked_for in asked)
    assert [(event.order_id, event.quantity) for event in partition.events()] == [("a", 2), ("b", 3)]
    invariants.check(partition)


@pytest.mark.parametrize("quantity", [0, 1.5, float("nan"), "3", None], ids=repr)
def test_a_known_order_without_a_quantity_is_told_the_same(partition: Partition, quantity: object) -> None:
    partition.deduct(order("a", 3))
    assert partition.deduct(order("a", quantity)).codes == "I"


def test_the_largest_quantity(shared: Callable[..., Partition]) -> None:
    partition = shared(stock=10**9)
    assert partition.deduct(order("a", 10**9)).codes == "A"
    assert partition.deduct(order("a", 10**9)).quantities == [(10**9, 1)]
    assert partition.events()[0].quantity == 10**9
    invariants.check(partition)


def test_a_whole_float_leaves_an_integer_in_the_stream(partition: Partition) -> None:
    assert partition.deduct(order("a", 2.0), order("b", 70_000.0)).codes == "AD"
    assert partition.events()[0].quantity == 2


@pytest.mark.parametrize("length", [1, 30, 31, 32, 33, 63, 64])
@pytest.mark.parametrize("buyer_length", [0, 1, 31, 64])
def test_ids_of_every_length(shared: Callable[..., Partition], length: int, buyer_length: int) -> None:
    """Up to 129 bytes in a field: msgpack changes its encoding on the way."""
    partition = shared(stock=10, limit=5)
    asked = order("o" * length, 2, "=" * buyer_length)
    assert partition.deduct(asked, asked).codes == "AR"
    event = partition.events()[0]
    assert (event.order_id, event.buyer_id, event.quantity) == ("o" * length, "=" * buyer_length, 2)
    assert partition.buyers() == {"=" * buyer_length: 2}


@pytest.mark.parametrize("quantity", [b"1", msgspec.msgpack.Ext(1, b"1")], ids=["bytes", "extension"])
def test_what_the_shard_cannot_decode_refuses_the_batch_before_anything_is_written(
    partition: Partition, quantity: object
) -> None:
    memory = partition.memory()
    with pytest.raises(redis.ResponseError, match="Bad data format"):
        partition.deduct(order("a", 2), order("bad", quantity), order("b", 3))
    assert partition.memory() == memory
    assert partition.deduct(order("a")).codes == "A"


@pytest.mark.parametrize("value", [None, True, 5, 1.5, "", [], ["0a"], {"a": 1}], ids=repr)
def test_what_is_no_order_field_refuses_the_batch_before_anything_is_written(
    partition: Partition, value: object
) -> None:
    memory = partition.memory()
    for batch in ([value, 1, "0a", 2], ["0a", 2, value, 1]):
        with pytest.raises(redis.ResponseError):
            partition.deduct(raw=msgspec.msgpack.encode(batch))
    assert partition.memory() == memory
    assert partition.deduct(order("a")).codes == "A"


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\xc1", b"\x92", b"\x92\xa20a", b"\xc0", b"\xa3abc", b"\x07", b"\x81\x01\x02",
        msgspec.msgpack.encode({1: "0a", 2: 1}), msgspec.msgpack.encode({1: "0a", 2: 1, "x": 5}),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_batch_is_refused_before_anything_is_written(partition: Partition, raw: bytes) -> None:
    memory = partition.memory()
    with pytest.raises(redis.ResponseError):
        partition.deduct(raw=raw)
    assert partition.memory() == memory
    assert partition.deduct(order("a")).codes == "A"


def test_what_follows_a_batch_does_not_reach_the_stream(partition: Partition) -> None:
    encode = msgspec.msgpack.encode
    assert partition.deduct(raw=encode(["0a", 1]) + b"\xc0").codes == "A"
    assert partition.deduct(raw=encode(["0b", 1, None, None])).codes == "A"
    assert [event.order_id for event in partition.events()] == ["a", "b"]


CONFIGURATION = ["version", "limit", "opens_at", "closes_at", "state", "restores"]
NO_INTEGERS = ["nan", "inf", "-inf", "1.5", "", "x"]


@pytest.mark.parametrize("value", NO_INTEGERS)
def test_arguments_that_are_no_integers_end_the_call_before_anything_is_written(
    partition: Partition, value: str
) -> None:
    partition.deduct(order("a"))
    memory = partition.memory()
    calls: list[Callable[[], object]] = [
        lambda: partition.deduct(order("b"), incarnation=value),
        lambda: partition.deduct(order("b"), deadline=value),
        lambda: partition.install(value, 5),
        lambda: partition.install(2, value),
        lambda: partition.install(2, 5, value),
        lambda: partition.install(2, 5, 1, value),
        lambda: partition.reclaim(value, 5),
        lambda: partition.reclaim(1, value),
        lambda: partition.reclaim(1, 5, value),
        lambda: partition.trim(value),
        lambda: partition.trim(1, value),
        lambda: partition.arm(value, 1),
        lambda: partition.arm(1, value),
        lambda: partition.disarm(incarnation=value),
        lambda: partition.step(step("release", "a"), incarnation=value),
        lambda: partition.expire(value),
        lambda: partition.expire(1, value),
        lambda: partition.release_holds(value),
        lambda: partition.release_holds(1, value),
        lambda: partition.release_holds(1, 0, value),
        lambda: partition.forget(value),
        lambda: partition.forget(1, value),
        lambda: partition.forget(1, 1, value),
        lambda: partition.forget(1, 1, 1, value),
        lambda: partition.configure(value, version=2),
        *(partial(partition.configure, **{name: value}) for name in CONFIGURATION),
        *(partial(partition.renew, 2, keep=1, **{name: value}) for name in CONFIGURATION),
    ]
    for call in calls:
        with pytest.raises(redis.ResponseError, match="not an integer"):
            call()
    assert partition.memory() == memory
    invariants.check(partition)
