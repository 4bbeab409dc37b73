"""Where partitions lie on the shards: at one of 48 points that are spread evenly over the slots of a cluster.

A cluster's masters have equal ranges of slots, or about so. Points that are evenly spread over the slots are evenly
spread over the masters, and an item's partitions that are evenly spread over the points are, too, however many masters
there are; nobody needs to know the masters for it. Partitions of one point share a slot, so they move together.
"""

from hotsku.domain.events import PartitionRef

SLOTS = 16384
POINTS = 48  # divisible by 2, 3, 4, 6, 8, 12, 16, 24 masters; more than 48 masters cannot share the load

_THIRD = POINTS // 3


def point_of(ref: PartitionRef) -> int:
    """The point, 0 to 47, of a partition.

    An item's partitions follow the van der Corput sequence in bases 3, 2, 2, 2, 2 (J. G. van der Corput, 1935): any run
    of it is evenly spread, so any number of partitions is. Items begin at different places of it.
    """
    place = (ref.partition + ref.item_id) % POINTS
    third, rest = place % 3, place // 3
    return third * _THIRD + _reversed_bits(rest)


def slot_of_point(point: int) -> int:
    """The slot in the middle of the point's share of the slots."""
    return (2 * point + 1) * SLOTS // (2 * POINTS)


def _reversed_bits(number: int) -> int:
    """The four bits of `number`, 0 to 15, in reverse."""
    return int(f"{number:04b}"[::-1], 2)
