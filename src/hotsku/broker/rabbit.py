"""The broker on RabbitMQ: quorum queues behind a topic exchange, persistent messages, publisher confirms.

Each slice is a queue with a single active consumer: RabbitMQ hands it to one of them until that one is gone. A queue
drops its oldest messages when it is full.
"""

from collections import Counter

from hotsku.broker.link import DEADLINE_S
from hotsku.broker.rabbit_server import Connected, close, connect, declare, exchange_of, refused
from hotsku.broker.rabbit_session import RabbitSession
from hotsku.broker.remote import RemoteBroker
from hotsku.broker.topic import Topic
from hotsku.broker_url import BrokerUrl
from hotsku.domain.events import PartitionRef
from hotsku.ports import Clock

__all__ = ["RabbitMqBroker", "refused"]


class RabbitMqBroker(RemoteBroker[Connected]):
    """The `Broker` port. A consumer is the active one of the queues that no other has."""

    def __init__(self, url: BrokerUrl, topic: Topic, clock: Clock, *, deadline_s: float = DEADLINE_S) -> None:
        super().__init__(url, topic, clock, deadline_s=deadline_s)
        self._exchange = exchange_of(topic)
        self._mute: Counter[str] = Counter()

    async def publish(self, ref: PartitionRef, body: bytes) -> None:
        """Send a message to the partition's queue and to whoever else is bound to it, and wait until they have it.

        Raises:
            BackendUnavailable: they may have it all the same.
        """

        async def send(connected: Connected) -> object:
            return await connected.broker.publish(
                body,
                exchange=self._exchange,
                routing_key=self._topic.key(ref),
                persist=True,
                content_type="application/json",
                timeout=self._deadline_s,
            )

        await self._link.call(send)

    def _session(self) -> RabbitSession:
        return RabbitSession(self._url, self._topic, self._clock, self._mute)

    async def _connect(self) -> Connected:
        return await connect(self._url)

    async def _declare(self, connection: Connected) -> None:
        await declare(connection.broker, self._topic)

    async def _close(self, connection: Connected) -> None:
        await close(connection)
