"""Reads what the ledger has, with a connection of its own: what a sale comes to is not asked of those who made it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from hotsku.clock import SystemClock
from hotsku.engine.inventory import Inventory
from hotsku.errors import BackendUnavailable, UnknownItem
from hotsku.ledger import SqlLedger, open_ledger
from hotsku.ports import Clock, DetailRow, Ledger
from hotsku.settings import Settings

_PAGE = 10_000
_POLL_S = 0.05
# The ledger may stand still for so long, with events to apply, before we stop waiting for it.
_STILL_MS = 60_000.0


@asynccontextmanager
async def reading_ledger(settings: Settings) -> AsyncIterator[SqlLedger]:
    """The ledger that the settings name."""
    ledger = await asyncio.to_thread(
        open_ledger, settings.ledger_url, clock=SystemClock(), token_hex=secrets.token_hex, readers=1
    )
    try:
        yield ledger
    finally:
        await ledger.close()


async def details(ledger: Ledger, sku: str) -> AsyncIterator[DetailRow]:
    """Every deduction of the item, as the ledger's rows have it.

    Raises:
        UnknownItem: there is no such item.
    """
    item = await ledger.item(sku)
    if item is None:
        raise UnknownItem(sku)
    page = await ledger.details(item.id, None, _PAGE)
    while page:
        for row in page:
            yield row
        page = await ledger.details(item.id, page[-1], _PAGE) if len(page) == _PAGE else []


async def settle(
    stock: Inventory, skus: list[str], clock: Clock, tell: Callable[[int], None], stop: asyncio.Event | None = None
) -> int:
    """Wait until the ledger has every event of the items.

    Args:
        tell: called with the events that it is behind, now and then.
        stop: set, it ends the wait.

    Returns:
        How many events it is behind when the wait ends: 0, or it stood still for a minute or was stopped.
    """
    waiting: dict[str, int] = dict.fromkeys(skus, 1)
    moved_ms = clock.monotonic_ms()
    while waiting and not (stop is not None and stop.is_set()):
        before = dict(waiting)
        for sku in before:
            waiting[sku] = await _lag(stock, sku, before[sku])
        moved_ms = clock.monotonic_ms() if waiting != before else moved_ms
        waiting = {sku: lag for sku, lag in waiting.items() if lag}
        tell(sum(waiting.values()))
        if waiting:
            if clock.monotonic_ms() - moved_ms >= _STILL_MS:
                break
            await asyncio.sleep(_POLL_S)
    return sum(waiting.values())


async def _lag(stock: Inventory, sku: str, known: int) -> int:
    try:
        return sum(partition.lag for partition in await stock.partitions(sku))
    except BackendUnavailable:
        return known  # it may come back
