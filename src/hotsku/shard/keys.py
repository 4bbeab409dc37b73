"""The names of everything on a shard. They are built from integers and the ledger's id, never from user text."""

from msgspec import Struct

from hotsku.domain.events import PartitionRef


class PartitionKeys(Struct, frozen=True):
    """A partition's four keys; one hash tag keeps them in one slot."""

    meta: str
    orders: str
    buyers: str
    stream: str


class Keys(Struct, frozen=True):
    """Every key and channel of one ledger in one namespace."""

    namespace: str
    ledger_id: str

    def partition(self, ref: PartitionRef) -> PartitionKeys:
        base = f"{self.namespace}:{{{self.ledger_id}.{ref.item_id}.{ref.partition}}}"
        return PartitionKeys(f"{base}:meta", f"{base}:orders", f"{base}:buyers", f"{base}:stream")

    @property
    def owner(self) -> str:
        """Holds the id of the ledger that this namespace of the shard belongs to."""
        return f"{self.namespace}:ledger"

    def topic_slice(self, number: int) -> str:
        """One slice of the topic `<namespace>.events`, where streams are the broker."""
        return f"{self.namespace}:{{{self.ledger_id}.events.{number}}}"

    def channel(self, name: str) -> str:
        """A channel of signals: needs, news or work."""
        return f"{self.namespace}:{self.ledger_id}:{name}"
