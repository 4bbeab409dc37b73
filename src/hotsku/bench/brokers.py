"""Topics of the benchmark's own on brokers that run already, and what is left of them afterwards: nothing."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import nats

from hotsku.broker.nats import stream_name
from hotsku.broker.opening import open_broker
from hotsku.broker.topic import Topic
from hotsku.ports import Broker, Clock

_NAMESPACE = "hsbench"


@asynccontextmanager
async def new_topic(url: str, clock: Clock) -> AsyncIterator[Broker]:
    """A topic on RabbitMQ (`amqp://`) or NATS, which is removed at the end.

    Raises:
        InvalidSettings, BackendUnavailable: there is no such broker for us.
    """
    topic = Topic(f"{_NAMESPACE}{secrets.token_hex(4)}", secrets.token_hex(5))
    async with open_broker(url, topic, clock) as broker:
        try:
            yield broker
        finally:
            await (_delete_queues(url, topic) if url.startswith("amqp") else _delete_stream(url, topic))


async def _delete_queues(url: str, topic: Topic) -> None:
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        for number in range(topic.slices):
            await channel.queue_delete(topic.queue(number))
        await channel.exchange_delete(topic.name)


async def _delete_stream(url: str, topic: Topic) -> None:
    connection = await nats.connect(url)
    try:
        await connection.jetstream().delete_stream(stream_name(topic))
    finally:
        await connection.close()
