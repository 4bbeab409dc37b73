"""The broker on Valkey streams: each slice of the topic is a stream, read by one consumer group.

A slice has one reader at a time, so that a partition's messages are applied in their order: the reader holds the
slice's owner key, which lapses when its process dies. That is for order and speed alone. Two readers at once, a slice
that is gone, a message read twice: the ledger takes each event once, and the relay sends again what it does not have.
"""

from collections.abc import AsyncGenerator, Sequence

import redis.asyncio
from redis.exceptions import RedisError

from hotsku.broker.reader import FAULTS, SliceReader
from hotsku.broker.topic import slice_of
from hotsku.domain.events import PartitionRef
from hotsku.errors import BackendUnavailable
from hotsku.log import get_logger
from hotsku.ports import Clock, Delivery

# Messages that a slice keeps for subscribers. The relay has far fewer than that in flight.
KEEP = 256

_log = get_logger("broker")


class StreamsBroker:
    """The `Broker` port on one Valkey or Redis server."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        slices: Sequence[str],
        clock: Clock,
        reader_id: str,
        *,
        group: str = "ledger",
        keep: int = KEEP,
    ) -> None:
        """
        Args:
            client: answers in bytes and never retries by itself; the caller closes it.
            slices: the streams' keys, the same in every process and always in the same order.
            reader_id: unique to this process.
            keep: about how many messages a slice keeps.
        """
        self._client = client
        self._slices = list(slices)
        self._clock = clock
        self._reader_id = reader_id
        self._group = group
        self._keep = keep
        self._readers = 0

    def slice_of(self, ref: PartitionRef) -> str:
        """The slice that carries a partition's messages: a stable function of the partition."""
        return self._slices[slice_of(ref, len(self._slices))]

    async def publish(self, ref: PartitionRef, body: bytes) -> None:
        """Append a message to the partition's slice.

        Raises:
            BackendUnavailable: the server cannot be reached or refused; the message may be there all the same.
        """
        try:
            await self._client.xadd(self.slice_of(ref), {b"m": body}, maxlen=self._keep, approximate=True)
        except FAULTS as error:
            raise BackendUnavailable(f"the broker took no message: {error}") from error

    async def consume(self) -> AsyncGenerator[Delivery, None]:
        """Every message of the slices that this reader owns, for ever: first those that were read and never
        acknowledged, then new ones. Outlives restarts and flushes of the server."""
        self._readers += 1
        token = f"{self._reader_id}.{self._readers}"
        reader = SliceReader(self._client, self._slices, self._group, self._clock, token)
        try:
            while True:
                for delivery in await reader.read():
                    yield delivery
        finally:
            await reader.close()

    async def lag(self) -> int | None:
        """Messages that wait to be read or acknowledged, where the server knows it."""
        try:
            waiting = 0
            for name in self._slices:
                for group in await self._client.xinfo_groups(name):
                    waiting += int(group["pending"]) + int(group["lag"] or 0)
        except (RedisError, OSError):
            return None
        return waiting

    async def close(self) -> None:
        """Nothing to end: the client is the caller's, and a reader ends with its `consume`."""
