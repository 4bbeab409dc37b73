"""The broker on Kafka: one topic, keyed by partition, an idempotent producer, and a consumer group a ledger.

Ledgers of a namespace share the topic, so a record's header names the ledger that it is addressed to, and a consumer
passes over what is addressed to another.
"""

from faststream.kafka import KafkaBroker

from hotsku.broker.kafka_server import LEDGER_HEADER, broker_at, declare, refused
from hotsku.broker.kafka_session import KafkaSession
from hotsku.broker.link import DEADLINE_S, close_quietly
from hotsku.broker.remote import RemoteBroker
from hotsku.broker.topic import Topic
from hotsku.broker_url import BrokerUrl
from hotsku.domain.events import PartitionRef
from hotsku.ports import Clock

__all__ = ["ApacheKafkaBroker", "refused"]


class ApacheKafkaBroker(RemoteBroker[KafkaBroker]):
    """The `Broker` port. A consumer is a member of the ledger's group."""

    def __init__(
        self, url: BrokerUrl, topic: Topic, clock: Clock, *, idempotent: bool = True, deadline_s: float = DEADLINE_S
    ) -> None:
        """
        Args:
            idempotent: have Kafka drop what the library sends twice; brokers that only speak its protocol may not know.
            deadline_s: seconds that `publish` takes at most.
        """
        super().__init__(url, topic, clock, deadline_s=deadline_s)
        self._idempotent = idempotent

    async def publish(self, ref: PartitionRef, body: bytes) -> None:
        """Append a message to the topic, and wait until every replica in sync has it.

        Raises:
            BackendUnavailable: they may have it all the same.
        """

        async def send(broker: KafkaBroker) -> object:
            return await broker.publish(
                body,
                self._topic.name,
                key=f"{ref.item_id}.{ref.partition}".encode(),
                headers={LEDGER_HEADER: self._topic.ledger_id, "content-type": "application/json"},
            )

        await self._link.call(send)

    def _session(self) -> KafkaSession:
        return KafkaSession(self._url, self._topic, self._clock)

    async def _connect(self) -> KafkaBroker:
        await declare(self._url, self._topic)
        broker = broker_at(self._url, idempotent=self._idempotent)
        try:
            await broker.connect()
        except BaseException:
            await close_quietly(broker.stop())
            raise
        return broker

    async def _declare(self, connection: KafkaBroker) -> None:
        """The topic was made before, by a client of its own."""

    async def _close(self, connection: KafkaBroker) -> None:
        await connection.stop()
