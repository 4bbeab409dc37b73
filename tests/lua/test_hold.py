"""hs_deduct with words: holds, carts' lines, metadata; and what a paused or closed item answers."""

from collections.abc import Callable

import pytest

from hotsku.domain.deduction import OrderState
from hotsku.domain.events import Event, EventKind
from hotsku.domain.order import OrderRecord
from hotsku.domain.routing import order_field
from tests.lua import invariants
from tests.lua.partition import Order, Partition, hold, order, words

Make = Callable[..., Partition]

# What could be taken for parts of a record.
CONFUSING = "::h:1:2:\n%d+()\0é"


def test_a_hold_keeps_its_units_until_it_expires(partition: Partition) -> None:
    reply = partition.deduct(hold("a", 3, "u", ttl_ms=60_000, metadata=CONFUSING))
    assert (reply.codes, reply.taken, reply.left_a + reply.left_b) == ("A", 3, 97)
    until = reply.now + 60_000
    field = order_field("a", "u")
    assert partition.parsed() == {
        field: OrderRecord(
            3, 1, 1, reply.now, held=True, state=OrderState.HELD, expires_at_ms=until, metadata=CONFUSING
        )
    }
    assert partition.holds() == {field: until}
    assert partition.events() == [
        Event(
            seq=1, kind=EventKind.HELD, quantity=3, at=reply.now, order_id="a", buyer_id="u", expires_at=until,
            metadata=CONFUSING,
        )
    ]  # fmt: skip
    invariants.check(partition)


def test_a_deduction_with_metadata(partition: Partition) -> None:
    reply = partition.deduct((order("a")[0], words(2, CONFUSING)))
    assert partition.parsed() == {"0a": OrderRecord(2, 1, 1, reply.now, metadata=CONFUSING)}
    assert partition.holds() == {}
    [event] = partition.events()
    assert (event.kind, event.metadata, event.expires_at) == (EventKind.DEDUCTED, CONFUSING, 0)


def test_words_that_say_nothing_are_a_plain_deduction(partition: Partition) -> None:
    now = partition.deduct(("0a", words(2))).now
    assert partition.records() == {"0a": f"d:2:1:1:{now}"}
    assert [entry.kind for entry in partition.entries()] == ["deducted"]
    assert partition.deduct(order("a", 2), ("0a", words(2))).codes == "RR"


def test_a_carts_line_is_among_the_holds(partition: Partition) -> None:
    reply = partition.deduct(("0a", words(1, "", 1000, 1)))
    assert reply.codes == "A"
    assert partition.parsed()["0a"].cart
    assert partition.holds() == {"0a": reply.now + 1000}
    assert partition.events()[0].cart


def test_all_kinds_in_one_batch_are_one_entry_in_their_order(partition: Partition) -> None:
    reply = partition.deduct(
        order("a", 2), hold("b", 3), ("0c", words(1, "m")), order("d"), ("0e", words(1, "", 5, 1)), hold("b", 3)
    )
    assert reply.codes == "AAAAAR"
    assert [entry.kind for entry in partition.entries()] == ["mixed"]
    events = [(event.seq, event.kind.value, event.order_id, event.quantity) for event in partition.events()]
    assert events == [
        (1, "deducted", "a", 2), (2, "held", "b", 3), (3, "deducted", "c", 1), (4, "deducted", "d", 1),
        (5, "held", "e", 1),
    ]  # fmt: skip
    assert sorted(record.seq for record in partition.parsed().values()) == [1, 2, 3, 4, 5]
    invariants.check(partition)


SAME: dict[str, list[Order]] = {
    "deducted": [order("x", 2), ("0x", words(2)), ("0x", words(2, "m"))],
    "held": [hold("x", 2), hold("x", 2, ttl_ms=1, metadata="m")],
    "cart": [("0x", words(2, "", 9_000, 1)), ("0x", words(2, "m", 1, 1))],
}


