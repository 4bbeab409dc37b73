"""What the parts of an inventory share: the back ends, the paths of the items' requests, and an orderly end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self

from hotsku.domain.conservation import AuditReport
from hotsku.domain.identity import check_id
from hotsku.domain.item import Item
from hotsku.engine.batch_sizes import BatchSizes
from hotsku.engine.item_path import ItemPath, ItemPaths
from hotsku.engine.needs import ASK_INTERVAL_MS, NeedsBoard
from hotsku.errors import BackendUnavailable, InvalidRequest, UnknownItem
from hotsku.log import get_logger
from hotsku.ports import Clock, Fenced, Ledger, Lost, Shard, Signals, Stale, Work

_CLOSE_PATIENCE_S = 10.0
_CLOSE_LOOK_S = 0.005
_MOST_A_PAGE = 1000
NOT_READY = (Fenced, Stale, Lost)

_log = get_logger("engine")


class Engine:
    """The base of `Inventory`, which has all of its public methods but these."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        shard: Shard,
        signals: Signals,
        clock: Clock,
        paths: ItemPaths,
        board: NeedsBoard,
        durability: str,
        audit: Callable[[int | None], Awaitable[AuditReport]],
    ) -> None:
        """Made by `hotsku.connect()`."""
        self._ledger = ledger
        self._shard = shard
        self._signals = signals
        self._clock = clock
        self._paths = paths
        self._board = board
        self._durability = durability
        self._audit = audit
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._paths.tick()
        self._signals.subscribe(news=self._paths.hear)
        self._tasks = [asyncio.create_task(self._tick()), asyncio.create_task(self._look())]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Answer what is under way, take nothing new, and have what was sold sent to the ledger."""
        self._paths.close()
        try:
            await self._settle()
        finally:
            for task in self._tasks:
                task.cancel()
        self._signals.publish(Work(flush=self._paths.sold_here()))

    def take_batch_sizes(self) -> dict[str, BatchSizes]:
        """How large the batches were that shards decided since the last time this was asked: of orders, and of
        steps. For whoever tells of them."""
        return self._paths.take_batch_sizes()

    # --- for the parts ---

    async def _path(self, sku: str) -> ItemPath:
        return self._paths.known(sku) or await self._load(sku)

    async def _load(self, sku: str) -> ItemPath:
        try:
            return await self._paths.load(check_id("sku", sku))
        except NOT_READY as error:
            raise BackendUnavailable(why(error)) from error

    async def _known_item(self, sku: str) -> Item:
        item = await self._ledger.item(check_id("sku", sku))
        if item is None:
            raise UnknownItem(sku)
        return item

    # --- inside ---

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(ASK_INTERVAL_MS / 1000)
            try:
                self._paths.tick()
                self._board.repeat_asks()
            except Exception as error:  # what waits must be told in time all the same
                _log.error("this is a bug in hotsku", exc_info=error)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._paths.look_interval_s)
            with suppress(BackendUnavailable):  # trust runs out by itself
                await self._paths.trust_again()

    async def _settle(self) -> None:
        """Wait for the calls that are open. It looks, for each call that had to be counted would cost more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_PATIENCE_S):
                while self._paths.open:  # noqa: ASYNC110
                    await asyncio.sleep(_CLOSE_LOOK_S)
        await asyncio.sleep(0)  # who has just been answered hears it first


def check_page(limit: object) -> int:
    """Return `limit` if a page may have so many.

    Raises:
        InvalidRequest: it may not.
    """
    if type(limit) is int and 1 <= limit <= _MOST_A_PAGE:
        return limit
    raise InvalidRequest("limit", f"an integer from 1 to {_MOST_A_PAGE}")


def why(error: Exception) -> str:
    """Why a shard was not ready, for people."""
    if isinstance(error, Lost):
        return str(error)
    return "the shard's memory of the item is not the one that was armed; see `hotsku audit`"
