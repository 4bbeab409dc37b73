"""Kafka with its idempotent producer, on the mock cluster that librdkafka brings: Tansu, which the other tests of Kafka
run on, does not know idempotence as aiokafka asks for it."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support.brokers import BrokerServer, MockKafka, missing, running_broker
from tests.support.topics import KAFKA_TOPIC, Consumer, RemotePlace, published, send, take
from tests.support.workers import until

from hotsku.domain.events import PartitionRef
from hotsku.errors import BackendUnavailable
from hotsku.ports import Broker

pytestmark = pytest.mark.anyio

_PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def mock() -> Iterator[BrokerServer]:
    if missing(MockKafka):
        pytest.skip(missing(MockKafka))
    with running_broker(MockKafka, KAFKA_TOPIC) as server:
        yield server


@pytest.fixture
def place(mock: BrokerServer) -> RemotePlace:
    return RemotePlace(mock)


@pytest.fixture
async def broker(place: RemotePlace) -> AsyncIterator[Broker]:
    async with place.open() as opened:
        yield opened


async def test_every_partitions_messages_come_in_order(broker: Broker) -> None:
    refs = [PartitionRef(1, partition) for partition in range(12)]
    for number in range(10):
        await asyncio.gather(*(send(broker, ref, f"{ref.partition} {number}".encode()) for ref in refs))
    came = [tuple(map(int, body.split())) for body in await take(broker, 120)]
    for ref in refs:
        assert [number for partition, number in came if partition == ref.partition] == list(range(10))


async def test_it_goes_on_when_the_brokers_come_back(place: RemotePlace, broker: Broker) -> None:
    consumer = Consumer(broker)
    sent = [f"{number}".encode() for number in range(10)]
    for body in sent:
        await send(broker, PartitionRef(1, 0), body)
    await until(lambda: list(dict.fromkeys(consumer.bodies)) == sent, _PATIENCE_S)
    place.down()
    async with asyncio.timeout(_PATIENCE_S):
        with pytest.raises(BackendUnavailable, match="the broker took no message"):
            await broker.publish(PartitionRef(1, 0), b"lost")
    place.up()
    await until(lambda: published(broker, PartitionRef(1, 0), b"after"), _PATIENCE_S)
    await until(lambda: b"after" in consumer.bodies, _PATIENCE_S)
    await consumer.stop()
