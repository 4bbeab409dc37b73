"""What a round of the replenisher decides upon: one item, as the shards and the ledger had it."""

from msgspec import Struct

from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item, Standing
from hotsku.ports import PartitionRow, PartitionStatus


class Scene(Struct, frozen=True):
    """The shards were read first, then the standing, the rows last; `statuses` has the armed partitions alone."""

    item: Item
    standing: Standing
    rows: dict[PartitionRef, PartitionRow]
    statuses: dict[PartitionRef, PartitionStatus]

    @property
    def returning(self) -> int:
        """Units that shards gave back and the pool does not have yet."""
        return sum(max(0, status.returned - self.rows[ref].returned) for ref, status in self.statuses.items())

    @property
    def available(self) -> int:
        """Units that are not sold: the ledger's, less what shards have sold and the ledger does not have yet, and less
        what is quarantined. It may be too high, never too low.

        Only for first incarnations: a later one may have booked a sale as returned (another seq had sold its order), so
        that its two counts differ for ever.
        """
        sold = ((status.taken, self.rows[ref]) for ref, status in self.statuses.items())
        unknown = sum(max(0, taken - row.applied) for taken, row in sold if row.incarnation == 1)
        return self.standing.actual - self.standing.quarantined - unknown

    @property
    def awaited(self) -> list[PartitionRef]:
        """The partitions whose events matter now: units on their way to the pool, and what `available` cannot know."""
        return [
            ref
            for ref, status in self.statuses.items()
            if status.returned > self.rows[ref].returned
            or (self.rows[ref].incarnation > 1 and status.seq > self.rows[ref].watermark)
        ]
