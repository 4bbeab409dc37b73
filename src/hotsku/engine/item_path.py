"""The request path of one item: its scheduler, its partitions, and what is known of its standing."""

import asyncio
from collections.abc import Callable
from functools import partial
from math import inf

from msgspec import Struct

from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item
from hotsku.domain.order import OrderRecord
from hotsku.engine.answers import record_of
from hotsku.engine.batch_sizes import BatchSizes
from hotsku.engine.incarnation import KnownIncarnation
from hotsku.engine.needs import ASK_INTERVAL_MS, NeedsBoard
from hotsku.engine.partition import PartitionPath
from hotsku.engine.scheduler import Scheduler
from hotsku.engine.servers import Servers
from hotsku.engine.standing import KnownStanding
from hotsku.engine.steps import StepPath
from hotsku.engine.timing import Timing
from hotsku.errors import BackendUnavailable, UnknownItem
from hotsku.ports import Clock, Ledger, News, PartitionRow, Shard
from hotsku.receipts import Signer
from hotsku.stocking import latest, open_item, reachable

# A tick that comes so late: the process, or its machine, did nothing meanwhile.
_STOOD_STILL_MS = 1_000


class ItemPath(Struct, frozen=True):
    """What a request of one item needs; the lists are by the numbers of its partitions."""

    item: Item
    scheduler: Scheduler
    incarnations: list[KnownIncarnation]
    partitions: list[PartitionPath]
    steps: list[StepPath]
    standing: KnownStanding


