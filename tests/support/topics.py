"""A topic of a test's own on any kind of broker, and what may happen to the broker meanwhile."""

import asyncio
import secrets
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import aio_pika
import nats
from aiokafka.errors import KafkaConnectionError
from nats.js.errors import NotFoundError

from hotsku.broker.access import hush
from hotsku.broker.kafka import ApacheKafkaBroker
from hotsku.broker.nats_server import stream_name
from hotsku.broker.opening import open_broker
from hotsku.broker.topic import Topic
from hotsku.broker_url import parse_broker_url
from hotsku.clock import SystemClock
from hotsku.domain.events import PartitionRef
from hotsku.errors import BackendUnavailable
from hotsku.ports import Broker, Clock
from tests.support.brokers import BrokerServer, MockKafka, TansuServer
from tests.support.cluster import LocalCluster
from tests.support.servers import TestServer, run_blocking
from tests.support.streams import open_streams
from tests.support.workers import until

NAMESPACE = "hs"
KAFKA_TOPIC = f"{NAMESPACE}.events"

# Some libraries' clean-up after an outage has no deadline of its own.
_PATIENCE_S = 90.0


class Place(ABC):
    """Where the topic is. Every `open` is the broker as another process has it."""

    def __init__(self, ledger_id: str | None = None) -> None:
        self.clock: Clock = SystemClock()
        self.topic = Topic(NAMESPACE, ledger_id or secrets.token_hex(5))

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[Broker]: ...

    @abstractmethod
    def down(self) -> None:
        """The servers die."""

    @abstractmethod
    def up(self) -> None:
        """They are there again."""

    @abstractmethod
    async def forget(self) -> None:
        """Lose every message, queue, stream and group. Skips the test where that cannot be done."""

    @property
    @abstractmethod
    def url(self) -> str: ...


class StreamsPlace(Place):
    """Streams on the servers at `url`: one server, or a cluster."""

    def __init__(self, server: TestServer | LocalCluster, ledger_id: str | None = None) -> None:
        super().__init__(ledger_id)
        self._server = server

    @property
    def url(self) -> str:
        return self._server.url

    def open(self) -> AbstractAsyncContextManager[Broker]:
        return open_streams(self.url, self.topic.ledger_id, self.clock)

    def down(self) -> None:
        if isinstance(self._server, TestServer):
            self._server.kill()
        else:
            for node in self._server.nodes:
                self._server.kill(node)

    def up(self) -> None:
        if isinstance(self._server, TestServer):
            self._server.start()
        else:
            run_blocking(self._server.heal())

    async def forget(self) -> None:
        async with open_streams(self.url, self.topic.ledger_id, self.clock) as broker:
            await broker.delete()


class RemotePlace(Place):
    """A broker with a server of its own."""

    def __init__(self, server: BrokerServer, ledger_id: str | None = None) -> None:
        super().__init__(ledger_id)
        self.server = server
        self._there = True

    @property
    def url(self) -> str:
        return self.server.url

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Broker]:
        async with AsyncExitStack() as exits:
            yield await self._opened(exits)

    async def _opened(self, exits: AsyncExitStack) -> Broker:
        """Tries again where the server is there: a machine that stood still took all the time that a start may take."""
        idempotent = not isinstance(self.server, TansuServer)
        while True:
            opening = open_remote(self.url, self.topic, self.clock, idempotent=idempotent)
            try:
                return await exits.enter_async_context(opening)
            except BackendUnavailable:
                if not self._there:
                    raise

    def down(self) -> None:
        self._there = False
        if isinstance(self.server, MockKafka):
            self.server.tell("down")
        else:
            self.server.kill()

    def up(self) -> None:
        if isinstance(self.server, MockKafka):
            self.server.tell("up")
        else:
            self.server.start()
        self._there = True

    async def forget(self) -> None:
        if self.server.scheme == "amqp":
            await delete_queues(self.url, self.topic)
        elif self.server.scheme == "nats":
            await delete_stream(self.url, self.topic)
        else:  # Tansu's memory
            self.server.restart()


@asynccontextmanager
async def open_remote(url: str, topic: Topic, clock: Clock, *, idempotent: bool) -> AsyncIterator[Broker]:
    """As `open_broker` does, also on a Kafka that knows no idempotence."""
    if idempotent or not url.startswith("kafka"):
        async with open_broker(url, topic, clock) as broker:
            yield broker
        return
    hush()
    kafka = ApacheKafkaBroker(parse_broker_url(url), topic, clock, idempotent=False)
    try:
        await kafka.start()
    except KafkaConnectionError as error:
        raise BackendUnavailable(str(error)) from error
    yield kafka
    await kafka.close()


async def delete_queues(url: str, topic: Topic) -> None:
    """Delete the queues, with what is in them."""
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        for number in range(topic.slices):
            await channel.queue_delete(topic.queue(number))


async def delete_stream(url: str, topic: Topic) -> None:
    """Delete the stream, with its consumers."""
    connection = await nats.connect(url)
    try:
        await connection.jetstream().delete_stream(stream_name(topic))
    except NotFoundError:
        pass
    finally:
        await connection.close()


class Consumer:
    """Reads and acknowledges for ever, as a task."""

    def __init__(self, broker: Broker) -> None:
        self.bodies: list[bytes] = []
        self._broker = broker
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with aclosing(self._broker.consume()) as deliveries:
            async for delivery in deliveries:
                self.bodies.append(delivery.body)
                await delivery.ack()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def running(self) -> bool:
        return not self._task.done()


async def take(broker: Broker, count: int, *, ack: bool = True) -> list[bytes]:
    """The next bodies, read by a consumer of its own that ends in good order: so many different ones, in the order in
    which they came first. What a broker waits for in vain while a machine stands still comes twice."""
    bodies: dict[bytes, None] = {}
    async with aclosing(broker.consume()) as deliveries, asyncio.timeout(_PATIENCE_S):
        async for delivery in deliveries:
            bodies[delivery.body] = None
            if ack:
                await delivery.ack()
            if len(bodies) == count:
                break
    return list(bodies)


async def send(broker: Broker, ref: PartitionRef, body: bytes) -> None:
    """Publish, and again where the broker did not take it in time: as the relay does."""
    await until(lambda: published(broker, ref, body), _PATIENCE_S)


async def published(broker: Broker, ref: PartitionRef, body: bytes) -> bool:
    """Publish, if the broker is there."""
    try:
        await broker.publish(ref, body)
    except BackendUnavailable:
        return False
    return True


def killed_after_reading(place: Place) -> bytes:
    """A process consumes one message, does not acknowledge it, and is killed with -9. Returns what it had read."""
    command = [sys.executable, "-m", "tests.support.topic_reader", place.url, place.topic.ledger_id]
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen(command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        try:
            return reader.stdout.readline().strip()
        finally:
            reader.kill()