@pytest.mark.parametrize("born", SAME)
def test_another_verb_or_quantity_is_a_conflict(shared: Make, born: str) -> None:
    for first in SAME[born]:
        for other, again in SAME.items():
            partition = shared(stock=10)
            assert partition.deduct(first).codes == "A"
            reply = partition.deduct(*again)
            assert reply.codes == ("R" if other == born else "X") * len(again)
            assert reply.records == (partition.records()["0x"],) * len(again)
            assert partition.deduct(order("x", 3), hold("x", 3), ("0x", words(3, "", 1, 1))).codes == "XXX"


NO_WORDS = [
    [], [1], [1, "m"], [1, "m", 0], [1, 5, 0, 0], [1, None, 0, 0], [1, "", -1, 0], [1, "", 1.5, 0],
    [1, "", 10**11 + 1, 0], [1, "", "5", 0], [1, "", 5, 2], [1, "", 5, True], [1, "", 0, 1], [1, "x" * 257, 0, 0],
    [1, "é" * 129, 0, 0], [0, "", 5, 0], [-1, "", 5, 0], [1.5, "", 5, 0], [10**9 + 1, "", 5, 0], ["1", "", 5, 0],
    [float("nan"), "", 5, 0], [None, "", 5, 0], [1, "", float("nan"), 0], [1, "", float("inf"), 0],
    {"quantity": 1}, [[1], "", 5, 0],
]  # fmt: skip


@pytest.mark.parametrize("what", NO_WORDS, ids=lambda what: repr(what)[:30])
def test_bad_words_are_told_so_and_neighbours_are_served(partition: Partition, what: object) -> None:
    assert partition.deduct(order("a"), ("0bad", what), hold("b")).codes == "AIA"
    assert set(partition.records()) == {"0a", "0b"}
    invariants.check(partition)


def test_words_of_the_largest_size(shared: Make) -> None:
    partition = shared(stock=10**9)
    assert partition.deduct(("0a", words(10**9, "x" * 256, 10**11))).codes == "A"
    record = partition.parsed()["0a"]
    assert (record.quantity, len(record.metadata), record.expires_at_ms) == (10**9, 256, record.at_ms + 10**11)


def test_a_thousand_holds_in_one_batch(shared: Make) -> None:
    partition = shared(stock=2000, limit=1)
    asked = [hold(f"{i:064}", 1, f"{i:064}", metadata="x" * 256) for i in range(1000)]
    assert partition.deduct(*asked).codes == "A" * 1000
    assert partition.deduct(*asked).codes == "R" * 1000
    assert (len(partition.holds()), len(partition.entries())) == (1000, 1)
    invariants.check(partition)


def test_holds_count_towards_the_limit(shared: Make) -> None:
    partition = shared(stock=10, limit=2)
    assert partition.deduct(hold("a", 1, "u"), order("b", 1, "u"), hold("c", 1, "u")).codes == "AAL"


def test_the_order_of_questions_with_states(shared: Make) -> None:
    """The record, then closed before paused, paused before early."""
    partition = shared(stock=3, limit=2)
    assert partition.deduct(hold("a", 1, "u")).codes == "A"
    asked = [hold("a", 1, "u"), order("bad", 0), hold("over", 9, "v"), order("b")]
    assert partition.configure(version=2, state=1, opens_at=10**13, limit=2) == ["OK", 2]
    assert partition.deduct(*asked).codes == "RIPP"
    assert partition.deduct(*asked, take=False).codes == "RIPP"
    assert partition.configure(version=3, state=2, opens_at=10**13, limit=2) == ["OK", 3]
    assert partition.deduct(*asked).codes == "RICC"
    assert partition.configure(version=4, state=1, closes_at=1, limit=2) == ["OK", 4]
    assert partition.deduct(*asked).codes == "RICC"
    assert partition.configure(version=5, limit=2) == ["OK", 5]
    assert partition.deduct(*asked).codes == "RILA"
