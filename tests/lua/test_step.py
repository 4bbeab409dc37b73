"""hs_step: every verb in every state, what it writes, and what a late or repeated step hears."""

from collections.abc import Callable

import pytest
import redis

from hotsku.domain.deduction import OrderState
from hotsku.domain.events import Event, EventKind
from hotsku.domain.routing import order_field
from tests.lua import invariants
from tests.lua.partition import Partition, hold, order, step, words

Make = Callable[..., Partition]

HELD, CONFIRMED, RELEASED, EXPIRED, REFUNDED = OrderState


def held_and_due(partition: Partition, *names: str) -> None:
    """Holds whose time is over: they last no longer than the millisecond."""
    assert partition.deduct(*(hold(name, 3, "u", ttl_ms=1) for name in names)).codes == "A" * len(names)
    now = partition.status()["clock"]
    partition.tamper(clock=now + 1)


def test_confirm(partition: Partition) -> None:
    held = partition.deduct(hold("a", 3, "u", metadata="m"))
    reply = partition.step(step("confirm", "a", "pay-1", "u"))
    assert (reply.kind, reply.seq_before, reply.events, reply.codes) == ("OK", 1, 1, "A")
    [record] = reply.records
    assert partition.parsed() == {order_field("a", "u"): record}
    assert (record.state, record.payment_ref, record.metadata, record.paying) == (CONFIRMED, "pay-1", "m", False)
    assert (record.step_incarnation, record.step_seq, record.step_at_ms) == (1, 2, reply.now)
    assert (record.seq, record.at_ms, record.held) == (1, held.now, True)
    assert partition.holds() == partition.ended() == {}
    assert partition.events()[1] == Event(
        seq=2, kind=EventKind.CONFIRMED, quantity=3, at=reply.now, order_id="a", buyer_id="u", payment_ref="pay-1"
    )
    assert [entry.kind for entry in partition.entries()] == ["mixed", "mixed"]
    invariants.check(partition)


def test_confirm_again(partition: Partition) -> None:
    partition.deduct(hold("a"), hold("b"), order("c"))
    partition.step(step("confirm", "a", "pay-1"), step("confirm", "b"))
    memory = partition.memory()
    asked = [step("confirm", "a", "pay-1"), step("confirm", "a"), step("confirm", "a", "pay-2"), step("confirm", "b")]
    reply = partition.step(*asked, step("confirm", "c"))
    assert (reply.codes, reply.events, len(reply.records)) == ("RRORR", 0, 5)
    assert partition.memory() == memory
    later = partition.step(step("confirm", "b", "pay-3"), step("confirm", "c", "pay-4"), step("confirm", "c", "pay-5"))
    assert (later.codes, later.events) == ("AAO", 2)
    assert [record.payment_ref for record in later.records] == ["pay-3", "pay-4", "pay-4"]


def test_release_gives_the_buyer_room_and_the_buckets_nothing(shared: Make) -> None:
    partition = shared(stock=10, limit=5)
    partition.deduct(hold("a", 3, "u"), order("b", 1, "u"), hold("c", 2, "v"))
    left = partition.status()["left_a"] + partition.status()["left_b"]
    reply = partition.step(step("release", "a", buyer="u"), step("release", "c", buyer="v"))
    assert (reply.codes, [record.state for record in reply.records]) == ("AA", [RELEASED] * 2)
    assert partition.buyers() == {"u": 1}
    assert partition.holds() == {}
    assert partition.ended() == {order_field("a", "u"): reply.now, order_field("c", "v"): reply.now}
    assert partition.status()["left_a"] + partition.status()["left_b"] == left
    assert [event.kind.value for event in partition.events()[3:]] == ["released"] * 2
    assert partition.step(step("release", "a", buyer="u")).codes == "R"
    assert partition.deduct(hold("a", 3, "u"), order("d", 4, "u")).codes == "RA"
    invariants.check(partition)


def test_extend_and_begin_payment_only_ever_lengthen(partition: Partition) -> None:
    first = partition.deduct(hold("a", 1, ttl_ms=60_000)).now + 60_000
    short = partition.step(step("extend", "a", 10))
    assert (short.codes, short.records[0].expires_at_ms) == ("A", first)
    longer = partition.step(step("extend", "a", 100_000))
    assert partition.holds() == {"0a": longer.now + 100_000}
    paying = partition.step(step("begin_payment", "a", 200_000))
    assert (paying.codes, paying.records[0].paying) == ("A", True)
    assert partition.holds() == {"0a": paying.now + 200_000}
    memory = partition.memory()
    assert partition.step(step("begin_payment", "a", 300_000)).codes == "R"
    assert partition.memory() == memory
    expected = [("held", first), ("extended", first), ("extended", longer.now + 100_000)]
    assert [(event.kind.value, event.expires_at) for event in partition.events()] == [
        *expected,
        ("payment_begun", paying.now + 200_000),
    ]
    invariants.check(partition)


