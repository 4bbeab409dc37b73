"""How evenly an item lies on the masters of a cluster."""

from functools import cache

from hotsku.domain.events import PartitionRef
from hotsku.domain.placement import POINTS, SLOTS, point_of, slot_of_point


@cache
def fullest(partitions: int, masters: int) -> int:
    """The most of an item's partitions that one master has, where masters have equal ranges of slots.

    Items begin at different points; this is for those that have it worst.
    """
    owners = [slot_of_point(point_of(PartitionRef(0, number))) * masters // SLOTS for number in range(POINTS)]
    rounds, rest = divmod(partitions, POINTS)
    runs = [(owners + owners)[first : first + rest] for first in range(POINTS)]
    return max(rounds * owners.count(master) + run.count(master) for run in runs for master in range(masters))
