"""What the back ends say of the stock when a scrape asks: read then, never kept up to date in between."""

from collections.abc import Sequence

from msgspec import Struct

from hotsku.domain.item import Standing
from hotsku.ports import Ledger, PartitionRow, PartitionStatus, Shard
from hotsku.stocking import latest, reachable

# The newest items are told apart, and of them the newest partitions: what a scrape may have in series is bounded.
MOST_ITEMS = 100
MOST_PARTITIONS = 1_000


class PartitionFigures(Struct, frozen=True):
    """One partition: its ledger row, and its shard's status where the shard answers."""

    row: PartitionRow
    status: PartitionStatus | None

    @property
    def lag(self) -> int:
        """Events that the ledger does not have yet."""
        return max(0, self.status.seq - self.row.watermark) if self.status else 0

    @property
    def fenced(self) -> bool:
        return self.row.state != "new" and (
            self.row.state != "open" or (self.status is not None and not self.status.armed)
        )


class ItemFigures(Struct, frozen=True):
    """One item and its partitions."""

    sku: str
    standing: Standing
    partitions: list[PartitionFigures]

    @property
    def available(self) -> int:
        """What the shards and the pool could sell now; nothing where the item was closed."""
        if self.standing.state == "closed":
            return 0
        return self.standing.pool + sum(p.status.left for p in self.partitions if p.status and p.status.armed)

    @property
    def lag(self) -> int:
        """Events that the ledger does not have yet."""
        return sum(partition.lag for partition in self.partitions)

    @property
    def fenced(self) -> int:
        """Partitions that are fenced."""
        return sum(partition.fenced for partition in self.partitions)


class StockFigures(Struct, frozen=True):
    """The newest items in full. `items` and `partitions` count all that there are."""

    newest: list[ItemFigures]
    items: int
    partitions: int


class StockReader:
    """Reads the figures."""

    def __init__(self, ledger: Ledger, shard: Shard) -> None:
        self._ledger = ledger
        self._shard = shard

    async def read(self) -> StockFigures:
        """The figures, as of now.

        Raises:
            BackendUnavailable: the ledger cannot be read.
            Lost: no shard can be reached.
        """
        rows = latest(await self._ledger.partitions())
        by_item: dict[int, list[PartitionRow]] = {}
        for row in rows:
            by_item.setdefault(row.item_id, []).append(row)
        shown = _newest(by_item)
        refs = [row.ref for item_id in shown for row in by_item[item_id]]
        statuses = await reachable(self._shard, refs) if refs else {}
        newest = []
        for item_id in shown:
            partitions = [PartitionFigures(row, statuses.get(row.ref)) for row in by_item[item_id]]
            item = await self._ledger.item_by_id(item_id)
            if item is not None:
                newest.append(ItemFigures(item.sku, await self._ledger.standing(item_id), partitions))
        return StockFigures(newest, len(by_item), len(rows))


def _newest(by_item: dict[int, list[PartitionRow]]) -> Sequence[int]:
    """The newest items, as many as there is room for."""
    shown: list[int] = []
    room = MOST_PARTITIONS
    for item_id in sorted(by_item, reverse=True)[:MOST_ITEMS]:
        room -= len(by_item[item_id])
        if room < 0:
            break
        shown.append(item_id)
    return shown