class ItemPaths:
    """The items that this engine sells, each loaded from the ledger when it is first asked for."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        shard: Shard,
        clock: Clock,
        board: NeedsBoard,
        relay_max_events: int,
        draw_id: Callable[[], str],
        pick: Callable[[int], int],
        timing: Timing = Timing(),  # noqa: B008  # frozen
        signer: Signer | None = None,
    ) -> None:
        self._ledger = ledger
        self._shard = shard
        self._servers = Servers(shard, clock, timing)
        self._clock = clock
        self._board = board
        self._relay_max_events = relay_max_events
        self._draw_id = draw_id
        self._pick = pick
        self._timing = timing
        self.signer = signer
        self._by_sku: dict[str, ItemPath] = {}
        self._by_id: dict[int, ItemPath] = {}
        self._loading: dict[str, asyncio.Lock] = {}
        self._closed = False
        # The time as of the last tick: what waits, waits for seconds, and asking the clock for each request costs.
        self.now_ms = clock.monotonic_ms()

    def close(self) -> None:
        """Take no more requests; those under way go on."""
        self._closed = True
        self._by_sku.clear()

    def known(self, sku: str) -> ItemPath | None:
        """The item's path, if it is loaded."""
        try:
            return self._by_sku.get(sku)
        except TypeError:  # not even hashable; `load` says what a SKU is
            return None

    @property
    def look_interval_s(self) -> float:
        """How often `trust_again` is to be called."""
        return self._timing.look_ms / 1000

    @property
    def open(self) -> bool:
        """Whether anybody waits for an answer."""
        return any(
            partition.open or steps.open
            for path in self._by_id.values()
            for partition, steps in zip(path.partitions, path.steps, strict=True)
        )

    def take_batch_sizes(self) -> dict[str, BatchSizes]:
        """The sizes of the batches since the last time: of orders, and of steps."""
        return {"orders": self._servers.order_batches.take(), "steps": self._servers.step_batches.take()}

    def tick(self) -> None:
        """Look at everything that waits; call it every `ASK_INTERVAL_MS`."""
        now_ms = self._clock.monotonic_ms()
        late_ms, self.now_ms = now_ms - self.now_ms - ASK_INTERVAL_MS, now_ms
        for path in self._by_id.values():
            for partition, steps in zip(path.partitions, path.steps, strict=True):
                if late_ms > _STOOD_STILL_MS:
                    partition.stood_still(late_ms)
                    steps.stood_still(late_ms)
                partition.tick()
                steps.tick()

    def sold_here(self) -> list[PartitionRef]:
        """The partitions with events that this engine has acknowledged."""
        return [known.ref for path in self._by_id.values() for known in path.incarnations if known.seq]

    async def load(self, sku: str) -> ItemPath:
        """The item's path.

        Raises:
            UnknownItem: the ledger has no such item.
            BackendUnavailable: the inventory is closed, or a back end is away.
        """
        self._check_open()
        async with self._loading.setdefault(sku, asyncio.Lock()):
            path = self._by_sku.get(sku)
            if path is None:
                item = await self._ledger.item(sku)
                if item is None:
                    self._loading.pop(sku, None)  # others that waited find the same
                    raise UnknownItem(sku)
                path = await self._build(item)
                self._check_open()  # whoever closes waits for no item that is only being loaded
                self._by_sku[sku] = self._by_id[item.id] = path
            return path

    def _check_open(self) -> None:
        if self._closed:
            raise BackendUnavailable("the inventory is closed")

    def hear(self, news: News) -> None:
        """The workers tell of stock, of partitions that may be called again, of an item's standing."""
        for ref, units in news.installed:
            if path := self._by_id.get(ref.item_id):
                path.standing.forget()
                path.partitions[ref.partition].stock_came(units)
        for ref in news.rearmed:
            if path := self._by_id.get(ref.item_id):
                path.incarnations[ref.partition].rearmed()
        if news.item_id is not None and news.available is not None and (path := self._by_id.get(news.item_id)):
            path.standing.learn(news.available)
            heard_no = news.heard.get(self._board.engine_id, 0)
            for partition in path.partitions:
                partition.verdict(news.available, heard_no)

    async def trust_again(self) -> None:
        """Read the incarnations of all partitions anew, to be trusted from now on: see `Timing.trust_ms`.

        Raises:
            BackendUnavailable: the ledger is away.
        """
        asked_ms = self._clock.monotonic_ms()
        for row in latest(await self._ledger.partitions()):
            if path := self._by_id.get(row.item_id):
                path.incarnations[row.partition].trust(*self._trust_in(row, asked_ms))

    async def _build(self, item: Item) -> ItemPath:
        asked_ms = self._clock.monotonic_ms()
        rows = latest(await self._ledger.partitions(item.id))
        if any(row.state == "new" for row in rows):  # whoever created the item died before it was open
            await open_item(self._ledger, self._shard, self._clock, item)
        await self._servers.meet(row.ref for row in rows)
        path = self._assemble(item, rows)
        statuses = await reachable(self._shard, [row.ref for row in rows])
        for row, known, partition in zip(rows, path.incarnations, path.partitions, strict=True):
            known.trust(*self._trust_in(row, asked_ms))
            if row.ref in statuses:
                partition.left = statuses[row.ref].left
        return path

    def _assemble(self, item: Item, rows: list[PartitionRow]) -> ItemPath:
        standing = KnownStanding(self._clock)
        incarnations = [self._incarnation(item, row) for row in rows]
        partitions = [self._partition(item, known, standing) for known in incarnations]
        steps = [self._steps(item, known) for known in incarnations]
        scheduler = Scheduler(item.spec.routing, partitions, self._draw_id, self._pick)
        return ItemPath(item, scheduler, incarnations, partitions, steps, standing)

    def _incarnation(self, item: Item, row: PartitionRow) -> KnownIncarnation:
        return KnownIncarnation(
            ref=row.ref,
            sku=item.sku,
            number=row.incarnation,
            clock=self._clock,
            board=self._board,
            relay_max_events=self._relay_max_events,
            look_up=self._current_incarnation,
            mark_fast=self._ledger.mark_fast,
            alone_ms=self._timing.alone_ms,
        )

    def _partition(self, item: Item, known: KnownIncarnation, standing: KnownStanding) -> PartitionPath:
        return PartitionPath(
            sku=item.sku,
            incarnation=known,
            servers=self._servers,
            clock=self._clock,
            standing=standing,
            board=self._board,
            timing=self._timing,
            signer=self.signer,
        )

    def _steps(self, item: Item, known: KnownIncarnation) -> StepPath:
        return StepPath(
            sku=item.sku,
            incarnation=known,
            servers=self._servers,
            clock=self._clock,
            timing=self._timing,
            signer=self.signer,
            booked=partial(self._booked, item.id),
        )

    async def _booked(self, item_id: int, order_id: str, buyer_id: str) -> OrderRecord | None:
        row = await self._ledger.order(item_id, order_id, buyer_id)
        return None if row is None else record_of(row)

    async def _current_incarnation(self, ref: PartitionRef) -> tuple[int, float, bool]:
        asked_ms = self._clock.monotonic_ms()
        row = await self._ledger.partition(ref)
        return (0, 0.0, False) if row is None else self._trust_in(row, asked_ms)

    def _trust_in(self, row: PartitionRow, asked_ms: float) -> tuple[int, float, bool]:
        # Where there is one copy, no other server can answer in its place.
        until_ms = inf if row.durability == "durable" else asked_ms + self._timing.trust_ms
        return row.incarnation, until_ms, row.durability == "replicated"
