"""hs_deduct: what a batch of orders is answered, and what it leaves behind."""

from collections.abc import Callable

import pytest
import redis

from hotsku.domain.events import Event, EventKind
from tests.lua import invariants
from tests.lua.partition import Partition, connect, order
from tests.support.servers import TestServer

Make = Callable[..., Partition]


def test_accepts_in_order_and_numbers_each(partition: Partition) -> None:
    first = partition.deduct(order("a", 2, "u"), order("b", 3))
    assert (first.kind, first.seq_before, first.codes, first.taken, first.records) == ("OK", 0, "AA", 5, ())
    assert first.left_a + first.left_b == 95
    second = partition.deduct(order("c"))
    assert (second.seq_before, second.codes) == (2, "A")
    assert partition.events() == [
        Event(seq=1, kind=EventKind.DEDUCTED, quantity=2, at=first.now, order_id="a", buyer_id="u"),
        Event(seq=2, kind=EventKind.DEDUCTED, quantity=3, at=first.now, order_id="b"),
        Event(seq=3, kind=EventKind.DEDUCTED, quantity=1, at=second.now, order_id="c"),
    ]
    assert [(entry.incarnation, entry.last_seq) for entry in partition.entries()] == [(1, 2), (1, 3)]
    invariants.check(partition)


def test_a_record_holds_the_whole_detail(partition: Partition) -> None:
    now = partition.deduct(order("a", 7, "u")).now
    assert partition.records() == {order("a", buyer="u")[0]: f"d:7:1:1:{now}"}


def test_the_same_order_again_hears_its_first_answer(partition: Partition) -> None:
    first = partition.deduct(order("a", 2))
    memory = partition.memory()
    again = partition.deduct(order("a", 2))
    assert (again.codes, again.records) == ("R", (f"d:2:1:1:{first.now}",))
    assert (again.left_a, again.left_b, again.taken) == (first.left_a, first.left_b, 2)
    assert partition.memory() == memory


def test_the_same_order_with_another_quantity_is_a_conflict(partition: Partition) -> None:
    partition.deduct(order("a", 2))
    for quantity in (1, 3, 20, 10**9):
        reply = partition.deduct(order("a", quantity))
        assert (reply.codes, reply.quantities, reply.taken) == ("X", [(2, 1)], 2)


def test_the_same_order_within_one_batch(partition: Partition) -> None:
    reply = partition.deduct(order("a", 2), order("b"), order("a", 2), order("a", 1), order("b"))
    assert (reply.codes, reply.quantities) == ("AARXR", [(2, 1), (2, 1), (1, 2)])
    assert (reply.taken, len(partition.events())) == (3, 2)
    invariants.check(partition)


def test_the_buyer_is_part_of_the_order(partition: Partition) -> None:
    """("ab", "c") and ("a", "bc") would be one key if their parts were only put together."""
    assert partition.deduct(order("c", 1, "ab"), order("bc", 2, "a"), order("abc", 3)).codes == "AAA"
    assert partition.deduct(order("c", 1, "ab"), order("bc", 2, "a"), order("abc", 3)).codes == "RRR"


def test_an_order_is_served_whole_or_not_at_all(shared: Make) -> None:
    partition = shared(stock=5)
    assert partition.deduct(order("a", 6)).codes == "D"
    assert partition.deduct(order("a", 5)).codes == "A"
    assert partition.deduct(order("b", 1)).codes == "D"
    assert partition.events()[0].quantity == 5


def test_whoever_comes_after_a_dry_order_waits_behind_it(shared: Make) -> None:
    partition = shared(stock=5)
    assert partition.deduct(order("a", 2), order("big", 4), order("small", 1), order("a", 2)).codes == "ADDR"
    assert partition.deduct(order("small", 1)).codes == "A"


def test_take_0_answers_from_the_records_only(partition: Partition) -> None:
    partition.deduct(order("a", 2))
    memory = partition.memory()
    reply = partition.deduct(order("a", 2), order("a", 1), order("b"), order("c", 0), take=False)
    assert (reply.codes, reply.quantities) == ("RXDI", [(2, 1), (2, 1)])
    assert partition.memory() == memory


