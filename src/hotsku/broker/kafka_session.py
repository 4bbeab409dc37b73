"""One member of the consumer group on Kafka."""

import asyncio
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, RebalanceInProgressError

from hotsku.broker.kafka_server import LEDGER_HEADER, MOST_BYTES, REQUEST_MS, broker_at, declare
from hotsku.broker.session import ConsumerLost
from hotsku.broker.topic import Topic
from hotsku.broker_url import BrokerUrl
from hotsku.ports import Clock, Delivery

_SESSION_MS = 6_000  # a member that says nothing for so long is dead; brokers allow no less by default
_HEARTBEAT_MS = 1_500
_READ_MS = 500
_COUNT = 64
_LOOK_EVERY_MS = 5_000.0

# The group has given the partition to another, who reads again what was not committed.
_NO_LONGER_OURS = (CommitFailedError, IllegalStateError, RebalanceInProgressError)


class KafkaSession:
    """One member of the consumer group. It commits what was acknowledged, at the next `read`."""

    def __init__(self, url: BrokerUrl, topic: Topic, clock: Clock) -> None:
        self._url = url
        self._topic = topic
        self._clock = clock
        self._consumer: AIOKafkaConsumer | None = None
        self._done: dict[TopicPartition, int] = {}
        self._reading = False
        self._committing: asyncio.Task[None] | None = None
        self._look_at_ms = 0.0

    async def open(self) -> None:
        await declare(self._url, self._topic)
        build = await broker_at(self._url, consumer_only=True).connect()
        self._consumer = consumer = build(
            group_id=self._topic.group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=_SESSION_MS,
            heartbeat_interval_ms=_HEARTBEAT_MS,
            max_partition_fetch_bytes=MOST_BYTES,
        )
        consumer.subscribe([self._topic.name])
        await consumer.start()
        self._look_at_ms = self._clock.monotonic_ms() + _LOOK_EVERY_MS

    async def read(self) -> list[Delivery]:
        if self._consumer is None:
            raise ConsumerLost("not open")
        self._reading = True
        await self._commit(self._consumer)
        if self._clock.monotonic_ms() >= self._look_at_ms:
            await self._look(self._consumer)
        found = await self._consumer.getmany(timeout_ms=_READ_MS, max_records=_COUNT)
        self._reading = False
        return [delivery for partition, records in found.items() for delivery in self._ours(partition, records)]

    async def close(self) -> None:
        if self._consumer is not None:
            if not self._reading:  # else there is nothing to commit, or nobody to take it
                with suppress(Exception):
                    await self._commit(self._consumer)
            await self._consumer.stop()
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.gather(self._committing, return_exceptions=True)

    def _ours(self, partition: TopicPartition, records: "list[ConsumerRecord[bytes, bytes]]") -> "list[KafkaDelivery]":
        ours: list[KafkaDelivery] = []
        for record in records:
            addressed = dict(record.headers).get(LEDGER_HEADER)
            if addressed is None or addressed == self._topic.ledger_id.encode():
                ours.append(KafkaDelivery(record.value or b"", partition, record.offset, self._done))
            elif ours:
                ours[-1].last_offset = record.offset  # is done with the one before it
            else:
                self._done[partition] = record.offset + 1
        return ours

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        offsets = {partition: offset for partition, offset in self._done.items() if partition in consumer.assignment()}
        self._done.clear()
        if not offsets:
            return
        # Not cancelled with its caller: aiokafka would leave a request behind whose failure nobody hears.
        committing = self._committing = asyncio.create_task(consumer.commit(offsets))
        await asyncio.wait({committing}, timeout=REQUEST_MS / 1000)
        if not committing.done():
            raise ConsumerLost("no answer to a commit")
        with suppress(*_NO_LONGER_OURS):
            committing.result()

    async def _look(self, consumer: AIOKafkaConsumer) -> None:
        """Is the topic still there? A consumer waits for ever for one that was deleted."""
        if self._topic.name not in await consumer.topics():
            raise ConsumerLost(f"the topic {self._topic.name} was deleted")
        self._look_at_ms = self._clock.monotonic_ms() + _LOOK_EVERY_MS


class KafkaDelivery:
    """The `Delivery` port. A partition's messages are acknowledged in their order."""

    __slots__ = ("_done", "_partition", "body", "last_offset")

    def __init__(self, body: bytes, partition: TopicPartition, offset: int, done: dict[TopicPartition, int]) -> None:
        self.body = body
        self.last_offset = offset
        self._partition = partition
        self._done = done

    async def ack(self) -> None:
        """Have it committed with the session's next call."""
        self._done[self._partition] = self.last_offset + 1
