"""hs_end, hs_renew, hs_load and hs_finish: a new incarnation in the place of one that was lost."""

from collections.abc import Callable

import pytest

from tests.lua import invariants
from tests.lua.fence import assert_fenced
from tests.lua.partition import Partition, connect, order
from tests.support.servers import TestServer

Make = Callable[..., Partition]

ANOTHER = "1.1"  # a memory that is gone
RECORD_A, RECORD_B = "d:5:1:1:1700000000000", "d:1:1:2:1700000000000"


@pytest.fixture
def sold(shared: Make) -> Partition:
    """Two orders of 100 units, limit 10 a buyer, then unarmed."""
    partition = shared(stock=100, limit=10)
    partition.deduct(order("a", 5, "buyer"), order("b", 1, "buyer"))
    partition.disarm()
    return partition


def test_what_is_over_is_never_armed_again(partition: Partition) -> None:
    partition.deduct(order("a"))
    assert partition.end() == ["OK"]
    assert_fenced(partition)
    assert partition.arm(1, 1) == ["REFUSED", "the incarnation is over"]
    assert partition.end() == ["OK"]


def test_what_is_over_stays_so_where_it_was_armed(partition: Partition) -> None:
    """Its slot went to another server, was ended there, and came back to one that is still armed for it."""
    partition.deduct(order("a"))
    partition.tamper(ended=1)  # as the other server wrote it
    assert_fenced(partition)


def test_what_is_over_before_its_first_lease_is_not_begun_again(shared: Make) -> None:
    partition = shared()
    partition.end()
    assert partition.begin() == ["FENCED"]


def test_the_end_of_another_incarnation_ends_nothing(partition: Partition) -> None:
    assert partition.end(2) == ["OK"]
    assert partition.deduct(order("a")).codes == "A"


def test_kept(sold: Partition) -> None:
    """The same copy of everything, on a server that took over: the orders stay, the stock does not."""
    orders, buyers = sold.records(), sold.buyers()
    assert sold.renew(2, keep=2, limit=10) == ["OK", "armed"]
    status = sold.status()
    assert (status["incarnation"], status["armed_incarnation"], status["armed_seq"]) == (2, 2, 0)
    assert (status["left_a"], status["left_b"], status["installed"], status["taken"], status["lease_no"]) == (0,) * 5
    assert (sold.records(), sold.buyers(), sold.entries()) == (orders, buyers, [])
    assert sold.deduct(order("a", 5, "buyer"), incarnation=1).kind == "STALE"
    assert sold.install(1, 50, incarnation=2) == ["OK", 1]
    decided = sold.deduct(order("a", 5, "buyer"), order("c", 4, "buyer"), order("d", 1, "buyer"), incarnation=2)
    assert decided.codes == "RAL"
    assert [entry.last_seq for entry in sold.entries()] == [1]


def test_kept_only_at_the_seq_that_was_proven(sold: Partition) -> None:
    memory = sold.memory()
    assert sold.renew(2, keep=1)[0] == "REFUSED"
    assert sold.renew(2, keep=3)[0] == "REFUSED"
    assert sold.memory() == memory


def test_rebuilt(sold: Partition) -> None:
    assert sold.renew(2, limit=10) == ["OK", "rebuilding"]
    assert (sold.records(), sold.buyers()) == ({}, {})
    assert sold.deduct(order("a", 5, "buyer"), incarnation=2).kind == "FENCED"
    assert sold.install(1, 50, incarnation=2) == ["FENCED"]
    assert sold.arm(2, 0)[0] == "REFUSED"
    assert sold.load(2, {"5buyera": RECORD_A}, {}) == ["OK"]
    assert sold.renew(2, limit=10) == ["OK", "rebuilding"]  # another recoverer, or the same once more
    assert sold.load(2, {"5buyera": RECORD_A, "5buyerb": RECORD_B}, {"buyer": 6}) == ["OK"]
    assert sold.finish(2) == ["OK"]
    assert sold.finish(2) == ["OK"]
    assert sold.renew(2, limit=10) == ["OK", "armed"]
    assert sold.install(1, 50, incarnation=2) == ["OK", 1]
    assert sold.deduct(order("a", 5, "buyer"), order("c", 5, "buyer"), incarnation=2).codes == "RL"
    assert sold.deduct(order("c", 4, "buyer"), incarnation=2).codes == "A"
    invariants.check(sold, earlier=6)


def test_on_a_server_that_has_nothing(shared: Make) -> None:
    partition = shared()
    partition.client.delete(partition.keys.meta)
    assert partition.renew(3) == ["OK", "rebuilding"]
    assert partition.load(3, {"0a": RECORD_A}) == ["OK"]
    assert partition.finish(3) == ["OK"]
    assert partition.status()["incarnation"] == 3
    assert partition.deduct(order("a", 5), incarnation=3).codes == "R"


