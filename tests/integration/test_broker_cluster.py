"""Streams on a cluster: a slice fails and moves with its shard, and with no other."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support.cluster import LocalCluster, running_cluster
from tests.support.streams import ClusterStreams
from tests.support.topics import Consumer, StreamsPlace
from tests.support.workers import until

from hotsku.domain.events import PartitionRef
from hotsku.domain.placement import POINTS, point_of, slot_of_point
from hotsku.errors import BackendUnavailable
from hotsku.shard.cluster_spec import ClusterSpec

pytestmark = pytest.mark.anyio

REFS = [PartitionRef(1, partition) for partition in range(POINTS)]
_PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def started() -> Iterator[LocalCluster]:
    # Longer than a machine stands still now and then: no node is to be given up that the test has not ended.
    with running_cluster(ClusterSpec(node_timeout_ms=10_000)) as running:
        yield running


@pytest.fixture
async def cluster(started: LocalCluster) -> AsyncIterator[LocalCluster]:
    yield started
    await started.heal()


@pytest.fixture
async def broker(cluster: LocalCluster) -> AsyncIterator[ClusterStreams]:
    async with StreamsPlace(cluster).open() as opened:
        assert isinstance(opened, ClusterStreams)
        yield opened


class Publisher:
    """Sends numbered messages to every partition, each again until it is taken, as the relay does."""

    def __init__(self, broker: ClusterStreams) -> None:
        self._broker = broker
        self.sent: set[bytes] = set()

    async def publish(self, refs: list[PartitionRef], word: str) -> None:
        await asyncio.gather(*(self._until_taken(ref, f"{ref.partition} {word}".encode()) for ref in refs))

    async def _until_taken(self, ref: PartitionRef, body: bytes) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                try:
                    await self._broker.publish(ref, body)
                except BackendUnavailable:
                    await asyncio.sleep(0.05)
                else:
                    self.sent.add(body)
                    return


async def _of(cluster: LocalCluster, number: int) -> tuple[list[PartitionRef], list[PartitionRef]]:
    """The partitions of a master, and all others."""
    master = (await cluster.masters())[number]
    theirs = [ref for ref in REFS if await cluster.owner(slot_of_point(point_of(ref))) is master]
    return theirs, [ref for ref in REFS if ref not in theirs]


async def test_every_slice_is_read(broker: ClusterStreams) -> None:
    consumer, publisher = Consumer(broker), Publisher(broker)
    await publisher.publish(REFS, "1")
    await until(lambda: publisher.sent == set(consumer.bodies), _PATIENCE_S)
    await consumer.stop()


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_a_master_that_is_away_holds_up_its_own_slices_alone(
    cluster: LocalCluster, broker: ClusterStreams, how: str
) -> None:
    consumer, publisher = Consumer(broker), Publisher(broker)
    await publisher.publish(REFS, "before")
    await until(lambda: publisher.sent == set(consumer.bodies), _PATIENCE_S)
    theirs, others = await _of(cluster, 0)
    master = (await cluster.masters())[0]
    for node in [*await cluster.replicas(master), master]:  # so that nobody takes over
        if how == "killed":
            cluster.kill(node)
        else:
            cluster.pause(node)
    for number in range(5):
        await publisher.publish(others, f"{number}")
    await until(lambda: publisher.sent == set(consumer.bodies), _PATIENCE_S)
    await cluster.heal()
    await publisher.publish(theirs, "after")
    await until(lambda: publisher.sent == set(consumer.bodies), _PATIENCE_S)
    await consumer.stop()


async def test_it_goes_on_after_a_failover(cluster: LocalCluster, broker: ClusterStreams) -> None:
    consumer, publisher = Consumer(broker), Publisher(broker)
    await publisher.publish(REFS, "before")
    await until(lambda: publisher.sent == set(consumer.bodies), _PATIENCE_S)
    await cluster.crash_failover((await cluster.masters())[1])
    await publisher.publish(REFS, "after")
    await until(lambda: {b for b in publisher.sent if b.endswith(b"after")} <= set(consumer.bodies), _PATIENCE_S)
    await consumer.stop()


@pytest.mark.parametrize("how", ["classic", "atomic"])
async def test_slots_that_move_lose_and_mix_up_nothing(cluster: LocalCluster, broker: ClusterStreams, how: str) -> None:
    consumer, publisher = Consumer(broker), Publisher(broker)
    moved = asyncio.Event()

    async def publish() -> int:
        number = 0
        while not moved.is_set() or number < 20:
            number += 1
            await publisher.publish(REFS, f"{number}")
        return number

    publishing = asyncio.create_task(publish())
    masters = await cluster.masters()
    owner = await cluster.owner(slot_of_point(0))
    target = next(master for master in masters if master is not owner)
    move = cluster.reshard_classic if how == "classic" else cluster.reshard_atomic
    first, last = slot_of_point(0) - 20, slot_of_point(0) + 20
    await move(first, last, owner, target)
    moved.set()
    count = await publishing
    await until(lambda: publisher.sent <= set(consumer.bodies), _PATIENCE_S)
    await consumer.stop()
    await move(first, last, target, owner)
    for ref in REFS:
        came = [int(body.split()[1]) for body in consumer.bodies if body.startswith(b"%d " % ref.partition)]
        # A message whose answer was lost is sent twice; none overtakes another.
        assert list(dict.fromkeys(came)) == list(range(1, count + 1))
