"""What shards are called over HTTP: by a number, for nobody there is to hear where they are."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from hotsku.domain.events import PartitionRef
from hotsku.domain.placement import POINTS
from hotsku.engine.views import PartitionView
from hotsku.ports import Shard


class ShardNumbers:
    """The numbers of the shards, from 1, in the order of the points where partitions lie. A shard that takes another's
    place gets its number."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    def places(self) -> Mapping[str, PartitionRef]:
        """For each shard's number as text a partition's place on it, as of now."""
        return {str(number): ref for number, ref in enumerate(self._by_name().values(), 1)}

    def in_place_of_names(self, views: Iterable[PartitionView]) -> list[PartitionView]:
        """The same partitions, with their shards' numbers."""
        numbers = {name: str(number) for number, name in enumerate(self._by_name(), 1)}
        return [replace(view, shard=numbers.get(view.shard, "")) for view in views]

    def _by_name(self) -> Mapping[str, PartitionRef]:
        refs: dict[str, PartitionRef] = {}
        for number in range(POINTS):
            ref = PartitionRef(0, number)
            refs.setdefault(self._shard.name_of(ref), ref)
        return refs
