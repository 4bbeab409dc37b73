"""When the reaper is to look at which partition's holds. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping

from hotsku.domain.events import PartitionRef

_NEVER_MS = 10**15


def holding(held: Iterable[tuple[int, int]]) -> set[int]:
    """The items that have units on hold, from (item, units) of every incarnation of their partitions. A single
    incarnation's units may be negative: it ended holds of an earlier one."""
    sums: Counter[int] = Counter()
    for item_id, units in held:
        sums[item_id] += units
    return {item_id for item_id, units in sums.items() if units}


class Agenda:
    """The next moment of each partition at which a hold ends, by its shard's clock."""

    def __init__(self) -> None:
        self._incarnations: dict[PartitionRef, int] = {}
        self._next_ms: dict[PartitionRef, int] = {}

    def follow(self, partitions: Mapping[PartitionRef, int]) -> None:
        """These partitions have holds, in these incarnations; forget all others."""
        self._incarnations = dict(partitions)
        self._next_ms = {ref: at_ms for ref, at_ms in self._next_ms.items() if ref in partitions}

    def note(self, ref: PartitionRef, next_ms: int) -> None:
        """A shard told when the partition's next hold ends; 0: there is none."""
        self._next_ms[ref] = next_ms or _NEVER_MS

    def due(self, now_ms: int) -> list[tuple[PartitionRef, int]]:
        """The partitions whose moment has come, and their incarnations."""
        return [(ref, self._incarnations[ref]) for ref, at_ms in self._next_ms.items() if at_ms <= now_ms]

    @property
    def next_ms(self) -> int:
        """The earliest of all moments."""
        return min(self._next_ms.values(), default=_NEVER_MS)
