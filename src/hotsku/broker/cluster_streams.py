"""The broker on the streams of a cluster: as on one server, but for each slice on its own.

A slice lies in the slot of the partitions that it carries, so it moves and fails with them, and with no others. Every
call names one slot, for a cluster refuses commands over several.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from hotsku.broker.cluster_reader import ClusterReader, Slice
from hotsku.broker.streams import KEEP
from hotsku.broker.topic import slice_of
from hotsku.domain.events import PartitionRef
from hotsku.domain.placement import POINTS, slot_of_point
from hotsku.errors import BackendUnavailable
from hotsku.ports import Clock, Delivery, Lost


class Slots(Protocol):
    """Sends a command to the server that has its slot.

    Raises:
        Lost: no reply came.
        BackendUnavailable: the server refused.
    """

    async def send(self, slot: int, *arguments: str | int | bytes) -> object: ...


class ClusterStreamsBroker:
    """The `Broker` port on a Valkey or Redis Cluster."""

    def __init__(
        self,
        slots: Slots,
        names: Sequence[str],
        clock: Clock,
        reader_id: str,
        *,
        group: str = "ledger",
        keep: int = KEEP,
    ) -> None:
        """
        Args:
            slots: with connections that nobody in a hurry shares, for messages are large; the caller closes it.
            names: the slices' keys, the same in every process and always in the same order.
            reader_id: unique to this process.
            keep: about how many messages a slice keeps.
        """
        self._slots = slots
        self._slices = [Slice(name, slot_of_point(n * POINTS // len(names))) for n, name in enumerate(names)]
        self._clock = clock
        self._reader_id = reader_id
        self._group = group
        self._keep = keep
        self._readers = 0

    def slice_of(self, ref: PartitionRef) -> str:
        """The slice that carries a partition's messages: a stable function of the partition."""
        return self._slice_of(ref).name

    async def publish(self, ref: PartitionRef, body: bytes) -> None:
        """Append a message to the partition's slice.

        Raises:
            BackendUnavailable: the server cannot be reached or refused; the message may be there all the same.
        """
        to = self._slice_of(ref)
        try:
            await self._slots.send(to.slot, "XADD", to.name, "MAXLEN", "~", self._keep, "*", "m", body)
        except Lost as error:
            raise BackendUnavailable(f"the broker took no message: {error}") from error

    async def consume(self) -> AsyncGenerator[Delivery, None]:
        """Every message of the slices that this reader owns, for ever: first those that were read and never
        acknowledged, then new ones. Outlives failovers, and slots that move."""
        self._readers += 1
        reader = ClusterReader(
            self._slots, self._slices, self._group, self._clock, f"{self._reader_id}.{self._readers}"
        )
        try:
            while True:
                for delivery in await reader.read():
                    yield delivery
        finally:
            await reader.close()

    async def close(self) -> None:
        """Nothing to end: the connections are the caller's, and a reader ends with its `consume`."""

    def _slice_of(self, ref: PartitionRef) -> Slice:
        return self._slices[slice_of(ref, len(self._slices))]
