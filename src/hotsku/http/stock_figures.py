"""What the back ends say of the stock when a scrape asks: read then, never kept up to date in between."""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

from hotsku.domain.item import Standing
from hotsku.ports import Ledger, PartitionRow, PartitionStatus, Shard
from hotsku.stocking import latest, reachable, unsold

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
        """See `ItemView`."""
        if self.standing.state == "closed":
            return 0
        return unsold(self.standing.pool, [(each.row, each.status) for each in self.partitions if each.status])

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
        partitions = Counter(row.item_id for row in latest(await self._ledger.partitions()))
        stocks = {item_id: await self._ledger.stock(item_id) for item_id in _newest(partitions)}
        refs = [row.ref for _, rows in stocks.values() for row in latest(rows)]
        statuses = await reachable(self._shard, refs) if refs else {}
        newest = []
        for item_id, (standing, rows) in stocks.items():
            item = await self._ledger.item_by_id(item_id)
            if item is not None:
                figures = [PartitionFigures(row, statuses.get(row.ref)) for row in latest(rows)]
                newest.append(ItemFigures(item.sku, standing, figures))
        return StockFigures(newest, len(partitions), partitions.total())


def _newest(partitions: Mapping[int, int]) -> Sequence[int]:
    """The newest items, as many as there is room for.

    Args:
        partitions: how many each item has.
    """
    shown: list[int] = []
    room = MOST_PARTITIONS
    for item_id in sorted(partitions, reverse=True)[:MOST_ITEMS]:
        room -= partitions[item_id]
        if room < 0:
            break
        shown.append(item_id)
    return shown
