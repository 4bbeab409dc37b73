"""A key of a partition that is lost by itself (deleted, evicted, set back) is noticed before anything is decided by it:
meta, stream and fence say nothing of it."""

from collections.abc import Callable
from typing import cast

import pytest

from hotsku.domain.order import parse_record
from tests.lua.partition import MARK, Partition, hold, order, step

Make = Callable[..., Partition]

KEYS = ["orders", "buyers", "holds"]


@pytest.fixture
def sold(shared: Make) -> Partition:
    """Two orders of 100 units, one of them a hold; limit 10 a buyer."""
    partition = shared(stock=100, limit=10)
    assert partition.deduct(order("a", 5, "buyer"), hold("b", 1, "buyer")).codes == "AA"
    return partition


def lose(partition: Partition, name: str) -> None:
    assert partition.client.delete(getattr(partition.keys, name)) == 1


@pytest.mark.parametrize("name", KEYS)
def test_it_is_neither_armed_nor_kept(sold: Partition, name: str) -> None:
    lose(sold, name)
    status = sold.status()
    assert (status["whole"], "armed_seq" in status) == (0, False)
    sold.disarm()
    assert sold.arm(1, 2) == ["REFUSED", "orders, buyers or holds are not all there"]
    assert sold.renew(2, keep=2) == ["REFUSED", "its orders are not all there"]
    assert sold.renew(2) == ["OK", "rebuilding"]
    assert sold.finish(2) == ["OK"]
    assert sold.status()["whole"] == 1


def test_an_order_is_not_sold_again(sold: Partition) -> None:
    lose(sold, "orders")
    assert sold.deduct(order("a", 5, "buyer")).kind == "FENCED"
    assert sold.deduct(order("new", 1, "other")).kind == "FENCED"
    assert sold.status()["taken"] == 6


def test_a_step_does_not_miss_its_order(sold: Partition) -> None:
    lose(sold, "orders")
    assert sold.step(step("confirm", "b", buyer="buyer")).kind == "FENCED"
    assert sold.deduct(order("a", 5, "buyer")).kind == "FENCED"


def test_nobody_buys_beyond_the_limit(sold: Partition) -> None:
    lose(sold, "buyers")
    assert sold.deduct(order("c", 10, "buyer")).kind == "FENCED"
    assert sold.status()["taken"] == 6


@pytest.mark.parametrize("name", ["orders", "buyers"])
def test_what_is_written_afterwards_does_not_hide_it(sold: Partition, name: str) -> None:
    lose(sold, name)
    sold.client.hset(getattr(sold.keys, name), "5buyera", "d:5:1:1:1700000000000")
    assert sold.status()["whole"] == 0
    assert sold.deduct(order("a", 5, "buyer")).kind == "FENCED"


def test_the_next_hold_does_not_hide_it(sold: Partition) -> None:
    lose(sold, "holds")
    assert sold.deduct(hold("c", 1, "buyer")).codes == "A"
    assert (sold.status()["whole"], list(sold.holds())) == (0, [order("c", 1, "buyer")[0]])


def test_what_an_earlier_incarnation_had_is_not_all(sold: Partition) -> None:
    """One key alone is set back, behind the library's back."""
    dumped = sold.client.dump(sold.keys.orders)
    sold.disarm()
    assert sold.renew(2, keep=2, limit=10) == ["OK", "armed"]
    assert sold.install(1, 50, incarnation=2) == ["OK", 1]
    assert sold.deduct(order("c", 1, "other"), incarnation=2).codes == "A"
    assert dumped is not None
    sold.client.restore(sold.keys.orders, 0, dumped, replace=True)
    assert sold.status()["whole"] == 0
    assert sold.deduct(order("c", 1, "other"), incarnation=2).kind == "FENCED"


def test_what_is_lost_while_it_is_loaded_is_loaded_again(sold: Partition) -> None:
    sold.disarm()
    sold.renew(2, limit=10)
    sold.load(2, {"5buyera": "d:5:1:1:1700000000000"}, {"buyer": 5})
    lose(sold, "orders")
    sold.load(2, {"5buyerb": "d:1:1:2:1700000000000"}, {"buyer": 6})
    assert sold.finish(2, orders=2, buyers=1)[0] == "REFUSED"
    assert sold.renew(2, limit=10) == ["OK", "rebuilding"]
    assert sold.finish(2, orders=2, buyers=1)[0] == "REFUSED"
    sold.load(2, {"5buyera": "d:5:1:1:1700000000000"})
    assert sold.finish(2, orders=2, buyers=1) == ["OK"]


def test_what_was_being_loaded_is_not_all(sold: Partition) -> None:
    """Half of it comes back, behind the library's back, when all of it was there and armed: at the same seq."""
    sold.disarm()
    sold.renew(2, limit=10)
    half = sold.memory()
    sold.load(2, {"5buyera": "d:5:1:1:1700000000000"}, {"buyer": 5})
    assert sold.finish(2, orders=1, buyers=1) == ["OK"]
    sold.restore(half)
    assert sold.status()["whole"] == 0
    assert sold.install(1, 50, incarnation=2) == ["OK", 1]
    assert sold.deduct(order("a", 5, "buyer"), incarnation=2).kind == "FENCED"


def test_what_is_loaded_once_more_is_not_all_meanwhile(sold: Partition) -> None:
    sold.disarm()
    sold.renew(2, limit=10)
    assert sold.finish(2) == ["OK"]
    sold.disarm(incarnation=2)
    assert sold.renew(2, limit=10) == ["OK", "rebuilding"]
    assert sold.status()["whole"] == 0
    assert (sold.finish(2), sold.status()["whole"]) == (["OK"], 1)


