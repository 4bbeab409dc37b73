"""hs_deduct and hs_step with batches of several partitions: one call, and each is decided as if it had come alone."""

from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest
import redis

from tests.lua import invariants
from tests.lua.fence import assert_fenced
from tests.lua.partition import (
    FAR,
    Decided,
    Order,
    Partition,
    Stepped,
    connect,
    decided,
    hold,
    order,
    pack,
    step,
    stepped,
)
from tests.support.servers import TestServer


def _call(client: "redis.Redis", name: str, partitions: Sequence[Partition], arguments: Sequence[object]) -> list[Any]:
    keys = [key for partition in partitions for key in partition.all_keys]
    replies = cast("list[list[object]]", client.fcall(name, len(keys), *keys, *arguments))
    return [[part.decode() if isinstance(part, bytes) else part for part in reply] for reply in replies]


def sell(
    client: "redis.Redis",
    *batches: tuple[Partition, Sequence[Order]],
    deadline: int = FAR,
    incarnations: Sequence[int] | None = None,
) -> list[Decided]:
    """One call with a batch a partition."""
    numbers = incarnations or [1] * len(batches)
    words = [each for (_, orders), number in zip(batches, numbers, strict=True) for each in (number, 1, pack(orders))]
    replies = _call(client, "hs_deduct", [partition for partition, _ in batches], [deadline, 0, *words])
    return [decided(reply) for reply in replies]


def take_steps(
    client: "redis.Redis", *batches: tuple[Partition, Sequence[Sequence[object]]], deadline: int = FAR
) -> list[Stepped]:
    words = [each for _, steps in batches for each in (1, msgspec.msgpack.encode(steps))]
    replies = _call(client, "hs_step", [partition for partition, _ in batches], [deadline, 0, *words])
    return [stepped(reply) for reply in replies]


def check(*partitions: Partition, broken: Partition | None = None) -> None:
    for partition in partitions:
        invariants.check(partition, among=[*partitions, *([broken] if broken else [])])


def test_each_partition_sells_its_own_stock_and_writes_its_own_stream(server: TestServer) -> None:
    with connect(server) as client:
        a, b, c = (Partition.begun(client, stock=stock) for stock in (3, 0, 100))
        replies = sell(
            client, (a, [order("x", 2), order("y", 2)]), (b, [order("x")]), (c, [order("x", 5), order("x", 5)])
        )
        assert [reply.codes for reply in replies] == ["AD", "D", "AR"]
        assert [reply.left_a + reply.left_b for reply in replies] == [1, 0, 95]
        assert [len(partition.events()) for partition in (a, b, c)] == [1, 0, 1]
        check(a, b, c)


def test_the_same_orders_again_in_other_company_hear_their_first_answers(server: TestServer) -> None:
    with connect(server) as client:
        a, b = Partition.begun(client, stock=10), Partition.begun(client, stock=10)
        first = sell(client, (a, [order("x")]), (b, [order("x", 2)]))
        again = sell(client, (b, [order("x", 2)]), (a, [order("x")]))
        assert [reply.codes for reply in again] == ["R", "R"]
        assert [reply.quantities for reply in again] == [[(2, 1)], [(1, 1)]]
        assert [reply.now for reply in first] == [reply.now for reply in first[:1]] * 2  # one look at the clock


def test_a_fenced_a_stale_and_a_late_partition_do_not_hold_up_the_others(server: TestServer) -> None:
    with connect(server) as client:
        a, fenced, stale, b = (Partition.begun(client, stock=10) for _ in range(4))
        fenced.disarm()
        memory = stale.memory()
        batches = [(partition, [order("x")]) for partition in (a, fenced, stale, b)]
        replies = sell(client, *batches, incarnations=[1, 1, 0, 1])
        assert [reply.kind for reply in replies] == ["OK", "FENCED", "STALE", "OK"]
        assert stale.memory() == memory
        assert_fenced(fenced)
        assert [reply.kind for reply in sell(client, *batches, deadline=1)] == ["LATE", "FENCED", "LATE", "LATE"]


def test_a_broken_partition_is_fenced_alone_and_its_neighbours_have_sold(server: TestServer) -> None:
    """It fails in the middle of its writes. What the others sold before and after it in the call is told."""
    with connect(server) as client:
        a, broken, b = (Partition.begun(client, stock=10) for _ in range(3))
        client.set(broken.keys.stream, "not a stream")
        replies = sell(client, (a, [order("x")]), (broken, [order("x")]), (b, [order("x")]))
        assert [reply.kind for reply in replies] == ["OK", "FAILED", "OK"]
        client.delete(broken.keys.stream)
        assert_fenced(broken)
        assert [partition.deduct(order("x")).codes for partition in (a, b)] == ["R", "R"]
        check(a, b, broken=broken)


def test_what_is_no_batch_is_refused_with_the_whole_call_before_anything_is_written(server: TestServer) -> None:
    with connect(server) as client:
        a, b = Partition.begun(client, stock=10), Partition.begun(client, stock=10)
        memory = a.memory()
        for bad in (msgspec.msgpack.encode([]), msgspec.msgpack.encode([1, 2]), b""):
            with pytest.raises(redis.ResponseError):
                _call(client, "hs_deduct", [a, b], [FAR, 0, 1, 1, pack([order("x")]), 1, 1, bad])
        with pytest.raises(redis.ResponseError, match="HOTSKU an argument is not an integer"):
            _call(client, "hs_deduct", [a, b], [FAR, 0, 1, 1, pack([order("x")]), "nan", 1, pack([order("x")])])
        for words in ([1, 1, pack([order("x")])], [1, 1, pack([order("x")])] * 3):
            with pytest.raises(redis.ResponseError, match="HOTSKU a partition has 6 keys and 3 arguments"):
                _call(client, "hs_deduct", [a, b], [FAR, 0, *words])
        assert a.memory() == memory
        assert [partition.deduct(order("x")).codes for partition in (a, b)] == ["A", "A"]
        check(a, b)


def test_steps_of_several_partitions_are_taken_together(server: TestServer) -> None:
    with connect(server) as client:
        a, broken, b = (Partition.begun(client, stock=10) for _ in range(3))
        sell(client, *((partition, [hold("x"), order("y")]) for partition in (a, broken, b)))
        client.delete(broken.keys.stream)
        client.set(broken.keys.stream, "not a stream")
        confirm = [step("confirm", "x", "pay-1")]
        replies = take_steps(
            client, (a, confirm), (broken, confirm), (b, [step("release", "x"), step("refund", "y", 1)])
        )
        assert [reply.kind for reply in replies] == ["OK", "FAILED", "OK"]
        assert (replies[0].codes, replies[2].codes) == ("A", "AA")
        client.delete(broken.keys.stream)
        assert_fenced(broken)
        with pytest.raises(redis.ResponseError, match="HOTSKU a partition has 6 keys and 2 arguments"):
            _call(client, "hs_step", [a, b], [FAR, 0, 1, msgspec.msgpack.encode(confirm)])
        check(a, b, broken=broken)


def test_a_step_that_comes_after_its_deadline_does_nothing(server: TestServer) -> None:
    """It may have lain in a socket until its order's record had left the shard and the order begun a new attempt."""
    with connect(server) as client:
        partition = Partition.begun(client, stock=10)
        partition.deduct(hold("x"))
        memory = partition.memory()
        assert partition.step(step("release", "x"), deadline=1).kind == "LATE"
        assert partition.memory() == memory
        assert partition.step(step("release", "x")).codes == "A"
