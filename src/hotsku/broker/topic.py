"""The topic `<namespace>.events` on a broker: its slices, what they are called, and how much they keep.

A slice carries the messages of some partitions, and has one consumer at a time, so that a partition's messages are
applied in their order.
"""

from msgspec import Struct

from hotsku.domain.events import PartitionRef
from hotsku.domain.placement import POINTS, point_of


class Keep(Struct, frozen=True):
    """What is kept for subscribers. Nobody depends on it: the relay sends again what the ledger does not have.

    Attributes:
        messages: so many in a slice, on NATS of a partition. The relay has far fewer than that in flight.
        size: bytes in a slice, on NATS in all of them.
        age_s: seconds.
    """

    messages: int = 1024
    size: int = 256 << 20
    age_s: int = 86_400


class Topic(Struct, frozen=True):
    """The topic of one ledger.

    Attributes:
        slices: more of them than appliers, so that each can have some.
    """

    namespace: str
    ledger_id: str
    slices: int = 8
    keep: Keep = Keep()

    @property
    def name(self) -> str:
        return f"{self.namespace}.events"

    @property
    def group(self) -> str:
        """Whoever applies the messages to the ledger."""
        return f"{self.namespace}.{self.ledger_id}.ledger"

    def slice_of(self, ref: PartitionRef) -> int:
        """The slice that carries a partition's messages."""
        return slice_of(ref, self.slices)

    def queue(self, number: int) -> str:
        """The name of a slice's queue."""
        return f"{self.namespace}.{self.ledger_id}.events.{number}"

    def key(self, ref: PartitionRef) -> str:
        """What a message is addressed to: ledger, slice, item and partition, as words with dots between them."""
        return f"{self.slice_key(self.slice_of(ref))}.{ref.item_id}.{ref.partition}"

    def slice_key(self, number: int) -> str:
        """What the keys of a slice's messages begin with."""
        return f"{self.ledger_id}.{number}"


def slice_of(ref: PartitionRef, slices: int) -> int:
    """The slice, 0 to `slices` - 1, that carries a partition's messages: that of its point.

    So where the topic is on the shards, a slice lies where its partitions do.
    """
    return point_of(ref) * slices // POINTS