def test_an_order_is_not_told_of(sold: Partition) -> None:
    """The ledger may not have it yet, or not its last step."""
    field = order("a", 5, "buyer")[0]
    assert sold.order(field)[0] is not None
    lose(sold, "orders")
    keys = (sold.keys.meta, sold.keys.orders)
    assert sold.client.fcall_ro("hs_order", 2, *keys, field) == [b"FENCED"]
    sold.client.delete(sold.keys.meta)
    assert sold.client.fcall_ro("hs_order", 2, *keys, field) == [b"FENCED"]


@pytest.mark.parametrize("name", [*KEYS, "stream"])
def test_a_key_of_another_kind_is_none(sold: Partition, name: str) -> None:
    lose(sold, name)
    sold.client.rpush(getattr(sold.keys, name), "whose?")
    status = sold.status()
    assert "armed_seq" not in status
    assert status["stream_seq"] == (0 if name == "stream" else 2)
    sold.disarm()
    assert sold.arm(1, 2)[0] == "REFUSED"
    assert sold.renew(2) == ["OK", "rebuilding"]
    assert sold.finish(2) == ["OK"]
    assert sold.status()["whole"] == 1


WRITES: dict[str, Callable[[Partition], object]] = {
    "deduct": lambda partition: partition.deduct(order("c", 1, "other")).kind,
    "hold": lambda partition: partition.deduct(hold("c", 1, "other")).kind,
    "step": lambda partition: partition.step(step("confirm", "b", buyer="buyer")).kind,
    "reclaim": lambda partition: partition.reclaim(1, 5)[0],
    "expire": lambda partition: partition.expire()[0],
    "release_holds": lambda partition: partition.release_holds()[0],
}


@pytest.mark.parametrize("name", WRITES)
def test_nothing_is_decided_that_only_a_stream_that_is_gone_would_tell(shared: Make, name: str) -> None:
    """Made anew, the stream would lack the events before: the ledger could not follow, and all would be forgotten."""
    sold = shared(stock=100, limit=10)
    due = hold("b", 1, "buyer", ttl_ms=1 if name == "expire" else 10_000)
    assert sold.deduct(order("a", 5, "buyer"), due).codes == "AA"
    sold.tamper(state=2 if name == "release_holds" else 0)
    lose(sold, "stream")
    before = sold.memory().contents
    while (answer := WRITES[name](sold)) == "OK":  # the hold of a millisecond is not over yet
        assert sold.memory().contents == before
    assert answer == "FENCED"
    status = sold.status()
    assert ("armed_seq" in status, status["seq"], status["taken"], status["returned"]) == (False, 2, 6, 0)
    assert not sold.client.exists(sold.keys.stream)
    fields = [order("b", 1, "buyer")[0], order("c", 1, "other")[0]]
    held, new = cast("list[bytes | None]", sold.client.hmget(sold.keys.orders, fields))
    assert held is not None
    assert parse_record(held).state == "held"
    assert new is None


def test_a_stream_is_made_where_there_was_none_or_the_ledger_has_all_of_it(shared: Make) -> None:
    sold = shared(stock=100)
    assert not sold.client.exists(sold.keys.stream)
    assert sold.deduct(order("a")).codes == "A"
    assert len(sold.events()) == 1
    sold.trim(1)
    lose(sold, "stream")  # copied by a tool that leaves empty ones out
    assert sold.deduct(order("b")).codes == "A"
    assert [event.order_id for event in sold.events()] == ["b"]


def test_what_fails_at_a_stream_of_another_kind_has_decided_nothing(sold: Partition) -> None:
    events = sold.client.dump(sold.keys.stream) or b""
    sold.client.set(sold.keys.stream, "whose?")
    before = sold.memory().contents
    assert sold.deduct(hold("c", 1, "other")).kind == "FAILED"
    assert sold.memory().contents == before
    assert sold.deduct(order("c")).kind == "FENCED"
    sold.client.restore(sold.keys.stream, 0, events, replace=True)
    assert sold.status()["stream_seq"] == sold.status()["seq"] == 2


def test_what_fails_behind_its_event_is_seen_to_be_half_done(sold: Partition) -> None:
    """The event is there, and may be followed; what it tells of is not, and nobody takes that for all."""
    holds = sold.client.dump(sold.keys.holds) or b""
    sold.client.set(sold.keys.holds, "whose?")
    assert sold.deduct(hold("c", 1, "other")).kind == "FAILED"
    sold.client.restore(sold.keys.holds, 0, holds, replace=True)
    assert sold.deduct(hold("c", 1, "other")).kind == "FENCED"
    assert (sold.status()["seq"], sold.status()["stream_seq"]) == (2, 3)
    assert [event.order_id for event in sold.events()] == ["a", "b", "c"]
    sold.disarm()
    assert [sold.arm(1, seq)[0] for seq in (2, 3)] == ["REFUSED"] * 2


def test_the_marks_are_no_records(sold: Partition) -> None:
    """They are beside what is there: counted by nobody, due never, and no order."""
    assert sold.client.hget(sold.keys.orders, MARK) == b"1"
    status = sold.status()
    assert (status["orders"], status["holds"]) == (2, 1)
    assert sold.deduct((MARK.decode(), 1)).codes == "X"
    assert sold.step(step("release", "b", buyer="buyer")).codes == "A"
    assert sold.expire() == ["OK", 0, 0, 0]
    sold.tamper(state=2)
    assert sold.release_holds() == ["OK", 0, 0, 0]
    assert sold.release_holds(1) == ["OK", 0, 0, 0]
