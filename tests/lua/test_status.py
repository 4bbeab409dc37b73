"""hs_status, and the typed reading of it that the rest of HotSKU uses."""

from collections.abc import Callable

import pytest

from hotsku.domain.events import PartitionRef
from hotsku.ports import PartitionStatus
from hotsku.shard.address import Address
from hotsku.shard.keys import Keys
from hotsku.shard.router import Router
from hotsku.shard.shard import WireShard
from hotsku.shard.topology import OneServer
from tests.lua.partition import Partition, order
from tests.support.servers import TestServer

Make = Callable[..., Partition]

NAMES = {
    "incarnation", "seq", "active", "left_a", "left_b", "threshold", "installed", "taken", "returned", "lease_no",
    "reclaim_no", "reclaimed", "trimmed", "limit", "opens_at", "closes_at", "clock", "sealed",
    "rebuilding", "ended",
    "version", "state", "restores",
}  # fmt: skip
READ = {"whole", "stream_incarnation", "stream_seq", "orders", "holds", "now_ms"}
FENCE = {"armed_incarnation", "armed_seq"}


def test_every_field_and_no_other(partition: Partition) -> None:
    partition.deduct(order("a", 3), order("b"))
    status = partition.status()
    assert set(status) == NAMES | READ | FENCE
    assert (status["armed_incarnation"], status["armed_seq"]) == (1, 2)
    assert (status["stream_incarnation"], status["stream_seq"], status["orders"]) == (1, 2, 2)


def test_of_an_unarmed_partition_the_fence_is_absent(partition: Partition) -> None:
    partition.disarm()
    assert set(partition.status()) == NAMES | READ


def test_of_a_partition_that_is_not_there_nothing_is(shared: Make) -> None:
    partition = shared()
    partition.client.delete(*partition.all_keys)
    assert partition.status() == {}


def test_it_writes_nothing(partition: Partition) -> None:
    partition.deduct(order("a"))
    memory = partition.memory()
    partition.status()
    assert partition.memory() == memory
    partition.client.fcall_ro("hs_status", len(partition.all_keys), *partition.all_keys)


@pytest.mark.anyio
async def test_as_the_typed_shard_reads_it(shared_server: TestServer, shared: Make) -> None:
    partition = shared(stock=100, threshold=7)
    partition.deduct(order("a", 30), order("b"))
    partition.reclaim(1, 5)
    partition.trim(2)
    address = Address(path=str(shared_server.socket))
    shard = WireShard(Router(OneServer(lambda: address), 5.0), Keys("hs", "t"))
    try:
        item_id = int(partition.keys.meta.split(".")[1])
        status = await shard.status(PartitionRef(item_id, 0))
        assert status == PartitionStatus(
            incarnation=1, seq=3, armed_incarnation=1, armed_seq=3, stream_seq=3, active="b", left_a=0, left_b=64,
            threshold=7, installed=100, taken=31, returned=5, lease_no=1, reclaim_no=1, trimmed=2, sealed=None,
            orders=2, version=1, now_ms=status.now_ms,
        )  # fmt: skip
        assert status.armed
        partition.disarm(seal=True)
        sealed = await shard.status(PartitionRef(item_id, 0))
        assert (sealed.sealed, sealed.armed) == (3, False)
        assert await shard.status(PartitionRef(item_id, 1)) == PartitionStatus()
    finally:
        shard.close()
