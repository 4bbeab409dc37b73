"""The broker on NATS JetStream: one stream a ledger, a durable pull consumer a slice.

A consumer of JetStream has at most one message out (`max_ack_pending` 1), whoever asked for it: so a slice is in order
however many appliers there are, also over a redelivery, and none of them needs to be elected. That costs a slice one
round trip a message, which carries hundreds of events.
"""

import itertools
import secrets

from nats.js.api import Header

from hotsku.broker.link import DEADLINE_S
from hotsku.broker.nats_server import CALL_S, Connected, close, connect, declare, refused, stream_name
from hotsku.broker.nats_session import NatsSession
from hotsku.broker.remote import RemoteBroker
from hotsku.broker.topic import Topic
from hotsku.broker_url import BrokerUrl
from hotsku.domain.events import PartitionRef
from hotsku.ports import Clock

__all__ = ["NatsJetStreamBroker", "refused", "stream_name"]


class NatsJetStreamBroker(RemoteBroker[Connected]):
    """The `Broker` port. A consumer gets what no other has out."""

    def __init__(self, url: BrokerUrl, topic: Topic, clock: Clock, *, deadline_s: float = DEADLINE_S) -> None:
        super().__init__(url, topic, clock, deadline_s=deadline_s)
        self._publisher_id = secrets.token_hex(8)
        self._numbers = itertools.count(1)

    async def publish(self, ref: PartitionRef, body: bytes) -> None:
        """Append a message to the stream, and wait until it is stored.

        Raises:
            BackendUnavailable: it may be stored all the same.
        """
        # The id is this call's own: JetStream drops what it has seen under it, so the second try is safe. An id made of
        # the message itself would lose what the relay sends again on purpose, after the applier had refused it.
        headers = {
            Header.MSG_ID.value: f"{self._publisher_id}.{next(self._numbers)}",
            "content-type": "application/json",
        }

        subject, stream = f"{self._topic.name}.{self._topic.key(ref)}", stream_name(self._topic)

        async def send(connected: Connected) -> object:
            try:
                return await connected.broker.publish(body, subject, headers, stream=stream, timeout=CALL_S)
            except TimeoutError:
                return await connected.broker.publish(body, subject, headers, stream=stream, timeout=CALL_S)

        await self._link.call(send)

    def _session(self) -> NatsSession:
        return NatsSession(self._url, self._topic, self._clock)

    async def _connect(self) -> Connected:
        return await connect(self._url)

    async def _declare(self, connection: Connected) -> None:
        await declare(connection.stream, self._topic)

    async def _close(self, connection: Connected) -> None:
        await close(connection)
