"""hs_expire, hs_release_holds, hs_forget, hs_configure and hs_order."""

from collections.abc import Callable

import pytest
import redis

from hotsku.domain.deduction import OrderState
from tests.lua import invariants
from tests.lua.partition import FAR, Partition, hold, order, step, words

Make = Callable[..., Partition]


def pass_ms(partition: Partition, ms: int) -> int:
    """Let so much time pass, up to 5 s. Returns the partition's time."""
    now = int(partition.status()["clock"]) + ms
    partition.tamper(clock=now)
    return now


def test_expire_takes_the_oldest_first_and_tells_when_to_come_again(shared: Make) -> None:
    partition = shared(stock=100, limit=10)
    held = [hold(name, 2, "u", ttl_ms=ttl) for name, ttl in (("c", 3), ("a", 1), ("b", 2), ("d", 60_000))]
    now = partition.deduct(*held).now
    pass_ms(partition, 100)
    assert partition.expire(2) == ["OK", 2, now + 3, 0]
    assert [event.order_id for event in partition.events()[4:]] == ["a", "b"]
    assert {field: record.state for field, record in partition.parsed().items()} == {
        "1ua": OrderState.EXPIRED, "1ub": OrderState.EXPIRED, "1uc": OrderState.HELD, "1ud": OrderState.HELD,
    }  # fmt: skip
    assert partition.buyers() == {"u": 4}
    invariants.check(partition)
    assert partition.expire(2) == ["OK", 1, now + 60_000, 0]
    memory = partition.memory()
    assert partition.expire(2) == ["OK", 0, now + 60_000, 0]
    assert partition.memory() == memory
    assert set(partition.ended()) == {"1ua", "1ub", "1uc"}


def test_nothing_is_held(partition: Partition) -> None:
    assert partition.expire() == ["OK", 0, 0, 0]
    partition.deduct(hold("a", ttl_ms=1))
    pass_ms(partition, 1)
    assert partition.expire() == ["OK", 1, 0, 0]


def test_a_hold_ends_at_its_time_and_not_before(still: Make) -> None:
    partition = still(stock=100)
    now = partition.deduct(hold("a", ttl_ms=4_000)).now
    partition.tamper(clock=now + 3_999)
    assert partition.expire()[1] == 0
    partition.tamper(clock=now + 4_000)
    assert partition.expire()[1] == 1


def test_what_was_confirmed_in_time_never_expires(still: Make) -> None:
    partition = still(stock=100)
    partition.deduct(hold("a", ttl_ms=3_000), hold("b", ttl_ms=3_000))
    assert partition.step(step("confirm", "a", "p"), step("extend", "b", 60_000)).codes == "AA"
    pass_ms(partition, 4_000)
    assert partition.expire()[1] == 0
    assert partition.step(step("confirm", "b")).codes == "A"


def test_holds_of_a_closed_item_are_released_but_for_those_in_payment(shared: Make) -> None:
    partition = shared(stock=100, limit=100)
    partition.deduct(*(hold(f"{n}", 1, "u") for n in range(9)), order("plain", 1, "u"), ("1ucart", words(1, "", 5, 1)))
    partition.step(*(step("begin_payment", f"{n}", 5, "u") for n in (0, 3, 4)))
    memory = partition.memory()
    assert partition.release_holds() == ["OK", 0, 0, 0], "the item is open"
    assert partition.memory() == memory
    partition.configure(version=2, state=2, limit=100)
    offset, ended = 0, []
    for _ in range(9):
        _, count, _, offset = partition.release_holds(2, offset)
        ended.append(count)
        if offset == 0:
            break
    assert (sum(ended), offset) == (6, 0)
    assert set(partition.holds()) == {"1u0", "1u3", "1u4", "1ucart"}
    assert set(partition.ended()) == {"1u1", "1u2", "1u5", "1u6", "1u7", "1u8"}
    assert partition.buyers() == {"u": 5}
    assert partition.parsed()["1ucart"].state is OrderState.HELD
    assert [event.kind.value for event in partition.events()[14:]] == ["released"] * 6
    memory = partition.memory()
    assert partition.release_holds()[1:] == [0, 0, 0]
    assert partition.memory() == memory
    invariants.check(partition)


def test_holds_of_a_closed_item_that_are_due_expire(still: Make) -> None:
    partition = still(stock=100)
    partition.deduct(hold("a", ttl_ms=4_000), hold("b", ttl_ms=4_000), hold("c", ttl_ms=60_000))
    assert partition.step(step("begin_payment", "b", 1)).codes == "A"
    pass_ms(partition, 4_000)
    partition.configure(version=2, state=2)
    assert partition.release_holds()[1:] == [3, 0, 0]
    states = {field: record.state.value for field, record in partition.parsed().items()}
    assert states == {"0a": "expired", "0b": "expired", "0c": "released"}


@pytest.fixture
def ended(shared: Make) -> Partition:
    """Five holds that ended one after the other (a to e, events 7 to 11), one that is held, one that is refunded."""
    partition = shared(stock=100)
    partition.deduct(*(hold(name) for name in "abcdef"))
    for name in "abcde":
        partition.step(step("release", name))
        pass_ms(partition, 10)
    partition.deduct(order("g"))
    partition.step(step("refund", "g", 0))
    return partition


def test_forget_by_age(ended: Partition) -> None:
    ended.trim(13)
    times = ended.ended()
    assert ended.forget(times["0c"]) == ["OK", 2]
    assert set(ended.records()) == {f"0{name}" for name in "cdefg"}
    assert set(ended.ended()) == {f"0{name}" for name in "cde"}
    assert ended.forget(times["0c"]) == ["OK", 0]
    assert ended.forget() == ["OK", 3]
    assert set(ended.records()) == {"0f", "0g"}
    assert ended.ended() == {}
    invariants.check_stream(ended)


