"""Sides that sell through an inventory."""

import secrets
from collections.abc import Awaitable, Sequence

from hotsku.bench.callers import Call, closed_loop
from hotsku.bench.report import Measured
from hotsku.bench.rounds import Plan, Side
from hotsku.bench.servers import Shop
from hotsku.domain.deduction import Deduction
from hotsku.engine.inventory import Inventory

# So many units that no round sells them, and that leases on the way are not needed.
PLENTY = 400_000_000
# Names of 12 characters, made as cheaply as can be: what a caller does counts as the side's CPU.
_FIRST_NAME = 100_000_000_000


async def new_item(shop: Shop, partitions: int, total: int = PLENTY) -> str:
    """A fresh item, loaded by the engine."""
    sku = f"item-{secrets.token_hex(6)}"
    await shop.stock.create_item(sku, total, partitions=partitions)
    await shop.stock.deduct_many(sku, [])
    return sku


def single_call(stock: Inventory, skus: Sequence[str]) -> Call:
    """Sells one unit to a new order of a new buyer; the items take turns."""
    deduct, count = stock.deduct, len(skus)

    def call(number: int) -> Awaitable[Deduction]:
        named = str(_FIRST_NAME + number)
        return deduct(skus[number % count], 1, order_id=named, buyer_id=named)

    return call


def single_side(plan: Plan, shop: Shop, callers: int, partitions: int, *, following: bool = False) -> Side:
    """Single calls on a fresh item. `following`: its ledger catches up before the side is done (not measured)."""

    async def side() -> Measured:
        sku = await new_item(shop, partitions)
        selling = closed_loop(plan.clock, single_call(shop.stock, [sku]), callers, plan.seconds)
        measured = await shop.measured(selling)
        if following:
            await shop.followed(sku)
        await shop.forget(sku)
        return measured

    return side
