"""The names of everything on a shard. They are built from integers and the ledger's id, never from user text."""

from binascii import crc_hqx
from functools import cache
from itertools import product
from string import ascii_lowercase, digits

from msgspec import Struct

from hotsku.domain.events import PartitionRef
from hotsku.domain.placement import POINTS, SLOTS, point_of, slot_of_point

_SUFFIX_LENGTH = 4


class PartitionKeys(Struct, frozen=True):
    """A partition's six keys; one hash tag keeps them in one slot."""

    slot: int
    meta: str
    orders: str
    buyers: str
    stream: str
    holds: str
    ended: str

    def all(self) -> tuple[str, ...]:
        """Every key, in the order in which the functions take them."""
        return (self.meta, self.orders, self.buyers, self.stream, self.holds, self.ended)


class Keys(Struct, frozen=True):
    """Every key and channel of one ledger in one namespace."""

    namespace: str
    ledger_id: str

    def partition(self, ref: PartitionRef) -> PartitionKeys:
        """The keys of a partition, in the slot of its point."""
        slot = slot_of_point(point_of(ref))
        base = f"{self.namespace}:{{{tag_for_slot(f'{self.ledger_id}.{ref.item_id}.{ref.partition}', slot)}}}"
        names = ("meta", "orders", "buyers", "stream", "holds", "ended")
        return PartitionKeys(slot, *(f"{base}:{name}" for name in names))

    @property
    def owner(self) -> str:
        """Holds the id of the ledger that this namespace of the shards belongs to."""
        return f"{self.namespace}:ledger"

    def topic_slice(self, number: int, slices: int) -> str:
        """One of the slices of the topic `<namespace>.events`, where streams are the broker.

        Slice n of N carries the points n * 48 / N and those that follow; it lies in the slot of the first.
        """
        slot = slot_of_point(number * POINTS // slices)
        return f"{self.namespace}:{{{tag_for_slot(f'{self.ledger_id}.events.{number}', slot)}}}"

    def channel(self, name: str) -> str:
        """A channel of signals: needs, news or work."""
        return f"{self.namespace}:{self.ledger_id}:{name}"


def tag_for_slot(name: str, slot: int) -> str:
    """A hash tag that begins with `name` and that a cluster puts into `slot`."""
    # A CRC is linear: that of name + suffix is the xor of (name + zeros)'s and the suffix's own. So the suffix that
    # leads to the slot is looked up, not searched for.
    name += "."
    without = crc_hqx(bytes(_SUFFIX_LENGTH), crc_hqx(name.encode(), 0))
    return name + _suffixes()[(slot ^ without) % SLOTS]


def slot_of(key: str) -> int:
    """The slot of a key, as the cluster specification has it: CRC-16/XMODEM of its hash tag."""
    start = key.find("{")
    end = key.find("}", start + 1) if start >= 0 else -1
    tagged = key[start + 1 : end] if end > start + 1 else key
    return crc_hqx(tagged.encode(), 0) % SLOTS


@cache
def _suffixes() -> list[str]:
    """A suffix for every remainder that its own CRC can leave."""
    found: dict[int, str] = {}
    for letters in product(digits + ascii_lowercase, repeat=_SUFFIX_LENGTH):
        suffix = "".join(letters)
        found.setdefault(crc_hqx(suffix.encode(), 0) % SLOTS, suffix)
        if len(found) == SLOTS:
            break
    return [found[remainder] for remainder in range(SLOTS)]