def test_refund_in_parts(shared: Make) -> None:
    partition = shared(stock=10, limit=5)
    partition.deduct(order("a", 5, "u"))
    reply = partition.step(*(step("refund", "a", total, "u") for total in (2, 2, 1, 4, 6, 0, 5, 3)))
    assert reply.codes == "ARRAIARR"
    assert [record.refunded for record in reply.records] == [2, 2, 2, 4, 5, 5, 5]
    assert [record.state for record in reply.records] == [CONFIRMED] * 4 + [REFUNDED] * 3
    assert [(event.kind.value, event.quantity) for event in partition.events()[1:]] == [
        ("refunded", 2),
        ("refunded", 2),
        ("refunded", 1),
    ]
    assert partition.buyers() == {"u": 5}, "the item does not restore limits"
    assert partition.ended() == {}, "refunded records never leave"
    invariants.check(partition)


def test_refund_restores_the_limit_where_the_item_says_so(shared: Make) -> None:
    partition = shared(stock=10, limit=5, restores=1)
    partition.deduct(order("a", 5, "u"))
    partition.step(step("refund", "a", 2, "u"))
    assert partition.buyers() == {"u": 3}
    partition.step(step("refund", "a", 0, "u"))
    assert partition.buyers() == {}


NO = {  # state -> what each verb is told there
    HELD: {"refund": "N"},
    CONFIRMED: {"release": "N", "extend": "N", "begin_payment": "N", "confirm": "R"},
    RELEASED: {"confirm": "N", "extend": "N", "begin_payment": "N", "refund": "N", "release": "R"},
    EXPIRED: {"confirm": "N", "extend": "N", "begin_payment": "N", "refund": "N", "release": "N"},
    REFUNDED: {"confirm": "R", "extend": "N", "begin_payment": "N", "refund": "R", "release": "N"},
}
ARGUMENTS: dict[str, object] = {"confirm": "", "extend": 5, "begin_payment": 5, "refund": 0, "release": ""}
WAYS: dict[OrderState, list[str]] = {
    HELD: [], CONFIRMED: ["confirm"], RELEASED: ["release"], EXPIRED: [], REFUNDED: ["confirm", "refund"],
}  # fmt: skip


@pytest.mark.parametrize("state", OrderState)
def test_what_a_state_does_not_allow_changes_nothing(partition: Partition, state: OrderState) -> None:
    partition.deduct(hold("a", 2, ttl_ms=1 if state is EXPIRED else 60_000))
    for verb in WAYS[state]:
        assert partition.step(step(verb, "a", ARGUMENTS[verb])).codes == "A"
    if state is EXPIRED:
        partition.tamper(clock=partition.status()["clock"] + 1)
        assert partition.expire()[1] == 1
    memory = partition.memory()
    for verb, code in NO[state].items():
        reply = partition.step(step(verb, "a", ARGUMENTS[verb]))
        assert (verb, reply.codes, reply.records[0].state) == (verb, code, state)
    assert partition.memory() == memory


@pytest.mark.parametrize("verb", ARGUMENTS)
def test_a_step_after_the_end_of_a_hold_expires_it(shared: Make, verb: str) -> None:
    """Also where the reaper has not come yet."""
    partition = shared(stock=10, limit=4)
    held_and_due(partition, "a")
    reply = partition.step(step(verb, "a", ARGUMENTS[verb], "u"))
    assert (reply.codes, reply.events, reply.records[0].state) == ("N", 1, EXPIRED)
    assert (partition.holds(), list(partition.ended())) == ({}, [order_field("a", "u")])
    assert partition.buyers() == {}
    event = partition.events()[-1]
    assert (event.kind, event.quantity, event.seq) == (EventKind.EXPIRED, 3, 2)
    again = partition.step(step(verb, "a", ARGUMENTS[verb], "u"))
    assert (again.codes, again.events) == ("N", 0)
    assert partition.expire()[1] == 0
    invariants.check(partition)


def test_a_hold_in_payment_expires_as_well(still: Make) -> None:
    partition = still(stock=100)
    partition.deduct(hold("a", ttl_ms=3_000))
    assert partition.step(step("begin_payment", "a", 3_000)).codes == "A"
    partition.tamper(clock=partition.status()["clock"] + 3_000)
    assert partition.step(step("confirm", "a", "pay")).codes == "N"
    assert not partition.parsed()["0a"].paying


