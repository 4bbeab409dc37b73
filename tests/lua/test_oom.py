"""Out of memory: nothing is sold half, and what gives memory back still works."""

import pytest
import redis

from tests.lua import invariants
from tests.lua.partition import Partition, connect, order
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
