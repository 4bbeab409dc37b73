"""Orders and steps as a shard gets them, for tests that look at an order's life without an engine."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from hotsku.domain.deduction import Deduction, OrderState, Outcome
from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item
from hotsku.domain.order import OrderRecord
from hotsku.domain.routing import home, order_field
from hotsku.errors import IdempotencyConflict
from hotsku.ports import Ledger, Shard
from tests.support import one_batch

_NOES = {"D": Outcome.SOLD_OUT, "C": Outcome.CLOSED, "P": Outcome.PAUSED, "L": Outcome.LIMIT_EXCEEDED}


class Caller:
    """Calls the shard as an engine does, one order at a time."""

    def __init__(self, ledger: Ledger, shard: Shard) -> None:
        self.ledger = ledger
        self.shard = shard

    def ref(self, item: Item, order_id: str, buyer_id: str = "") -> PartitionRef:
        """The order's home."""
        return PartitionRef(item.id, home(order_id, buyer_id, item.spec.partitions))

    async def hold(
        self, item: Item, *orders: str, ttl_ms: int = 60_000, quantity: int = 1, buyer_id: str = "", cart: bool = False
    ) -> str:
        """Hold units for orders of one home. Returns the codes: see deduct.lua."""
        what = [quantity, "", ttl_ms, int(cart)]
        return await self._place(item, orders, what, buyer_id)

    async def deduct(self, item: Item, *orders: str, quantity: int = 1, buyer_id: str = "") -> str:
        """Sell units to orders of one home."""
        return await self._place(item, orders, quantity, buyer_id)

    async def step(
        self, item: Item, verb: str, order_id: str, argument: str | int = "", buyer_id: str = "", *, cart: bool = False
    ) -> str:
        """Take a step of an order's life. Returns its code: see step.lua."""
        ref = self.ref(item, order_id, buyer_id)
        steps = msgspec.msgpack.encode([[verb, order_field(order_id, buyer_id), argument, int(cart)]])
        return (await one_batch.step(self.shard, ref, await self._incarnation(ref), steps)).codes

    async def record(self, item: Item, order_id: str, buyer_id: str = "") -> OrderRecord | None:
        """The order as its home has it."""
        record, _ = await self.shard.order(self.ref(item, order_id, buyer_id), order_field(order_id, buyer_id))
        return record

    async def state(self, item: Item, order_id: str, buyer_id: str = "") -> OrderState | None:
        """The order's state on its home; None: it has none."""
        record = await self.record(item, order_id, buyer_id)
        return None if record is None else record.state

    async def hold_line(
        self, sku: str, quantity: int, *, order_id: str, buyer_id: str, ttl_ms: int, metadata: str
    ) -> Deduction:
        """Hold a cart's line, as `hotsku.carts.HoldLine` has it."""
        item = await self.ledger.item(sku)
        assert item is not None
        ref, field = self.ref(item, order_id, buyer_id), order_field(order_id, buyer_id)
        packed = msgspec.msgpack.encode([field, [quantity, metadata, ttl_ms, 1]])
        code = (await one_batch.deduct(self.shard, ref, await self._incarnation(ref), packed)).codes
        if code == "X":
            raise IdempotencyConflict("another order")
        record = await self.record(item, order_id, buyer_id) if code in "AR" else None
        return Deduction(
            outcome=Outcome.HELD if record else _NOES[code],
            state=record.state if record else None,
            sku=sku,
            order_id=order_id,
            buyer_id=buyer_id,
            quantity=quantity,
            partition=ref.partition,
            expires_at=datetime.fromtimestamp(record.expires_at_ms / 1000, UTC) if record else None,
        )

    async def _place(self, item: Item, orders: Sequence[str], what: object, buyer_id: str) -> str:
        (ref,) = {self.ref(item, order_id, buyer_id) for order_id in orders}
        packed = msgspec.msgpack.encode([part for each in orders for part in (order_field(each, buyer_id), what)])
        return (await one_batch.deduct(self.shard, ref, await self._incarnation(ref), packed)).codes

    async def _incarnation(self, ref: PartitionRef) -> int:
        row = await self.ledger.partition(ref)
        assert row is not None
        return row.incarnation