def test_a_carts_line_waits_for_its_carts_decision(partition: Partition) -> None:
    partition.deduct(("0a", words(1, "", 1, 1)), ("0b", words(1, "", 1, 1)))
    partition.tamper(clock=partition.status()["clock"] + 1_000)
    memory, due = partition.memory(), min(partition.holds().values())
    assert partition.expire()[1:] == [0, due, 0, "0a", "0b"]
    assert partition.memory() == memory
    assert partition.expire(1)[4:] == ["0a"]
    alone = ("confirm", ""), ("release", ""), ("extend", 1), ("begin_payment", 1), ("refund", 0)
    assert partition.step(*(step(verb, "b", argument) for verb, argument in alone)).codes == "XXXXN"
    reply = partition.step(step("extend", "a", 1, cart=1), step("confirm", "a", "pay", cart=1))
    assert (reply.codes, reply.records[1].state) == ("AA", CONFIRMED)
    reply = partition.step(step("refund", "a", 0), step("refund", "a", 0, cart=1), step("release", "a"))
    assert (reply.codes, reply.records[0].state) == ("ARX", REFUNDED)
    assert partition.step(step("release", "b", cart=1)).codes == "A"
    assert (partition.holds(), list(partition.ended())) == ({}, ["0b"])
    invariants.check(partition)


def test_a_cart_does_not_step_on_others_orders(partition: Partition) -> None:
    partition.deduct(hold("a"), order("b"))
    memory = partition.memory()
    reply = partition.step(*(step(verb, name, ARGUMENTS[verb], cart=1) for verb in ARGUMENTS for name in "ab"))
    assert (reply.codes, reply.events) == ("X" * 10, 0)
    assert partition.memory() == memory


def test_the_same_order_more_than_once_in_a_batch(partition: Partition) -> None:
    partition.deduct(hold("a", 2))
    asked = [
        step("begin_payment", "a", 5), step("begin_payment", "a", 5), step("confirm", "a", "p"),
        step("release", "a"), step("refund", "a", 1), step("confirm", "a", "p"), step("refund", "a", 0),
        step("confirm", "a", "p"),
    ]  # fmt: skip
    reply = partition.step(*asked)
    assert (reply.codes, reply.events) == ("ARANARAR", 4)
    assert [record.step_seq for record in reply.records] == [2, 2, 3, 3, 4, 4, 5, 5]
    assert reply.records[-1] == partition.parsed()["0a"]
    invariants.check(partition)


def test_an_order_that_there_is_not(partition: Partition) -> None:
    memory = partition.memory()
    reply = partition.step(*(step(verb, "a", ARGUMENTS[verb]) for verb in ARGUMENTS))
    assert (reply.codes, reply.records) == ("-----", ())
    assert partition.memory() == memory


@pytest.mark.parametrize("state", [1, 2])
def test_steps_go_on_when_the_item_is_paused_closed_or_not_open(partition: Partition, state: int) -> None:
    partition.deduct(*(hold(name) for name in "abc"))
    partition.configure(version=2, state=state, opens_at=10**13, closes_at=1)
    reply = partition.step(step("confirm", "a"), step("release", "b"), step("extend", "c", 5), step("refund", "a", 0))
    assert reply.codes == "AAAA"


BAD_ARGUMENTS: dict[str, list[object]] = {
    "confirm": [None, 1, True, [], "x" * 129, "é" * 65],
    "extend": [-1, 1.5, 10**11 + 1, "5", None, True],
    "begin_payment": [-1, 1.5, 10**11 + 1, "5", None, True],
    "refund": [-1, 1.5, 10**9 + 1, 4, "1", None, float("nan"), float("inf")],
    "deduct": [""], "expire": [""], "": [""],
}  # fmt: skip


@pytest.mark.parametrize("verb", BAD_ARGUMENTS)
def test_a_bad_argument_is_told_so_and_neighbours_are_served(partition: Partition, verb: str) -> None:
    partition.deduct(order("a", 3), hold("b"))
    bad = [step(verb, "a", argument) for argument in BAD_ARGUMENTS[verb]]
    reply = partition.step(*bad, step("confirm", "b"), *bad)
    assert (reply.codes, reply.events) == ("I" * len(bad) + "A" + "I" * len(bad), 1)
    assert len(reply.records) == 1
    assert partition.parsed()["0a"].step_seq == 0
    invariants.check(partition)


@pytest.mark.parametrize("cart", [2, -1, True, "1", None, 0.5], ids=repr)
def test_what_says_neither_cart_nor_none(partition: Partition, cart: object) -> None:
    partition.deduct(hold("a"))
    assert partition.step(step("confirm", "a", cart=cart)).codes == "I"


