"""One connection that consumes from RabbitMQ."""

import asyncio
from collections import Counter

from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection

from hotsku.broker.link import DEADLINE_S
from hotsku.broker.rabbit_server import Connected, close, connect, declare
from hotsku.broker.session import ConsumerLost, Inbox
from hotsku.broker.topic import Topic
from hotsku.broker_url import BrokerUrl
from hotsku.log import get_logger
from hotsku.ports import Clock, Delivery

_CALL_S = 2.0
_LOOK_EVERY_MS = 3_000.0
_READ_S = 1.0
_MUTE = 2
_DELETE_S = 8.0

_log = get_logger("broker")


class RabbitSession:
    """One connection that consumes. It ends with its connection, when a queue is deleted, or when RabbitMQ no longer
    counts a consumer of each queue."""

    def __init__(self, url: BrokerUrl, topic: Topic, clock: Clock, mute: Counter[str]) -> None:
        """
        Args:
            mute: how often in a row each queue let nobody consume; kept from session to session.
        """
        self._url = url
        self._topic = topic
        self._clock = clock
        self._mute = mute
        self._inbox = Inbox()
        self._connected: Connected | None = None
        self._look_at_ms = 0.0

    async def open(self) -> None:
        self._connected = connected = await connect(self._url)
        connected.connection.close_callbacks.add(self._closed)
        await self._delete_mute(connected.connection)
        queues = await declare(connected.broker, self._topic)
        channel = await queues[0].channel.get_underlay_channel()
        channel.closing.add_done_callback(self._channel_closed)
        channel.on_consumer_cancel_callbacks.add(self._cancelled)
        for queue in queues:
            self._mute[queue.name] += 1
            await queue.consume(self._received, timeout=_CALL_S)
            del self._mute[queue.name]
        self._look_at_ms = self._clock.monotonic_ms() + _LOOK_EVERY_MS

    async def read(self) -> list[Delivery]:
        if self._clock.monotonic_ms() >= self._look_at_ms:
            await self._look()
        return await self._inbox.take(_READ_S)

    async def close(self) -> None:
        if self._connected is not None:
            await close(self._connected)

    async def _delete_mute(self, connection: AbstractRobustConnection) -> None:
        """Delete queues that have let nobody consume twice in a row, so that they are made anew.

        A node that was killed just after it had made a quorum queue may have the queue, and none of what it runs on:
        who publishes to it or consumes from it hears nothing, for ever. What was in it, the relay sends again.
        """
        for name in [name for name, times in self._mute.items() if times >= _MUTE]:
            _log.warning("a queue answers nobody: it is deleted and made anew", queue=name)
            async with connection.channel() as channel:
                await channel.queue_delete(name, timeout=_DELETE_S)
            del self._mute[name]

    async def _received(self, message: AbstractIncomingMessage) -> None:
        self._inbox.put(RabbitDelivery(message, self._inbox))

    async def _look(self) -> None:
        """Is there still a consumer of every queue? RabbitMQ does not say so when it loses one with its node."""
        if self._connected is None:
            raise ConsumerLost("not open")
        async with asyncio.timeout(DEADLINE_S), self._connected.connection.channel() as channel:
            for number in range(self._topic.slices):
                queue = await channel.declare_queue(self._topic.queue(number), passive=True)
                if not queue.declaration_result.consumer_count:
                    raise ConsumerLost(f"the queue {queue.name} has no consumer")
        self._look_at_ms = self._clock.monotonic_ms() + _LOOK_EVERY_MS

    def _closed(self, _connection: object, error: BaseException | None) -> None:
        self._inbox.fail(ConsumerLost(f"the connection was closed: {error}"))

    def _channel_closed(self, _closing: object) -> None:
        self._inbox.fail(ConsumerLost("the channel was closed"))

    def _cancelled(self, _frame: object) -> None:
        self._inbox.fail(ConsumerLost("a queue was deleted or moved"))


class RabbitDelivery:
    """The `Delivery` port."""

    __slots__ = ("_inbox", "_message")

    def __init__(self, message: AbstractIncomingMessage, inbox: Inbox) -> None:
        self._message = message
        self._inbox = inbox

    @property
    def body(self) -> bytes:
        return self._message.body

    async def ack(self) -> None:
        """Acknowledge; where that fails, the session is over and the message comes again."""
        try:
            await self._message.ack()
        except Exception as error:
            self._inbox.fail(error)
