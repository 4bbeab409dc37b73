"""The volatile fence: memory that was lost, or went back in time, decides nothing."""

from collections.abc import Callable

import pytest
import redis

from hotsku.shard import library
from tests.lua import invariants
from tests.lua.fence import assert_fenced, debug_reload
from tests.lua.partition import Partition, connect, hold, order, pack, step
from tests.support.servers import TestServer

# Each of them has sold two units (orders a and b) of 100 when the disaster comes.


def kill(server: TestServer, partition: Partition) -> None:
    server.restart()


def stop(server: TestServer, partition: Partition) -> None:
    server.restart(kill=False)


def replace_library(server: TestServer, partition: Partition) -> None:
    partition.client.function_load(library.source(), replace=True)


def reload_library(server: TestServer, partition: Partition) -> None:
    partition.client.function_flush()
    partition.client.function_load(library.source())


def flush(server: TestServer, partition: Partition) -> None:
    partition.client.flushall()


def delete_meta(server: TestServer, partition: Partition) -> None:
    partition.client.delete(partition.keys.meta)


def swap_databases(server: TestServer, partition: Partition) -> None:
    partition.client.swapdb(0, 1)


MEMORY_STAYS = [kill, stop, debug_reload, replace_library, reload_library]
MEMORY_GOES = [flush, delete_meta, swap_databases]
Disaster = Callable[[TestServer, Partition], None]


@pytest.mark.parametrize("disaster", MEMORY_STAYS)
def test_what_was_proven_is_armed_again_with_everything_in_its_place(server: TestServer, disaster: Disaster) -> None:
    with connect(server) as client:
        partition = Partition.begun(client, stock=100, limit=2)
        partition.deduct(order("a", 1, "u"), order("b", 1, "v"))
        partition.trim(1)
        memory = partition.memory()
        disaster(server, partition)
        assert "armed_seq" not in partition.status()
        assert partition.memory() == memory
        assert_fenced(partition)
        assert [partition.arm(*wrong)[0] for wrong in [(1, 1), (1, 3), (2, 2)]] == ["REFUSED"] * 3
        assert_fenced(partition)
        assert partition.arm(1, 2) == ["OK"]
        assert partition.deduct(order("a", 1, "u"), order("c", 2, "v"), order("d", 1, "v")).codes == "RLA"
        assert partition.install(1, 100) == ["ALREADY", 1]
        assert partition.install(2, 5) == ["OK", 2]
        invariants.check(partition)


@pytest.mark.parametrize("disaster", MEMORY_GOES)
def test_what_is_gone_cannot_be_armed(server: TestServer, disaster: Disaster) -> None:
    with connect(server) as client:
        partition = Partition.begun(client, stock=100)
        partition.deduct(order("a"), order("b"))
        disaster(server, partition)
        assert partition.status() == {}
        assert_fenced(partition)
        assert [partition.arm(1, seq)[0] for seq in (0, 2)] == ["REFUSED"] * 2
        assert_fenced(partition)


@pytest.mark.parametrize("deletes_first", [False, True])
def test_an_older_copy_of_the_memory(server: TestServer, deletes_first: bool) -> None:
    """A sale between the copy and its return is forgotten by the memory, but not by the fence."""
    with connect(server) as client:
        partition = Partition.begun(client, stock=100)
        partition.deduct(order("a"))
        older = partition.memory()
        partition.deduct(order("b"))
        newer = partition.memory()
        if deletes_first:
            client.flushall()
        partition.restore(older)
        assert_fenced(partition)
        assert partition.arm(1, 1) == ["REFUSED", "the memory changed under an armed fence"]
        assert partition.arm(1, 2) == ["REFUSED", "incarnation or seq differs"]
        assert_fenced(partition)
        partition.restore(newer)
        assert partition.deduct(order("a"), order("b"), order("c")).codes == "RRA"


def test_an_older_copy_that_had_no_reclaim(server: TestServer) -> None:
    with connect(server) as client:
        partition = Partition.begun(client, stock=100)
        older = partition.memory()
        partition.reclaim(1, 100)
        partition.restore(older)
        assert_fenced(partition)


def test_an_older_copy_that_only_lacks_a_lease_takes_the_lease_again(server: TestServer) -> None:
    """Nothing was sold since, so the older memory is as good: the ledger's lease is installed once more, not twice."""
    with connect(server) as client:
        partition = Partition.begun(client, stock=100)
        partition.deduct(order("a", 10))
        older = partition.memory()
        partition.install(2, 50)
        partition.restore(older)
        assert partition.install(3, 5) == ["GAP", 1]
        assert partition.install(2, 50) == ["OK", 2]
        assert partition.status()["left_a"] + partition.status()["left_b"] == 140
        invariants.check(partition)


def _sell(partition: Partition) -> None:
    assert partition.deduct(order("c")).kind == "FAILED"


def _hold(partition: Partition) -> None:
    assert partition.deduct(hold("c", metadata="m")).kind == "FAILED"


def _step(partition: Partition) -> None:
    assert partition.step(step("refund", "a", 0)).kind == "FAILED"


def _reclaim(partition: Partition) -> None:
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        partition.reclaim(1, 5)


def _trim(partition: Partition) -> None:
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        partition.trim(2)


@pytest.mark.parametrize("break_in", [_sell, _hold, _step, _reclaim, _trim])
def test_a_script_that_broke_half_way_stays_fenced(server: TestServer, break_in: Callable[[Partition], None]) -> None:
    """Scripts do not roll back: what a broken one left is for a person to look at, not to sell from."""
    with connect(server) as client:
        partition = Partition.begun(client, stock=100)
        partition.deduct(order("a"), order("b"))
        stream = client.dump(partition.keys.stream) or b""
        client.delete(partition.keys.stream)
        client.set(partition.keys.stream, "not a stream")
        break_in(partition)
        client.delete(partition.keys.stream)
        client.restore(partition.keys.stream, 0, stream)
        assert "armed_seq" not in partition.status()
        assert_fenced(partition)
        assert partition.arm(1, partition.status()["seq"])[0] == "REFUSED"
        assert_fenced(partition)