def test_words_that_could_be_taken_for_parts_of_a_record(partition: Partition) -> None:
    """Payment references and metadata are found by their lengths alone."""
    confusing = ":c:0:0:0:1:2:3:4:a\0%z()\n"
    partition.deduct(hold("a", metadata=confusing), hold("b", metadata="é" * 128), hold("c", metadata=confusing))
    reply = partition.step(
        step("confirm", "a", confusing), step("confirm", "b", "é" * 64), step("confirm", "c"), step("extend", "c", 1)
    )
    assert reply.codes == "AAAN"
    assert [(record.payment_ref, record.metadata) for record in reply.records[:3]] == [
        (confusing, confusing), ("é" * 64, "é" * 128), ("", confusing),
    ]  # fmt: skip
    assert partition.step(step("refund", "a", 0), step("refund", "b", 0)).codes == "AA"
    records = partition.parsed()
    assert [(records[name].payment_ref, records[name].metadata) for name in ("0a", "0b")] == [
        (confusing, confusing), ("é" * 64, "é" * 128),
    ]  # fmt: skip
    assert [event.payment_ref for event in partition.events()[3:6]] == [confusing, "é" * 64, ""]


def test_a_thousand_steps_in_one_batch(shared: Make) -> None:
    partition = shared(stock=2000, limit=2)
    names = [f"{i:064}" for i in range(1000)]
    partition.deduct(*(hold(name, 2, name, metadata="x" * 256) for name in names))
    for verb, argument in (("extend", 90_000), ("begin_payment", 90_000), ("confirm", "y" * 128), ("refund", 0)):
        reply = partition.step(*(step(verb, name, argument, name) for name in names))
        assert (reply.codes, reply.events) == ("A" * 1000, 1000)
        invariants.check(partition)
    other = shared(stock=2000, limit=2)
    other.deduct(*(hold(name, 2, name) for name in names))
    assert other.step(*(step("release", name, "", name) for name in names)).codes == "A" * 1000
    assert (len(other.ended()), other.buyers(), other.holds()) == (1000, {}, {})


@pytest.mark.parametrize("count", [0, 1001, 5000])
def test_a_batch_of_another_size_is_refused_before_anything_is_written(partition: Partition, count: int) -> None:
    partition.deduct(hold("a"))
    memory = partition.memory()
    with pytest.raises(redis.ResponseError, match="1 to 1000 steps"):
        partition.step(*[step("confirm", "a")] * count)
    assert partition.memory() == memory


NO_STEPS = [None, 1, "confirm", [], ["confirm"], *[["confirm", field, "", 0] for field in (None, "", 5, ["0a"])]]


@pytest.mark.parametrize("bad", NO_STEPS, ids=repr)
def test_what_is_no_step_refuses_the_batch_before_anything_is_written(partition: Partition, bad: list[object]) -> None:
    partition.deduct(hold("a"), hold("b"))
    memory = partition.memory()
    for batch in ([bad, step("confirm", "a")], [step("confirm", "a"), bad, step("confirm", "b")]):
        with pytest.raises(redis.ResponseError):
            partition.step(*batch)
    assert partition.memory() == memory
    assert partition.step(step("confirm", "a")).codes == "A"


def test_a_caller_of_another_incarnation(partition: Partition) -> None:
    partition.deduct(hold("a"))
    memory = partition.memory()
    for incarnation, kind in ((0, "STALE"), (2, "FENCED")):
        assert partition.step(step("confirm", "a"), incarnation=incarnation).kind == kind
        assert partition.expire(incarnation=incarnation)[0] == kind
        assert partition.release_holds(incarnation=incarnation)[0] == kind
        assert partition.forget(incarnation=incarnation)[0] == kind
        assert partition.configure(incarnation, version=9)[0] == kind
    assert partition.memory() == memory


def test_a_step_that_came_before_is_written_down_for_those_who_wait_for_copies(partition: Partition) -> None:
    partition.deduct(hold("a"))
    partition.step(step("confirm", "a"), copied=True)
    assert partition.client.hget(partition.keys.meta, "replays") is None
    assert partition.step(step("confirm", "a")).codes == "R"
    assert partition.client.hget(partition.keys.meta, "replays") is None
    assert partition.step(step("confirm", "a"), step("release", "a"), copied=True).codes == "RN"
    assert partition.client.hget(partition.keys.meta, "replays") == b"1"
    assert partition.step(step("confirm", "none"), copied=True).codes == "-"
    assert partition.client.hget(partition.keys.meta, "replays") == b"1"