def test_limit_counts_units_of_a_buyer_over_batches_and_within_one(shared: Make) -> None:
    partition = shared(stock=100, limit=3)
    assert (
        partition.deduct(order("a", 2, "u"), order("b", 2, "u"), order("c", 1, "u"), order("d", 3, "v")).codes == "ALAA"
    )
    assert partition.deduct(order("e", 1, "u"), order("f", 1, "v"), order("g", 4, "w")).codes == "LLL"
    assert partition.deduct(order("a", 2, "u"), order("b", 2, "u")).codes == "RL"
    assert partition.buyers() == {"u": 3, "v": 3}
    invariants.check(partition)


def test_only_what_was_accepted_counts_towards_the_limit(shared: Make) -> None:
    partition = shared(stock=2, limit=2)
    assert partition.deduct(order("a", 1, "u"), order("b", 2, "v"), order("c", 1, "u")).codes == "ADD"
    assert partition.buyers() == {"u": 1}
    assert partition.deduct(order("c", 1, "u")).codes == "A"


def test_without_a_limit_nobody_is_counted(partition: Partition) -> None:
    assert partition.deduct(order("a", 90, "u")).codes == "A"
    assert partition.buyers() == {}


def test_records_answer_after_sell_out_limit_and_close(shared: Make) -> None:
    partition = shared(stock=2, limit=2)
    first = partition.deduct(order("a", 2, "u"))
    for fields in ({"limit": 2}, {"limit": 1}, {"opens_at": 10**13}, {"closes_at": 1}):
        partition.tamper(**fields)
        reply = partition.deduct(order("a", 2, "u"), order("a", 1, "u"))
        assert (reply.codes, reply.records) == ("RX", (f"d:2:1:1:{first.now}",) * 2)


def test_the_order_of_questions(shared: Make) -> None:
    """Closed before early, before the limit, before stock; a quantity that is none before all."""
    partition = shared(stock=1, limit=2)
    asked = [order("zero", 0, "u"), order("over", 3, "u"), order("dry", 2, "u"), order("fits", 1, "u")]
    assert partition.deduct(*asked).codes == "ILDD"
    partition.tamper(opens_at=10**13)
    assert partition.deduct(*asked).codes == "INNN"
    partition.tamper(closes_at=1)
    assert partition.deduct(*asked).codes == "ICCC"
    partition.tamper(opens_at=0, closes_at=0)
    assert partition.deduct(asked[3]).codes == "A"


def test_a_thousand_orders_in_one_batch(shared: Make) -> None:
    partition = shared(stock=2000, limit=1)
    asked = [order(f"{i:064}", 1, f"{i:064}") for i in range(1000)]
    assert partition.deduct(*asked).codes == "A" * 1000
    again = partition.deduct(*asked)
    assert (again.codes, [seq for _, seq in again.quantities]) == ("R" * 1000, list(range(1, 1001)))
    assert len(partition.entries()) == 1
    invariants.check(partition)


@pytest.mark.parametrize("count", [0, 1001, 5000, 20_000])
def test_a_batch_of_another_size_is_refused_before_anything_is_written(partition: Partition, count: int) -> None:
    memory = partition.memory()
    with pytest.raises(redis.ResponseError, match="1 to 1000 orders"):
        partition.deduct(*[order(f"o{i}") for i in range(count)])
    assert partition.memory() == memory
    assert partition.deduct(order("a")).codes == "A"


def test_past_its_deadline_nothing_happens(partition: Partition) -> None:
    now = partition.deduct(order("a")).now
    memory = partition.memory()
    late = partition.deduct(order("a"), order("b"), deadline=now - 1)
    assert late.kind == "LATE"
    assert late.now >= now
    assert partition.memory() == memory


def test_a_caller_of_an_older_incarnation_is_stale_and_one_of_a_newer_is_fenced(partition: Partition) -> None:
    memory = partition.memory()
    assert partition.deduct(order("a"), incarnation=0).kind == "STALE"
    assert partition.deduct(order("a"), incarnation=2).kind == "FENCED"
    assert partition.memory() == memory


def test_too_many_events_that_the_ledger_lacks_refuse_new_sales(server: TestServer) -> None:
    with connect(server) as client:
        partition = Partition.begun(client, stock=10)
        partition.deduct(order("a"))
        partition.tamper(seq=1_000_000)
        client.xadd(partition.keys.stream, {"k": "deducted"}, id="1-1000000")
        server.restart()
        assert partition.arm(1, 1_000_000) == ["OK"]
        assert partition.deduct(order("a"), order("b")).codes == "RF"
        assert partition.trim(1) == ["OK"]
        assert partition.deduct(order("b"), order("c")).codes == "AF"
