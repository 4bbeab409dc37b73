"""An order service subscribes beside the applier, as docs/messages.md says: both get everything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import nats
import pytest
from aiokafka import AIOKafkaConsumer
from tests.support.brokers import BrokerServer, NatsServer, RabbitMqServer, TansuServer, missing, running_broker
from tests.support.topics import NAMESPACE, RemotePlace, send, take

from hotsku.broker.topic import Topic
from hotsku.domain.events import PartitionRef

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def _on_rabbitmq(url: str, topic: Topic) -> AsyncIterator[AsyncIterator[bytes]]:
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        queue = await channel.declare_queue("order-service", durable=True, arguments={"x-queue-type": "quorum"})
        await queue.bind(f"{NAMESPACE}.events", f"{topic.ledger_id}.#")

        async def read() -> AsyncIterator[bytes]:
            async with queue.iterator() as messages:
                async for message in messages:
                    yield message.body
                    await message.ack()

        yield read()


@asynccontextmanager
async def _on_nats(url: str, topic: Topic) -> AsyncIterator[AsyncIterator[bytes]]:
    connection = await nats.connect(url)
    subject = f"{NAMESPACE}.events.{topic.ledger_id}.>"
    subscription = await connection.jetstream().pull_subscribe(subject, durable="order-service")

    async def read() -> AsyncIterator[bytes]:
        while True:
            for message in await subscription.fetch(10, timeout=10):
                yield message.data
                await message.ack()

    try:
        yield read()
    finally:
        await connection.close()


@asynccontextmanager
async def _on_kafka(url: str, topic: Topic) -> AsyncIterator[AsyncIterator[bytes]]:
    consumer = AIOKafkaConsumer(
        f"{NAMESPACE}.events",
        bootstrap_servers=url.removeprefix("kafka://"),
        group_id="order-service",
        auto_offset_reset="earliest",
    )
    await consumer.start()

    async def read() -> AsyncIterator[bytes]:
        async for record in consumer:
            yield record.value

    try:
        yield read()
    finally:
        await consumer.stop()


@pytest.mark.parametrize(
    ("kind", "subscribed"), [(RabbitMqServer, _on_rabbitmq), (NatsServer, _on_nats), (TansuServer, _on_kafka)]
)
async def test_an_order_service_gets_what_the_applier_gets(kind: type[BrokerServer], subscribed: object) -> None:
    if missing(kind):
        pytest.skip(missing(kind))
    assert callable(subscribed)
    with running_broker(kind) as server:
        place = RemotePlace(server)
        async with place.open() as broker, asyncio.timeout(200), subscribed(server.url, place.topic) as bodies:
            sent = {f"{partition}".encode() for partition in range(12)}
            for partition in range(12):
                await send(broker, PartitionRef(1, partition), f"{partition}".encode())
            assert set(await take(broker, 12)) == sent
            came: set[bytes] = set()
            while came != sent:
                came.add(await anext(bodies))
            await bodies.aclose()
