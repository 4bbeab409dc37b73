"""The ledger behind the port: every method is one transaction, run off the event loop."""

import asyncio
from collections.abc import Callable, Sequence

from hotsku.domain.events import Message, PartitionRef
from hotsku.domain.identity import check_quantity
from hotsku.domain.item import Item, ItemSpec, ItemState, Standing, check_spec
from hotsku.errors import InvalidRequest
from hotsku.ledger import carts as carts_
from hotsku.ledger import figures as figures_
from hotsku.ledger import incarnations as incarnations_
from hotsku.ledger import items as items_
from hotsku.ledger import leases as leases_
from hotsku.ledger.adjustments import adjust
from hotsku.ledger.apply import apply
from hotsku.ledger.archive import archive_item
from hotsku.ledger.database import Database
from hotsku.ledger.details import detail_of, history_of, list_details
from hotsku.ledger.faults import LostGuard
from hotsku.ledger.parking import park
from hotsku.ledger.tables import items
from hotsku.ledger.threads import Urgency
from hotsku.ledger.urls import dialect_of
from hotsku.ports import (
    Adjusted,
    Applied,
    Archived,
    CartRow,
    Clock,
    Created,
    DetailRow,
    EventRow,
    Grant,
    Lease,
    LedgerFigures,
    PartitionRow,
)

# A transaction that moves more would hold the database for too long.
_MOST_ARCHIVED = 100_000


def open_ledger(url: str, *, clock: Clock, token_hex: Callable[[int], str], readers: int = 2) -> "SqlLedger":
    """Open the ledger at `url`. A SQLite ledger is migrated, and made where it is absent. Blocks.

    Args:
        url: `sqlite:///PATH`, `postgresql://HOST/DATABASE` or `mysql://HOST/DATABASE`, as settings allow it.
        clock: stamps what the ledger makes itself.
        token_hex: random hexadecimal characters, two for each byte asked for (`secrets.token_hex`); mints the id.
        readers: how many reads may run at once.

    Raises:
        InvalidSettings: the url is of no known kind, its database cannot be used, or must be migrated first
            (`migrate_ledger`).
        BackendUnavailable: the ledger is locked or away, or a newer HotSKU has taken away what this one needs.
    """
    database = Database(dialect_of(url), readers)
    try:
        ledger_id = database.open(clock.now_ms(), token_hex)
    except BaseException:
        database.close()
        raise
    return SqlLedger(database, ledger_id, clock)