def test_late_calls_change_nothing(sold: Partition) -> None:
    """Of a recoverer that was paused while others went on: a sale under the new incarnation is under way."""
    sold.renew(2)
    sold.finish(2)
    sold.install(1, 50, incarnation=2)
    sold.deduct(order("c"), incarnation=2)
    memory = sold.memory()
    assert sold.renew(2)[0] == "REFUSED"
    assert sold.load(2, {"0x": RECORD_A})[0] == "REFUSED"
    assert sold.renew(1)[0] == "STALE"
    assert sold.load(1, {"0x": RECORD_A})[0] == "REFUSED"
    assert sold.finish(1)[0] == "REFUSED"
    assert sold.end(1) == ["OK"]
    assert sold.memory() == memory
    assert sold.deduct(order("d"), incarnation=2).codes == "A"


@pytest.mark.parametrize("keep", [-1, 2])
def test_nothing_follows_from_another_memory(sold: Partition, keep: int) -> None:
    memory = sold.memory()
    assert sold.renew(2, keep=keep, memory=ANOTHER) == ["REFUSED", "the shard has restarted since"]
    assert sold.memory() == memory
    sold.renew(2)
    assert sold.load(2, {"0x": RECORD_A}, memory=ANOTHER)[0] == "REFUSED"
    assert sold.finish(2, memory=ANOTHER)[0] == "REFUSED"


def test_a_restart_in_the_middle_begins_again(server: TestServer) -> None:
    with connect(server) as client:
        partition = Partition.begun(client, stock=100)
        partition.deduct(order("a", 5), order("b"))
        partition.renew(2)
        memory = partition.name_of_memory()
        assert partition.load(2, {"0a": RECORD_A}) == ["OK"]
        server.restart()
        assert partition.load(2, {"0b": RECORD_B}, memory=memory)[0] == "REFUSED"
        assert partition.finish(2, memory=memory)[0] == "REFUSED"
        assert partition.renew(2) == ["OK", "rebuilding"]
        assert partition.load(2, {"0a": RECORD_A, "0b": RECORD_B}) == ["OK"]
        assert partition.finish(2) == ["OK"]
        assert partition.deduct(order("a", 5), order("b"), incarnation=2).codes == "RR"


def test_a_restart_after_the_end_of_rebuilding_loads_once_more(server: TestServer) -> None:
    """Nothing says that the memory which came back has all that was loaded."""
    with connect(server) as client:
        partition = Partition.begun(client, stock=100)
        partition.renew(2)
        partition.finish(2)
        server.restart()
        assert partition.renew(2) == ["OK", "rebuilding"]
        assert partition.finish(2) == ["OK"]


def test_a_replay_is_written_down_for_those_who_wait_for_copies(partition: Partition) -> None:
    partition.deduct(order("a"), copied=True)
    before = partition.client.info("replication")["master_repl_offset"]
    assert partition.deduct(order("a")).codes == "R"
    assert partition.client.info("replication")["master_repl_offset"] == before
    assert partition.deduct(order("a"), copied=True).codes == "R"
    assert partition.client.hget(partition.keys.meta, "replays") == b"1"
    assert partition.deduct(order("b"), order("a"), copied=True).codes == "AR"
    assert partition.client.hget(partition.keys.meta, "replays") == b"1"


def test_what_was_ended_while_it_was_rebuilt_is_not_armed(shared: Make) -> None:
    """By a recoverer that is behind. It would look armed, and answer FENCED for ever."""
    partition = shared(stock=10)
    assert partition.renew(2) == ["OK", "rebuilding"]
    assert partition.end(2) == ["OK"]
    assert partition.finish(2) == ["REFUSED", "the incarnation is over"]
    assert partition.renew(2) == ["REFUSED", "the incarnation is over"]
    assert "armed_seq" not in partition.status()
    assert partition.renew(3) == ["OK", "rebuilding"]
    assert partition.finish(3) == ["OK"]
    assert partition.install(1, 10, incarnation=3) == ["OK", 1]


def test_what_is_over_is_not_armed_whatever_its_fence_says(shared: Make) -> None:
    """Its slot was ended on another server, and came back to one that is armed for it."""
    partition = shared(stock=10)
    assert "armed_seq" in partition.status()
    partition.tamper(ended=1)
    assert "armed_seq" not in partition.status()
    assert partition.arm(1, 0) == ["REFUSED", "the incarnation is over"]
    assert partition.deduct(order("a")).kind == "FENCED"
