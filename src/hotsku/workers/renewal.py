"""A new incarnation for a partition whose memory is lost, out of date, or on another server than before.

    open ──fence──► fenced ──salvage, close──► (closed) rebuilding ──renew, load──► open

Every step is a compare-and-set in the ledger or on the shard, and does nothing when it comes twice: any number of
recoverers may do this at once, and whoever finds a partition half-way goes on from there. The relay publishes what a
fenced partition's stream still holds; the ledger's watermark says when that is done.
"""

from collections import Counter
from collections.abc import Callable
from typing import Literal

from hotsku.domain.deduction import OrderState
from hotsku.domain.events import EventKind, PartitionRef
from hotsku.domain.item import Item
from hotsku.domain.order import OrderRecord
from hotsku.domain.recovery import counted_units, held_at_least, is_forgotten
from hotsku.domain.routing import order_field
from hotsku.log import get_logger
from hotsku.ports import (
    Clock,
    DetailRow,
    Fenced,
    Ledger,
    Loaded,
    PartitionRow,
    PartitionStatus,
    Shard,
    Signals,
    Stale,
    Work,
)
from hotsku.stocking import configure_newest

# As many as one call may bring.
_PAGE = 1000

_log = get_logger("recoverer")


class Renewal:
    """Leads partitions from "fenced" to "open" under their next incarnation."""

    def __init__(
        self,
        shard: Shard,
        ledger: Ledger,
        signals: Signals,
        clock: Clock,
        *,
        durability_of_new: Callable[[], str],
        quarantine_ms: int,
    ) -> None:
        """
        Args:
            durability_of_new: what a partition that begins now can count on.
            quarantine_ms: how long the units of a lost incarnation wait.
        """
        self._shard = shard
        self._ledger = ledger
        self._signals = signals
        self._clock = clock
        self._durability_of_new = durability_of_new
        self._quarantine_ms = quarantine_ms

    async def close(self, row: PartitionRow, *, proven: bool) -> bool:
        """Close a fenced incarnation where its stream ends, once the ledger has all of that, and begin the next.

        Args:
            proven: nothing that was acknowledged is missing.

        Returns:
            Whether the next one has begun; False: the ledger does not have everything yet.

        Raises:
            Lost, BackendUnavailable: a back end is away.
        """
        await self._shard.end(row.ref, row.incarnation)  # else it could sell on behind our back
        rest = await self._rest_of_stream(row)
        if rest == "more":
            self._signals.publish(Work(flush=[row.ref]))
            return False
        proven = proven and rest == "none"
        now_ms = self._clock.now_ms()
        closed = await self._ledger.replace_incarnation(
            row.ref,
            row.incarnation,
            row.watermark,
            durability=self._durability_of_new(),
            quarantine_until_ms=None if proven else now_ms + self._quarantine_ms,
            now_ms=now_ms,
        )
        if closed:
            _log.warning(
                "an incarnation is over",
                item_id=row.item_id,
                partition=row.partition,
                incarnation=row.incarnation,
                final_seq=row.watermark,
                units_left=row.preallocated,
                quarantined=not proven,
            )
        return closed

    async def rebuild(self, ref: PartitionRef) -> bool:
        """Give a partition that has a new incarnation in the ledger its orders back on the shard, and open it.

        Returns:
            Whether it is open; False: look again.

        Raises:
            Lost, BackendUnavailable: a back end is away.
        """
        # Before the ledger: should the shard restart in between, what follows from the ledger is refused.
        memory = await self._shard.memory(ref)
        rows = [row for row in await self._ledger.partitions(ref.item_id) if row.ref == ref]
        item = await self._ledger.item_by_id(ref.item_id)
        if item is None or len(rows) < 2 or rows[-1].state != "rebuilding":
            return False
        earlier, row = rows[-2:]
        keep_seq = _kept(earlier, await self._shard.status(ref))
        answer = await self._shard.renew(ref, row.incarnation, item, memory, keep_seq)
        held_until_ms = max(each.quarantined_until_ms or 0 for each in rows)
        if answer == "rebuilding" and not await self._load(item, row, memory, held_until_ms):
            return False
        if answer == "refused":
            return False
        try:
            await configure_newest(self._ledger, self._shard, row)
        except (Fenced, Stale):
            return False  # it has restarted meanwhile, or another recoverer is further
        await self._ledger.open_partition(ref, row.incarnation)
        _log.warning(
            "an incarnation has begun",
            item_id=ref.item_id,
            partition=ref.partition,
            incarnation=row.incarnation,
            shard=self._shard.name_of(ref),
            orders="kept" if answer == "armed" else "rebuilt from the ledger",
        )
        return True

    async def _rest_of_stream(self, row: PartitionRow) -> Literal["none", "more", "broken"]:
        """Does the shard's stream have the events that follow the ledger's last?"""
        status = await self._shard.status(row.ref)
        if status.incarnation != row.incarnation or status.seq <= row.watermark:
            return "none"
        entries = await self._shard.read(row.ref, row.incarnation, row.watermark, 1)
        if entries and entries[0].last_seq - len(entries[0].events()) <= row.watermark:
            return "more"
        _log.error(
            "events are missing from the stream, and those that follow them cannot be booked",
            item_id=row.item_id,
            partition=row.partition,
            after_seq=row.watermark,
            last_seq=status.seq,
        )
        return "broken"

    async def _load(self, item: Item, row: PartitionRow, memory: str, held_until_ms: int) -> bool:
        """Bring the orders back, and what their buyers have.

        Args:
            held_until_ms: a memory was lost: no hold ends before that.
        """
        now_ms = self._clock.now_ms()
        bought: Counter[str] = Counter()
        loaded, holds = 0, 0
        page: list[DetailRow] = []
        while page := await self._ledger.orders_of(row.ref, page[-1] if page else None, _PAGE):
            records = [(each, held_at_least(_record(each), held_until_ms)) for each in page]
            orders = [
                (order_field(each.order_id, each.buyer_id), record)
                for each, record in records
                if not is_forgotten(record, now_ms)
            ]
            if not await self._shard.load(row.ref, row.incarnation, memory, orders, ()):
                return False
            loaded += len(orders)
            holds += sum(record.state is OrderState.HELD for _, record in orders)
            if item.spec.limit_per_buyer is not None:
                for each, record in records:
                    bought[each.buyer_id] += counted_units(record, restores=item.spec.refund_restores_limit)
        buyers = [(buyer, units) for buyer, units in bought.items() if units]
        for start in range(0, len(buyers), _PAGE):
            if not await self._shard.load(row.ref, row.incarnation, memory, (), buyers[start : start + _PAGE]):
                return False
        everything = Loaded(orders=loaded, buyers=len(buyers), holds=holds)
        return await self._shard.finish(row.ref, row.incarnation, memory, everything)


def _kept(earlier: PartitionRow, status: PartitionStatus) -> int | None:
    """The seq at which the shard has just what the ledger has of the earlier incarnation: then its orders are all
    there, and need not be brought back. Its holds must be, where something may be missing: they get more time."""
    same = status.whole and (status.incarnation, status.seq) == (earlier.incarnation, earlier.final_seq)
    put_off = earlier.quarantined_until_ms is not None and status.holds > 0
    return earlier.final_seq if same and not put_off else None


def _record(detail: DetailRow) -> OrderRecord:
    """The order's record as the shard had it."""
    return OrderRecord(
        detail.quantity,
        detail.incarnation,
        detail.seq,
        detail.created_at_ms,
        held=detail.born == EventKind.HELD,
        state=OrderState(detail.state),
        paying=detail.paying,
        cart=detail.cart,
        expires_at_ms=detail.expires_at_ms,
        refunded=detail.refunded,
        step_incarnation=detail.step_incarnation,
        step_seq=detail.step_seq,
        step_at_ms=detail.step_at_ms,
        payment_ref=detail.payment_ref,
        metadata=detail.metadata,
    )
