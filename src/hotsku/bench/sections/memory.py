"""Bytes an order on the shard, before and after the ledger has it."""

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path

from hotsku.bench.report import Chart, Figure, Section
from hotsku.bench.rounds import Plan
from hotsku.bench.selling import new_item
from hotsku.bench.servers import Shop, open_shop
from hotsku.domain.deduction import Order

NAME = "memory"
PARTITIONS = 8
_CALL = 1000
_TRIMMED_TIMEOUT_S = 60.0
_POLL_S = 0.05

_Make = Callable[[int], Order]

_KINDS: dict[str, tuple[_Make, float]] = {
    "UUID orders, 12-character buyers": (lambda n: Order(str(uuid.uuid4()), 1, f"b{n:011d}"), 240),
    "12-character orders, no buyers": (lambda n: Order(f"o{n:011d}"), 130),
}


async def measure(plan: Plan, folder: Path) -> Section:
    """By `MEMORY USAGE … SAMPLES 0` of the item's keys, and by how much the server's used memory grew."""
    orders = 40_000 if plan.quick else 400_000
    section = Section(name=NAME, title=f"Memory: bytes an order on the shard, {orders:,} orders, 8 partitions")
    chart: dict[str, list[float | None]] = {"waiting for the ledger": [], "in the ledger": []}
    for name, (make, most) in _KINDS.items():
        plan.say(name)
        async with open_shop(plan.settings, folder) as shop:
            before, grown, after, kept = await _sell(shop, make, orders)
        section.figures += [
            Figure(name=f"{name}: waiting for the ledger", value=before / orders, unit="bytes"),
            Figure(name=f"{name}: the same, growth of used memory", value=grown / orders, unit="bytes"),
            Figure(name=f"{name}: in the ledger", value=after / orders, unit="bytes", most=most),
            Figure(name=f"{name}: the same, growth of used memory", value=kept / orders, unit="bytes"),
        ]
        chart["waiting for the ledger"].append(before / orders)
        chart["in the ledger"].append(after / orders)
    section.charts = [Chart(title="Bytes an order on the shard", labels=list(_KINDS), series=chart)]
    section.notes.append(
        "growth of used memory has the server's own buffers and, afterwards, the broker's streams in it"
    )
    return section


async def _sell(shop: Shop, make: _Make, orders: int) -> tuple[int, int, int, int]:
    """(keys, growth) in bytes while the orders wait for the ledger, then once it has them and they are trimmed."""
    sku = await new_item(shop, PARTITIONS)
    empty, empty_used = await _keys(shop, sku), await _used(shop)
    for start in range(0, orders, _CALL):
        await shop.stock.deduct_many(sku, [make(number) for number in range(start, start + _CALL)])
    before, grown = await _keys(shop, sku) - empty, await _used(shop) - empty_used
    async with shop.working():
        await shop.followed(sku)
        await _trimmed(shop, sku)
        after, kept = await _keys(shop, sku) - empty, await _used(shop) - empty_used
    return before, grown, after, kept


async def _keys(shop: Shop, sku: str) -> int:
    total = 0
    for row in await shop.stack.ledger.partitions(await shop.item_id(sku)):
        keys = shop.stack.keys.partition(row.ref)
        for key in keys.all():
            total += int(await shop.stack.shards.client.memory_usage(key, samples=0) or 0)
    return total


async def _used(shop: Shop) -> int:
    return int((await shop.stack.shards.client.info("memory"))["used_memory"])


async def _trimmed(shop: Shop, sku: str) -> None:
    streams = [
        shop.stack.keys.partition(row.ref).stream for row in await shop.stack.ledger.partitions(await shop.item_id(sku))
    ]
    async with asyncio.timeout(_TRIMMED_TIMEOUT_S):
        while any([await shop.stack.shards.client.xlen(stream) for stream in streams]):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
