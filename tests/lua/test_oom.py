"""Out of memory: nothing is sold half, and what gives memory back still works."""

import pytest
import redis

from tests.lua import invariants
from tests.lua.partition import Partition, connect, hold, order, step
from tests.support.servers import TestServer


def test_out_of_memory(server: TestServer) -> None:
    with connect(server) as client:
        partition = Partition.begun(client, stock=100)
        partition.deduct(order("a"), order("b"))
        partition.deduct(order("c"))
        client.config_set("maxmemory", "1mb")
        memory = partition.memory()
        for call in (
            lambda: partition.deduct(order("d")),
            lambda: partition.install(2, 10),
            lambda: Partition(client).begin(),
        ):
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                call()
        assert partition.memory() == memory
        invariants.check(partition)

        assert partition.trim(2) == ["OK"]
        assert [entry.last_seq for entry in partition.entries()] == [3]
        assert partition.reclaim(1, 40) == ["OK", 40]
        invariants.check(partition)

        client.config_set("maxmemory", "0")
        assert partition.deduct(order("c"), order("d")).codes == "RA"
        invariants.check(partition)


def test_a_restart_out_of_memory_is_armed_so_that_it_can_be_trimmed(server: TestServer) -> None:
    with connect(server) as client:
        partition = Partition.begun(client, stock=100)
        partition.deduct(order("a"))
        partition.disarm(seal=True)
        server.restart()
        client.config_set("maxmemory", "1mb")
        assert partition.arm(1, 1) == ["OK"]
        assert partition.trim(1) == ["OK"]
        assert partition.disarm(seal=True) == ["OK"]
        assert partition.status()["sealed"] == 1


def test_a_new_incarnation_begins_out_of_memory(server: TestServer) -> None:
    with connect(server) as client:
        partition = Partition.begun(client, stock=100)
        partition.deduct(order("a"))
        client.config_set("maxmemory", "1mb")
        assert partition.renew(2) == ["OK", "rebuilding"]
        assert partition.finish(2) == ["OK"]
        invariants.check(partition)


def test_orders_lives_go_on_out_of_memory(server: TestServer) -> None:
    with connect(server) as client:
        partition = Partition.begun(client, stock=100, limit=20)
        partition.deduct(*(hold(name, 1, "u", ttl_ms=60_000) for name in "abcdefg"), hold("due", 1, "u", ttl_ms=1))
        partition.tamper(clock=partition.status()["clock"] + 1)
        client.config_set("maxmemory", "1mb")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            partition.deduct(hold("h"))

        steps = [("begin_payment", "a", 5), ("confirm", "a", "p"), ("refund", "a", 0), ("release", "b", "")]
        reply = partition.step(*(step(*asked, "u") for asked in steps), step("extend", "c", 70_000, "u"))
        assert (reply.codes, reply.events) == ("AAAAA", 5)
        assert partition.expire()[1] == 1
        assert partition.configure(version=2, limit=20, state=2) == ["OK", 2]
        assert partition.release_holds()[1] == 5
        assert partition.trim(partition.status()["seq"]) == ["OK"]
        assert partition.order("1ua")[0] == partition.parsed()["1ua"]
        invariants.check(partition)
        assert partition.forget() == ["OK", 7]
        client.config_set("maxmemory", "0")
        assert (set(partition.records()), partition.buyers()) == ({"1ua"}, {"u": 1})
