"""The ledger behind the port: every method is one transaction, run off the event loop."""

import asyncio
from collections.abc import Callable, Sequence

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from hotsku.domain.events import Message, PartitionRef
from hotsku.domain.identity import check_quantity
from hotsku.domain.item import Item, ItemSpec, Standing, check_spec
from hotsku.errors import InvalidSettings
from hotsku.ledger import figures as figures_
from hotsku.ledger import items as items_
from hotsku.ledger import leases as leases_
from hotsku.ledger.apply import apply
from hotsku.ledger.database import Database
from hotsku.ledger.details import detail_of, list_details
from hotsku.ledger.parking import park
from hotsku.ledger.tables import items
from hotsku.ledger.threads import Urgency
from hotsku.ports import Applied, Clock, DetailRow, Grant, Lease, LedgerFigures, PartitionRow

_SQLITE = "sqlite"


def open_ledger(url: str, *, clock: Clock, token_hex: Callable[[int], str], readers: int = 2) -> "SqlLedger":
    """Open the ledger at `url`, migrated. Blocks.

    Args:
        url: `sqlite:///PATH`; the file and its folder are made where they are absent.
        clock: stamps what the ledger makes itself.
        token_hex: random hexadecimal characters, two for each byte asked for (`secrets.token_hex`); mints the id.
        readers: how many reads may run at once.

    Raises:
        InvalidSettings: the url is of no known kind, or its file cannot be opened or written.
        BackendUnavailable: the ledger is locked, or a newer HotSKU has migrated it.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidSettings("ledger_url must be a URL like sqlite:///./.hotsku/ledger.db") from error
    if parsed.drivername != _SQLITE:
        raise InvalidSettings(f"ledger_url must begin with sqlite:///, not {parsed.drivername}:")
    database = Database(parsed, readers)
    try:
        ledger_id = database.migrate(clock.now_ms(), token_hex)
    except BaseException:
        database.close()
        raise
    return SqlLedger(database, ledger_id, clock)


class SqlLedger:
    """Implements `hotsku.ports.Ledger`. Made by `open_ledger`; usable from any event loop."""

    def __init__(self, database: Database, ledger_id: str, clock: Clock) -> None:
        self._database = database
        self._ledger_id = ledger_id
        self._clock = clock

    @property
    def ledger_id(self) -> str:
        """What keys, messages and queues of this ledger carry."""
        return self._ledger_id

    async def close(self) -> None:
        """Finish what was begun, and close. Later calls raise `BackendUnavailable`."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """Like `close`, for where no event loop runs. Blocks."""
        self._database.close()

    async def create_item(self, spec: ItemSpec, durability: str, now_ms: int) -> Item:
        """Make the item with its partitions (incarnation 1, new, without leases), or find it made the same."""
        check_spec(spec)
        return await self._database.write(
            Urgency.CHANGE, lambda connection: items_.create_item(connection, spec, durability, now_ms)
        )

    async def item(self, sku: str) -> Item | None:
        """The item with this SKU, if any."""
        return await self._database.read(lambda connection: items_.item_where(connection, items.c.sku == sku))

    async def item_by_id(self, item_id: int) -> Item | None:
        """The item with this id, if any."""
        return await self._database.read(lambda connection: items_.item_where(connection, items.c.id == item_id))

    async def items(self, after: str | None, limit: int) -> list[Item]:
        """Up to `limit` items in the order of their SKUs, after the SKU `after`."""
        return await self._database.read(lambda connection: items_.list_items(connection, after, limit))

    async def standing(self, item_id: int) -> Standing:
        """The item's figures, from one statement: total = pool + preallocated + sold."""
        return await self._database.read(lambda connection: items_.standing(connection, item_id))

    async def partitions(self, item_id: int | None = None) -> list[PartitionRow]:
        """Every (partition, incarnation) of the item, or of all items, in order."""
        return await self._database.read(lambda connection: leases_.list_partitions(connection, item_id))

    async def partition(self, ref: PartitionRef) -> PartitionRow | None:
        """The partition in its latest incarnation, if any."""
        rows = await self._database.read(lambda connection: leases_.list_partitions(connection, None, ref))
        return rows[-1] if rows else None

    async def open_partition(self, ref: PartitionRef, incarnation: int) -> None:
        """A new partition sells from now on; an open or fenced one stays as it is."""
        await self._database.write(
            Urgency.LEASE, lambda connection: leases_.open_partition(connection, ref, incarnation)
        )

    async def mark_fast(self, ref: PartitionRef, incarnation: int) -> None:
        """The partition is armed where not every write is synced: from now on only a seal proves a restart."""
        await self._database.write(Urgency.LEASE, lambda connection: leases_.mark_fast(connection, ref, incarnation))

    async def fence_partition(self, ref: PartitionRef, incarnation: int, reason: str) -> None:
        """The partition gets no more leases. The first reason stays."""
        await self._database.write(
            Urgency.LEASE, lambda connection: leases_.fence_partition(connection, ref, incarnation, reason)
        )

    async def lease(self, grants: Sequence[Grant], now_ms: int) -> list[Lease] | None:
        """Make every grant in one transaction, or none: None where a partition or a pool is not as they take it to be.

        Several grants for one partition must name consecutive numbers.
        """
        for grant in grants:
            check_quantity(grant.quantity)
        if not grants:
            return []
        try:
            return await self._database.write(
                Urgency.LEASE, lambda connection: leases_.lease(connection, grants, now_ms)
            )
        except leases_.LostGuard:
            return None

    async def leases_after(self, ref: PartitionRef, incarnation: int, no: int) -> list[Lease]:
        """The partition's leases with higher numbers than `no`, in order."""
        return await self._database.read(lambda connection: leases_.leases_after(connection, ref, incarnation, no))

    async def apply(self, message: Message) -> Applied:
        """Apply the message's events that the ledger does not have, exactly once.

        Raises:
            CorruptMessage: its events are not what it says; nothing moved.
            ConservationBroken: it would break conservation; nothing moved.
        """
        return await self._database.write(
            Urgency.APPLY, lambda connection: apply(connection, self._ledger_id, message, self._clock.now_ms())
        )

    async def park(self, body: bytes, reason: str, now_ms: int) -> None:
        """Keep a message that cannot be applied, with its reason; the same body again does nothing."""
        await self._database.write(Urgency.APPLY, lambda connection: park(connection, body, reason, now_ms))

    async def order(self, item_id: int, order_id: str, buyer_id: str) -> DetailRow | None:
        """The order's deduction, if the ledger has it."""
        return await self._database.read(lambda connection: detail_of(connection, item_id, order_id, buyer_id))

    async def details(self, item_id: int, after: DetailRow | None, limit: int) -> list[DetailRow]:
        """Up to `limit` deductions of the item, by (partition, incarnation, seq), after the one of `after`."""
        return await self._database.read(lambda connection: list_details(connection, item_id, after, limit))

    async def figures(self, item_id: int | None = None) -> LedgerFigures:
        """All that an audit compares, of one item or of all, as one snapshot."""
        return await self._database.read(lambda connection: figures_.figures(connection, item_id))