def test_forget_by_number(ended: Partition) -> None:
    ended.trim(13)
    assert ended.forget(0, keep=3) == ["OK", 2]
    assert set(ended.ended()) == {f"0{name}" for name in "cde"}
    assert ended.forget(0, keep=3) == ["OK", 0]
    assert ended.forget(0, keep=0, most=2) == ["OK", 2]
    assert ended.forget(0, keep=0, most=2) == ["OK", 1]


def test_what_the_ledger_has_not_is_not_forgotten(ended: Partition) -> None:
    memory = ended.memory()
    assert ended.forget(keep=0) == ["OK", 0]
    assert ended.memory() == memory
    ended.trim(8)
    assert ended.forget(keep=0) == ["OK", 2]
    assert set(ended.ended()) == {f"0{name}" for name in "cde"}


def test_ends_of_an_earlier_incarnation_are_in_the_ledger(ended: Partition) -> None:
    assert ended.renew(2, keep=13) == ["OK", "armed"]
    assert ended.forget(incarnation=2) == ["OK", 5]
    assert set(ended.holds()) == {"0f"}


def test_what_was_forgotten_is_a_new_attempt(ended: Partition) -> None:
    ended.trim(13)
    ended.forget()
    reply = ended.deduct(hold("a", 2), order("b"), order("g"))
    assert (reply.codes, reply.seq_before) == ("AAR", 13)
    assert ended.parsed()["0a"].seq == 14
    invariants.check_stream(ended)


def test_a_thousand_at_once(shared: Make) -> None:
    partition = shared(stock=2000, limit=2)
    names = [f"{i:064}" for i in range(1000)]
    for half in (0, 1):
        partition.deduct(*(hold(f"{half}{name[1:]}", 1, name, ttl_ms=1 + 60_000 * half) for name in names))
    pass_ms(partition, 10)
    assert partition.expire(5_000)[1] == 1000
    partition.configure(version=2, state=2, limit=2)
    assert partition.release_holds(5_000)[1] == 1000
    assert partition.buyers() == {}
    partition.trim(4000)
    assert [partition.forget(most=5_000)[1] for _ in range(3)] == [1000, 1000, 0]
    assert partition.records() == {}
    assert partition.status()["seq"] == 4000


def test_the_newest_configuration_is_kept(shared: Make) -> None:
    partition = shared(stock=10)
    memory = partition.memory()
    for version in (0, 1):
        assert partition.configure(version=version, state=2) == ["OK", 1]
    assert partition.memory() == memory
    assert partition.configure(version=3, limit=4, opens_at=5, closes_at=6, state=1, restores=1) == ["OK", 3]
    status = partition.status()
    names = ("version", "limit", "opens_at", "closes_at", "state", "restores")
    assert [status[name] for name in names] == [3, 4, 5, 6, 1, 1]
    assert partition.configure(version=2, state=0) == ["OK", 3]
    assert partition.status() | {"now_ms": 0} == status | {"now_ms": 0}


def test_a_state_that_there_is_not(partition: Partition) -> None:
    memory = partition.memory()
    for state in (-1, 3):
        with pytest.raises(redis.ResponseError, match="state must be 0, 1 or 2"):
            partition.configure(version=2, state=state)
    assert partition.memory() == memory


@pytest.mark.parametrize(("theirs", "kept"), [(1, 3), (3, 3), (4, 4)])
@pytest.mark.parametrize("keep", [0, -1])
def test_a_new_incarnation_keeps_the_newest(partition: Partition, theirs: int, kept: int, keep: int) -> None:
    partition.configure(version=3, state=1, limit=3)
    assert partition.renew(2, keep=keep, version=theirs, state=2, limit=2)[0] == "OK"
    status = partition.status()
    expected = (kept, 2, 2) if theirs >= 3 else (kept, 1, 3)
    assert (status["version"], status["state"], status["limit"]) == expected
    assert partition.renew(2, keep=keep, version=5, state=0)[0] == "OK"


def test_a_partition_of_an_earlier_version_is_open_and_takes_any_configuration(partition: Partition) -> None:
    partition.client.hdel(partition.keys.meta, "version", "state", "restores")
    assert partition.deduct(hold("a"), order("b")).codes == "AA"
    assert partition.step(step("confirm", "a")).codes == "A"
    assert partition.configure(version=1, state=2) == ["OK", 1]
    assert partition.deduct(order("c")).codes == "C"


def test_order_reads_the_record_and_the_partitions_time(still: Make) -> None:
    partition = still(stock=100)
    partition.deduct(hold("a", 2, "u", ttl_ms=4_000))
    record, _ = partition.order("1ua")
    assert record == partition.parsed()["1ua"]
    now = pass_ms(partition, 4_000)
    found, judged_at = partition.order("1ua")
    assert found is not None
    assert (found.state, found.state_at(judged_at), judged_at >= now) == (OrderState.HELD, OrderState.EXPIRED, True)
    assert partition.order("1ub")[0] is None
    assert 0 < judged_at < FAR


def test_what_is_not_armed_tells_of_no_order(partition: Partition) -> None:
    """Its memory may be an older one."""
    partition.deduct(order("a"))
    keys = (partition.keys.meta, partition.keys.orders)
    for change in (partition.disarm, lambda: partition.client.delete(*partition.all_keys)):
        change()
        assert partition.client.fcall_ro("hs_order", 2, *keys, order("a")[0]) == [b"FENCED"]