def migrate_ledger(url: str, *, clock: Clock, token_hex: Callable[[int], str], post: bool = False) -> str:
    """Bring the schema of the ledger at `url` up to date, and return the ledger's id. Blocks.

    Any number of processes may do it at once, and what was cut off is done again by the next one.

    Args:
        post: also take away what only earlier versions need: when none of their processes runs any more.

    Raises:
        InvalidSettings: as `open_ledger`.
        BackendUnavailable: the ledger is away, or its tables stay locked.
    """
    database = Database(dialect_of(url), readers=1)
    try:
        return database.migrate(clock.now_ms(), token_hex, post=post)
    finally:
        database.close()


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

    async def create_item(self, spec: ItemSpec, durability: str, now_ms: int) -> Created:
        """Make the item with its partitions (incarnation 1, new, without leases), or find it made the same."""
        check_spec(spec)
        return await self._database.write(
            Urgency.CHANGE,
            lambda connection, earlier: items_.create_item(connection, spec, durability, now_ms, earlier),
            of=spec.sku,
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
        """The item's figures, from one statement: total = pool + preallocated + held + sold."""
        return await self._database.read(lambda connection: items_.standing(connection, item_id))

    async def stock(self, item_id: int) -> tuple[Standing, list[PartitionRow]]:
        """The item's figures and its (partition, incarnation)s, in order, as one snapshot: a lease that is out of the
        pool is in its partition's row."""
        return await self._database.read(
            lambda connection: (
                items_.standing(connection, item_id),
                leases_.list_partitions(connection, item_id),
            )
        )

    async def set_item_state(self, item_id: int, state: ItemState) -> Item:
        """Open, pause or close an item, and count its version up; what is closed stays closed, and gets no leases.

        Returns:
            The item as it is then.

        Raises:
            UnknownItem: there is none.
        """
        return await self._database.write(
            Urgency.CHANGE, lambda connection, _: items_.set_item_state(connection, item_id, state), of=item_id
        )

    async def adjust(self, item_id: int, adjustment_id: str, quantity: int, now_ms: int) -> Adjusted:
        """Change an item's total and its pool by `quantity` units, once for each `adjustment_id` of the item.

        Raises:
            InvalidRequest: `quantity` is not an integer from 1 to 10^9, or the negative of one.
            UnknownItem: there is none.
        """
        check_quantity(abs(quantity))
        return await self._database.write(
            Urgency.CHANGE,
            lambda connection, _: adjust(connection, item_id, adjustment_id, quantity, now_ms),
            of=item_id,
        )

    async def partitions(self, item_id: int | None = None) -> list[PartitionRow]:
        """Every (partition, incarnation) of the item, or of all items, in order."""
        return await self._database.read(lambda connection: leases_.list_partitions(connection, item_id))

    async def partition(self, ref: PartitionRef) -> PartitionRow | None:
        """The partition in its latest incarnation, if any."""
        rows = await self._database.read(lambda connection: leases_.list_partitions(connection, None, ref))
        return rows[-1] if rows else None

    async def open_partition(self, ref: PartitionRef, incarnation: int) -> None:
        """A new or rebuilt partition sells from now on; one in any other state stays as it is."""
        await self._database.write(
            Urgency.LEASE,
            lambda connection, _: leases_.open_partition(connection, ref, incarnation),
            of=ref.item_id,
        )

    async def mark_fast(self, ref: PartitionRef, incarnation: int) -> bool:
        """Not every write of the partition is synced, or on every copy, from now on: only a seal proves a restart.

        Returns:
            Whether it is so; False where the incarnation is fenced or over: its end may have been proven already.
        """
        return await self._database.write(
            Urgency.LEASE, lambda connection, _: leases_.mark_fast(connection, ref, incarnation), of=ref.item_id
        )

    async def fence_partition(self, ref: PartitionRef, incarnation: int, reason: str) -> None:
        """A new or open partition gets no more leases; one in any other state stays as it is."""
        await self._database.write(
            Urgency.LEASE,
            lambda connection, _: leases_.fence_partition(connection, ref, incarnation, reason),
            of=ref.item_id,
        )

    async def replace_incarnation(
        self,
        ref: PartitionRef,
        incarnation: int,
        final_seq: int,
        *,
        durability: str,
        quarantine_until_ms: int | None,
        now_ms: int,
    ) -> bool:
        """End a fenced incarnation whose events are all applied, and begin the next one, in state "rebuilding".

        Args:
            final_seq: its last event; nothing above it is applied any more.
            durability: of the next one, "durable" or "fast".
            quarantine_until_ms: until when its unsold units are held back (`end_quarantines`); None: they go back to
                the pool at once.

        Returns:
            Whether the ledger has the next incarnation now, whoever began it. False where this one is not fenced, or
            its last applied event is not `final_seq`: then nothing changed.
        """
        return await self._database.write(
            Urgency.LEASE,
            lambda connection, _: incarnations_.replace_incarnation(
                connection, ref, incarnation, final_seq, durability, quarantine_until_ms, now_ms
            ),
            of=ref.item_id,
        )

    async def end_quarantines(self, now_ms: int) -> list[PartitionRef]:
        """Give back to the pools the units whose quarantine is over, each exactly once, whoever calls.

        Returns:
            The partitions of which this call ended an incarnation's quarantine. Up to 500: ask until there are none.
        """
        return await self._database.write(
            Urgency.CHANGE,
            lambda connection, unsure: incarnations_.end_quarantines(connection, now_ms, unsure or []),
            of=("quarantines",),
        )

    async def lease(self, grants: Sequence[Grant], now_ms: int) -> list[Lease] | None:
        """Make every grant in one transaction, or none: None where a partition or a pool is not as they take it to be.

        Several grants for one partition must name consecutive numbers.
        """
        for grant in grants:
            check_quantity(grant.quantity)
        if not grants:
            return []
        dialect = self._database.dialect
        try:
            return await self._database.write(
                Urgency.LEASE,
                lambda connection, unsure: leases_.lease(connection, dialect, grants, now_ms, unsure),
                of=grants[0].ref.item_id,  # a round leases for one item
            )
        except LostGuard:
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
        return (await self.apply_all([message]))[0]

    async def apply_all(self, messages: Sequence[Message]) -> list[Applied]:
        """Apply messages in their order, as `apply` does each, in one transaction. Returns what became of each.

        Raises:
            CorruptMessage, ConservationBroken: because of one of them nothing moved.
        """
        dialect, now_ms = self._database.dialect, self._clock.now_ms()
        return await self._database.write(
            Urgency.APPLY,
            lambda connection, unsure: apply(connection, dialect, self._ledger_id, messages, now_ms, unsure),
        )

    async def park(self, body: bytes, reason: str, now_ms: int) -> None:
        """Keep a message that cannot be applied, with its reason; the same body again does nothing."""
        await self._database.write(
            Urgency.APPLY, lambda connection, _: park(connection, self._database.dialect, body, reason, now_ms)
        )

    async def order(self, item_id: int, order_id: str, buyer_id: str) -> DetailRow | None:
        """The order's deduction, if the ledger has it."""
        return await self._database.read(lambda connection: detail_of(connection, item_id, order_id, buyer_id))

    async def orders(
        self, item_id: int, state: str | None, before_ms: int | None, after: DetailRow | None, limit: int
    ) -> list[DetailRow]:
        """Up to `limit` deductions of the item in a state (None: any), made before a time (None: whenever).

        They come by (partition, incarnation, seq), after the one of `after`. All rows on the way are looked at.
        """
        return await self._database.read(
            lambda connection: list_details(connection, item_id, after, limit, state, before_ms)
        )

    async def history(self, item_id: int, order_id: str, buyer_id: str) -> list[EventRow]:
        """Every event of the order that the ledger has, in the order of their happening."""
        return await self._database.read(lambda connection: history_of(connection, item_id, order_id, buyer_id))

    async def open_cart(self, cart: CartRow) -> CartRow:
        """Make the cart, or return the one that its buyer has under this order already."""
        return await self._database.write(
            Urgency.CHANGE,
            lambda connection, _: carts_.open_cart(connection, cart),
            of=(cart.buyer_id, cart.order_id),
        )

    async def cart(self, order_id: str, buyer_id: str) -> CartRow | None:
        """The cart, if any."""
        return await self._database.read(lambda connection: carts_.find_cart(connection, order_id, buyer_id))

    async def hold_cart(self, order_id: str, buyer_id: str, expires_at_ms: int) -> CartRow:
        """All lines of an open cart are held until `expires_at_ms`. Returns the cart as it is then.

        Raises:
            InvalidRequest: there is none.
        """
        return await self._database.write(
            Urgency.CHANGE,
            lambda connection, _: carts_.hold_cart(connection, order_id, buyer_id, expires_at_ms),
            of=(buyer_id, order_id),
        )

    async def decide_cart(
        self, order_id: str, buyer_id: str, state: str, *, payment_ref: str = "", refusal: str = ""
    ) -> CartRow:
        """Decide an open cart: "confirmed", where all of its lines are held, or "released". The first decision stands.

        Returns:
            The cart as it is then.

        Raises:
            InvalidRequest: there is none.
        """
        return await self._database.write(
            Urgency.CHANGE,
            lambda connection, _: carts_.decide_cart(connection, order_id, buyer_id, state, payment_ref, refusal),
            of=(buyer_id, order_id),
        )

    async def finish_cart(self, order_id: str, buyer_id: str, *, payment_ref: str = "") -> None:
        """Every line of a decided cart has followed the decision, and has heard `payment_ref`; nothing is done where a
        payment was named since."""
        await self._database.write(
            Urgency.CHANGE,
            lambda connection, _: carts_.finish_cart(connection, order_id, buyer_id, payment_ref),
            of=(buyer_id, order_id),
        )

    async def due_carts(self, now_ms: int, limit: int) -> list[CartRow]:
        """Up to `limit` carts that somebody must go on with: open ones past their time, and decided unfinished ones."""
        return await self._database.read(lambda connection: carts_.due_carts(connection, now_ms, limit))

    async def details(self, item_id: int, after: DetailRow | None, limit: int) -> list[DetailRow]:
        """Up to `limit` deductions of the item, by (partition, incarnation, seq), after the one of `after`."""
        return await self._database.read(lambda connection: list_details(connection, item_id, after, limit))

    async def orders_of(self, ref: PartitionRef, after: DetailRow | None, limit: int) -> list[DetailRow]:
        """Up to `limit` deductions of the partition in all incarnations, by (incarnation, seq), after `after`."""
        return await self._database.read(lambda connection: list_details(connection, ref, after, limit))

    async def figures(self, item_id: int | None = None) -> LedgerFigures:
        """All that an audit compares, of one item or of all, as one snapshot."""
        return await self._database.read(lambda connection: figures_.figures(connection, item_id))

    async def archive_item(self, item_id: int, limit: int, now_ms: int) -> Archived:
        """Move up to `limit` deductions or steps of a closed item to the archive. Ask until it is done.

        Everything still finds them; the tables that sales write to stay small. A move is one transaction, so an
        archiving that was cut off goes on where it was.

        Raises:
            InvalidRequest: the item is not closed, or `limit` is not from 1 to 100,000.
            UnknownItem: there is none.
        """
        if not 1 <= limit <= _MOST_ARCHIVED:
            raise InvalidRequest("limit", f"an integer from 1 to {_MOST_ARCHIVED}")
        return await self._database.write(
            Urgency.APPLY, lambda connection, _: archive_item(connection, item_id, limit, now_ms)
        )
