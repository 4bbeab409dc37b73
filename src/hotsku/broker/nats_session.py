"""One connection that consumes from NATS."""

import asyncio

from nats.aio.msg import Msg
from nats.js import JetStreamContext

from hotsku.backoff import end_if_cancelled
from hotsku.broker.nats_server import Connected, close, connect, consumer_name, declare, stream_name
from hotsku.broker.session import ConsumerLost, Inbox
from hotsku.broker.topic import Topic
from hotsku.broker_url import BrokerUrl
from hotsku.ports import Clock, Delivery

_FETCH_S = 2.0
_LOOK_EVERY_MS = 2_000.0
_READ_S = 1.0


class NatsSession:
    """One connection that consumes: a task a slice. It ends with its connection, and when a consumer is there no more:
    JetStream does not tell those who wait for its messages."""

    def __init__(self, url: BrokerUrl, topic: Topic, clock: Clock) -> None:
        self._url = url
        self._topic = topic
        self._clock = clock
        self._inbox = Inbox()
        self._connected: Connected | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._out: set[NatsDelivery] = set()
        self._look_at_ms = 0.0

    async def open(self) -> None:
        self._connected = connected = await connect(self._url)
        await declare(connected.stream, self._topic)
        for number in range(self._topic.slices):
            slice_ = await connected.stream.pull_subscribe_bind(consumer_name(number), stream_name(self._topic))
            self._tasks.append(asyncio.create_task(self._follow(slice_), name=f"slice {number}"))
        self._look_at_ms = self._clock.monotonic_ms() + _LOOK_EVERY_MS

    async def read(self) -> list[Delivery]:
        if self._clock.monotonic_ms() >= self._look_at_ms:
            await self._look()
        return await self._inbox.take(_READ_S)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for delivery in list(self._out):
            await delivery.give_back()
        if self._connected is not None:
            await close(self._connected)

    async def _follow(self, slice_: JetStreamContext.PullSubscription) -> None:
        """Fetch a message, and the next one when that one has been acknowledged."""
        try:
            while True:
                end_if_cancelled()
                try:
                    found = await slice_.fetch(1, timeout=_FETCH_S)
                except TimeoutError:
                    continue
                for message in found:
                    delivery = NatsDelivery(message, self._inbox)
                    self._out.add(delivery)
                    self._inbox.put(delivery)
                    await delivery.acknowledged.wait()
                    self._out.discard(delivery)
        except Exception as error:
            self._inbox.fail(error)

    async def _look(self) -> None:
        if self._connected is None:
            raise ConsumerLost("not open")
        there = {info.name for info in await self._connected.stream.consumers_info(stream_name(self._topic))}
        if not there.issuperset(consumer_name(number) for number in range(self._topic.slices)):
            raise ConsumerLost("a consumer of the stream was deleted")
        self._look_at_ms = self._clock.monotonic_ms() + _LOOK_EVERY_MS


class NatsDelivery:
    """The `Delivery` port."""

    __slots__ = ("_inbox", "_message", "acknowledged")

    def __init__(self, message: Msg, inbox: Inbox) -> None:
        self._message = message
        self._inbox = inbox
        self.acknowledged = asyncio.Event()

    @property
    def body(self) -> bytes:
        return self._message.data

    async def ack(self) -> None:
        """Acknowledge; where that is lost, the message comes again."""
        try:
            await self._message.ack()
        except Exception as error:
            self._inbox.fail(error)
        self.acknowledged.set()

    async def give_back(self) -> None:
        """Have it delivered to another at once, not only when the time for its acknowledgement has run out."""
        if not self.acknowledged.is_set():
            await self._message.nak()