@pytest.mark.parametrize("ahead", ["meta", "stream"])
def test_a_half_done_sale_is_not_armed_after_a_restart(server: TestServer, ahead: str) -> None:
    """The meta hash or the stream has a sale that the other does not know of."""
    with connect(server) as client:
        partition = Partition.begun(client, stock=100)
        partition.deduct(order("a"), order("b"))
        if ahead == "meta":
            partition.tamper(seq=3)
        else:
            client.xadd(partition.keys.stream, {"k": "deducted", "t": 1, "e": pack([order("c")])}, id="1-3")
        server.restart()
        assert [partition.arm(1, seq)[0] for seq in (2, 3)] == ["REFUSED"] * 2
        assert_fenced(partition)


def test_a_sale_that_failed_at_its_event_is_not_there_after_a_restart(server: TestServer) -> None:
    with connect(server) as client:
        partition = Partition.begun(client, stock=100)
        partition.deduct(order("a"), order("b"))
        stream = client.dump(partition.keys.stream) or b""
        client.set(partition.keys.stream, "not a stream")
        _sell(partition)
        client.restore(partition.keys.stream, 0, stream, replace=True)
        server.restart()
        assert partition.arm(1, 2) == ["OK"]
        assert partition.deduct(order("a"), order("c")).codes == "RA"
        invariants.check(partition)


@pytest.mark.parametrize("incarnation", [0, 2])
def test_memory_of_another_incarnation_with_the_same_seq(server: TestServer, incarnation: int) -> None:
    with connect(server) as client:
        partition = Partition.begun(client, stock=100)
        partition.deduct(order("a"))
        partition.tamper(incarnation=incarnation)
        for claimed in (0, 1, 2):
            assert partition.deduct(order("b"), incarnation=claimed).kind == "FENCED"
            assert partition.install(2, 5, 1, claimed) == ["FENCED"]
        assert partition.arm(incarnation, 1) == ["REFUSED", "the memory changed under an armed fence"]


def test_a_file_whose_end_is_torn_off_holds_whole_sales_only(valkey: TestServer) -> None:
    """Whatever a crash leaves of the last write: a sale is there with all that belongs to it, or not at all; also after
    the next restart. (Redis 7.0 leaves the torn part in its file and carries it out at the next restart.)"""
    with connect(valkey) as client:
        partition = Partition.begun(client, stock=100, limit=50)
        for name in "abcdefgh":
            partition.deduct(order(name, 2, "u"), order(f"{name}{name}", 1))
        for cut in (1, 100, 150, 300, 450):  # bytes
            seq = partition.status()["seq"]
            valkey.kill()
            [file] = valkey.spec.data.glob("appendonlydir/*.incr.aof")
            with file.open("r+b") as opened:
                opened.truncate(file.stat().st_size - cut)
            valkey.start()
            assert partition.status()["seq"] < seq
            assert_fenced(partition)
            assert partition.arm(1, seq)[0] == "REFUSED"
            assert partition.arm(1, partition.status()["seq"]) == ["OK"]
            assert partition.deduct(order(f"after-{cut}", 1)).codes == "A"
            valkey.restart()
            assert partition.arm(1, partition.status()["seq"]) == ["OK"]
            assert partition.status()["orders"] == partition.status()["seq"]
            assert sum(partition.buyers().values()) == partition.status()["taken"]
            invariants.check(partition)


def test_a_torn_step_is_taken_again(valkey: TestServer) -> None:
    """Of a step that is not on disk nothing is there: neither its record, nor its event, nor the buyer's count."""
    with connect(valkey) as client:
        partition = Partition.begun(client, stock=100, limit=50)
        partition.deduct(hold("a", 2, "u"), hold("b", 3, "u"))
        before = partition.memory()
        steps = [step("confirm", "a", "p", "u"), step("release", "b", "", "u")]
        assert partition.step(*steps).codes == "AA"
        valkey.kill()
        [file] = valkey.spec.data.glob("appendonlydir/*.incr.aof")
        with file.open("r+b") as opened:
            opened.truncate(file.stat().st_size - 1)
        valkey.start()
        assert partition.memory() == before
        assert_fenced(partition)
        assert partition.arm(1, 4)[0] == "REFUSED"
        assert partition.arm(1, 2) == ["OK"]
        assert partition.step(*steps, *steps).codes == "AARR"
        assert partition.buyers() == {"u": 2}
        invariants.check(partition)


def test_an_older_copy_of_the_memory_takes_no_step(server: TestServer) -> None:
    """It holds what was confirmed since: nobody may release it."""
    with connect(server) as client:
        partition = Partition.begun(client, stock=100)
        partition.deduct(hold("a"))
        older = partition.memory()
        assert partition.step(step("confirm", "a", "p")).codes == "A"
        newer = partition.memory()
        partition.restore(older)
        assert_fenced(partition)
        partition.restore(newer)
        assert partition.step(step("release", "a")).codes == "N"


def test_a_partition_of_another_name_is_not_fenced_with_it(server: TestServer) -> None:
    with connect(server) as client:
        lost, other = (Partition.begun(client, stock=10) for _ in range(2))
        lost.deduct(order("a"))
        client.delete(lost.keys.meta)
        assert lost.deduct(order("a")).kind == "FENCED"
        assert other.deduct(order("a")).codes == "A"
