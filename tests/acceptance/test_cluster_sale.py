"""Sales on a cluster: whatever happens to its servers and slots in between, every unit is sold once, no order is lost
or sold twice, and none is left unsold."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.support.cluster import LocalCluster
from tests.support.shop import ITEM_ID, TOTAL, open_shop

from hotsku.domain.events import PartitionRef
from hotsku.domain.placement import point_of, slot_of_point

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

Event = Callable[[LocalCluster], Awaitable[None]]


async def _nothing(cluster: LocalCluster) -> None:
    await asyncio.sleep(0.3)


async def _failover(cluster: LocalCluster) -> None:
    """There, and back again: a server that was the primary of the partitions before."""
    master = (await cluster.masters())[0]
    promoted = await cluster.failover(master)
    await cluster.failover(promoted)


async def _crash(cluster: LocalCluster) -> None:
    """kill -9, and the old primary comes back as a replica."""
    master = (await cluster.masters())[1]
    await cluster.crash_failover(master)
    await cluster.restart(master)


async def _sleep(cluster: LocalCluster) -> None:
    """A primary is paused, another takes over, and it wakes up and believes to be the primary."""
    master = (await cluster.masters())[2]
    await cluster.pause_failover(master)
    cluster.resume(master)
    await cluster.heal()


async def _reshard(cluster: LocalCluster, move: Callable[..., Awaitable[None]]) -> None:
    """The slots of a partition go to another primary, and come back."""
    slot = slot_of_point(point_of(PartitionRef(ITEM_ID, 0)))
    source = await cluster.owner(slot)
    target = next(node for node in await cluster.masters() if node is not source)
    await move(slot - 5, slot + 5, source, target)
    await move(slot - 5, slot + 5, target, source)


async def _reshard_classic(cluster: LocalCluster) -> None:
    await _reshard(cluster, cluster.reshard_classic)


async def _reshard_atomic(cluster: LocalCluster) -> None:
    await _reshard(cluster, cluster.reshard_atomic)


async def _add_master(cluster: LocalCluster) -> None:
    """A server joins that has no function library, and takes over the slots of a partition."""
    slot = slot_of_point(point_of(PartitionRef(ITEM_ID, 1)))
    source = await cluster.owner(slot)
    await cluster.reshard_classic(slot - 5, slot + 5, source, await cluster.add_master())


ON_VALKEY: list[Event] = [_nothing, _failover, _crash, _sleep, _reshard_classic, _reshard_atomic, _add_master]
ON_REDIS: list[Event] = [_failover, _crash, _reshard_classic]


async def _sale(cluster: LocalCluster, folder: Path, happens: Event) -> None:
    async with open_shop(cluster.url, folder) as shop:
        await shop.engines[0].create_item("sku", TOTAL, partitions=9)
        by_shard = [view.shard for view in await shop.engines[0].partitions("sku")]
        assert sorted(by_shard.count(shard) for shard in set(by_shard))[-3:] in ([3, 3, 3], [2, 3, 3])
        await shop.sell_while(lambda: happens(cluster))
        await cluster.heal()


@pytest.mark.parametrize("happens", ON_VALKEY, ids=lambda each: each.__name__[1:])
async def test_every_unit_is_sold_once(cluster: LocalCluster, tmp_path: Path, happens: Event) -> None:
    await _sale(cluster, tmp_path, happens)


@pytest.mark.parametrize("happens", ON_REDIS, ids=lambda each: each.__name__[1:])
async def test_on_redis_7(redis7_cluster: LocalCluster, tmp_path: Path, happens: Event) -> None:
    await _sale(redis7_cluster, tmp_path, happens)
