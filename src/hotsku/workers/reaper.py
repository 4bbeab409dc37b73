"""The reaper: ends holds whose time is over, leads carts to their end, forgets what ended long ago.

It also sees to it that every partition has its item's newest configuration, and nothing to sell of a closed item. All
of it may be done twice: a hold's end is a compare-and-set on its shard, a cart's in the ledger.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from msgspec import Struct

from hotsku.carts.lines import lead_cart, lead_line
from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item
from hotsku.domain.recovery import RETENTION_MS
from hotsku.domain.sweeping import Agenda, holding
from hotsku.log import get_logger
from hotsku.managing.closing import Closing
from hotsku.ports import CartRow, Clock, Fenced, Ledger, PartitionRow, Shard, Signals, Stale, Work
from hotsku.stocking import latest
from hotsku.workers.retrying import AWAY, repeat

_A_SWEEP = 500
_AT_ONCE = 64
_CARTS_AT_ONCE = 16
_CARTS_A_LOOK = 100
_ITEMS_A_PAGE = 1000

_log = get_logger("reaper")

T = TypeVar("T")
R = TypeVar("R")


class ReaperTiming(Struct, frozen=True, kw_only=True):
    """Milliseconds, but for `keep`.

    Attributes:
        interval_ms: how often the ledger is asked for partitions with holds, and for carts.
        soonest_ms: the least between two looks at a hold's time: clocks differ.
        configure_interval_ms: how often it looks for partitions that missed a pause or a close.
        forget_interval_ms: how often it forgets.
        retention_ms: for how long the record of a hold that ended answers.
        keep: how many of these a partition keeps at most.
    """

    interval_ms: int = 1_000
    soonest_ms: int = 50
    configure_interval_ms: int = 2_000
    forget_interval_ms: int = 30_000
    retention_ms: int = RETENTION_MS
    keep: int = 10_000


class Reaper:
    """A role. Two at once do no harm."""

    name = "reaper"

    def __init__(
        self,
        shard: Shard,
        ledger: Ledger,
        signals: Signals,
        clock: Clock,
        timing: ReaperTiming = ReaperTiming(),  # noqa: B008  # frozen
    ) -> None:
        self._shard = shard
        self._ledger = ledger
        self._signals = signals
        self._clock = clock
        self._timing = timing
        self._agenda = Agenda()
        self._closing = Closing(ledger, shard)
        self._told: dict[tuple[PartitionRef, int], int] = {}

    async def run(self) -> None:
        """Reap until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(repeat(self.name, self._sweep_in_turn))
            for step, interval_ms in (
                (self.finish_carts, self._timing.interval_ms),
                (self.configure, self._timing.configure_interval_ms),
                (self.forget, self._timing.forget_interval_ms),
            ):
                group.create_task(repeat(self.name, _paced(step, interval_ms / 1000)))

    # --- holds ---

    async def sweep(self) -> None:
        """End every hold whose time is over, in all partitions that have any as the ledger knows it."""
        rows = await self._ledger.partitions()
        open_rows = [row for row in latest(rows) if row.state == "open"]
        items = holding((row.item_id, row.held) for row in rows)
        wanted = {row.ref: row.incarnation for row in open_rows if row.item_id in items}
        self._agenda.follow(wanted)
        await self._sweep(list(wanted.items()))

    async def _sweep_in_turn(self) -> None:
        """Look at the ledger, then come back at the moments when holds end, until it is time for the next look."""
        next_look_ms = self._clock.now_ms() + self._timing.interval_ms
        await self.sweep()
        while (now_ms := self._clock.now_ms()) < next_look_ms:
            wake_ms = min(next_look_ms, max(self._agenda.next_ms, now_ms + self._timing.soonest_ms))
            await asyncio.sleep((wake_ms - now_ms) / 1000)
            await self._sweep(self._agenda.due(self._clock.now_ms()))

    async def _sweep(self, partitions: Sequence[tuple[PartitionRef, int]]) -> None:
        changed = await _each(partitions, _AT_ONCE, lambda each: self._sweep_one(*each))
        flush = [ref for (ref, _), each in zip(partitions, changed, strict=True) if each]
        if flush:
            self._signals.publish(Work(flush=flush))  # their units return soon

    async def _sweep_one(self, ref: PartitionRef, incarnation: int) -> bool:
        """Whether something changed. Where the partition is away or fenced, the next look at the ledger tries again."""
        changed = False
        try:
            while True:
                swept = await self._shard.expire(ref, incarnation, _A_SWEEP)
                self._agenda.note(ref, swept.next_ms)
                changed = changed or swept.ended > 0 or bool(swept.cart_lines)
                lead = partial(lead_line, self._ledger, self._shard, ref)
                await _each(swept.cart_lines, _CARTS_AT_ONCE, lead)
                if swept.ended + len(swept.cart_lines) < _A_SWEEP:
                    break
        except (*AWAY, Fenced, Stale):
            self._agenda.note(ref, 0)
        return changed

    # --- carts ---

    async def finish_carts(self) -> None:
        """Release the carts whose time is over, and lead those that are decided to their end."""
        more = True
        while more:
            carts = await self._ledger.due_carts(self._clock.now_ms(), _CARTS_A_LOOK)
            changed = await _each(carts, _CARTS_AT_ONCE, self._finish_cart)
            flush = {ref for refs in changed for ref in refs}
            if flush:
                self._signals.publish(Work(flush=sorted(flush)))
            more = len(carts) == _CARTS_A_LOOK and bool(flush)

    async def _finish_cart(self, cart: CartRow) -> list[PartitionRef]:
        if cart.state == "open":
            cart = await self._ledger.decide_cart(cart.order_id, cart.buyer_id, "released")
        with suppress(*AWAY, Fenced, Stale):
            return await lead_cart(self._ledger, self._shard, cart)
        return []

    # --- configurations ---

    async def configure(self) -> None:
        """Tell every open partition its item's newest configuration, once: one that was away has missed a change. What
        it has of an item that was closed comes back."""
        changed = {item.id: item for item in await self._items() if item.version > 1}
        rows = [
            row for row in latest(await self._ledger.partitions()) if row.state == "open" and row.item_id in changed
        ]
        behind = [row for row in rows if self._told.get((row.ref, row.incarnation), 1) < changed[row.item_id].version]
        await _each(behind, _AT_ONCE, lambda row: self._configure_one(row, changed[row.item_id]))

    async def _configure_one(self, row: PartitionRow, item: Item) -> None:
        with suppress(*AWAY, Fenced, Stale):
            version = await self._shard.configure(row.ref, row.incarnation, item)
            if item.state == "closed":
                await self._closing.take_back(row)
                self._signals.publish(Work(flush=[row.ref]))
            self._told[row.ref, row.incarnation] = version

    async def _items(self) -> list[Item]:
        items: list[Item] = []
        while page := await self._ledger.items(items[-1].sku if items else None, _ITEMS_A_PAGE):
            items += page
        return items

    # --- records ---

    async def forget(self) -> None:
        """Drop the records of holds that ended long ago, or that are too many, where the ledger has their end."""
        rows = [row for row in latest(await self._ledger.partitions()) if row.state == "open"]
        dropped = sum(await _each(rows, _AT_ONCE, self._forget_one))
        if dropped:
            _log.info("records of ended holds were dropped", records=dropped)

    async def _forget_one(self, row: PartitionRow) -> int:
        before_ms = self._clock.now_ms() - self._timing.retention_ms
        dropped = 0
        with suppress(*AWAY, Fenced, Stale):
            while True:
                now = await self._shard.forget(row.ref, row.incarnation, before_ms, self._timing.keep, _A_SWEEP)
                dropped += now
                if now < _A_SWEEP:
                    break
        return dropped


async def _each(things: Iterable[T], at_once: int, work: Callable[[T], Awaitable[R]]) -> list[R]:
    """Do `work` for all things, some at once."""
    rest = list(things)
    done: list[R] = []
    for start in range(0, len(rest), at_once):
        done += await asyncio.gather(*(work(thing) for thing in rest[start : start + at_once]))
    return done


def _paced(step: Callable[[], Awaitable[None]], pause_s: float) -> Callable[[], Awaitable[None]]:
    async def paced() -> None:
        await step()
        await asyncio.sleep(pause_s)

    return paced
