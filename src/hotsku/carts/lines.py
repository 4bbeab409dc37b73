"""The lines of a decided cart, led to their end by whoever comes: the call that decided, or the reaper.

A hold of a line may reach its shard when the cart was decided and led to its end long ago: its caller was paused, or is
half-way through the lines while another releases the cart. So a cart's lines are among their partition's holds like any
other, and where one's time is over the reaper looks its cart's decision up (`lead_line`): nothing stays held for ever.
"""

import asyncio

import msgspec

from hotsku.domain.cart import CartLine
from hotsku.domain.deduction import OrderState
from hotsku.domain.events import PartitionRef
from hotsku.domain.order import OrderRecord, StepVerb, parse_record
from hotsku.domain.routing import home, order_field, split_field
from hotsku.log import get_logger
from hotsku.ports import CartRow, Late, Ledger, Shard, Stale, StepBatch, StepReply

_ATTEMPTS = 5
# A step that comes later than this does nothing, and is sent again.
_DEADLINE_MS = 2000
_DECISIONS = {"confirmed": StepVerb.CONFIRM, "released": StepVerb.RELEASE}

_encode = msgspec.msgpack.Encoder().encode
_log = get_logger("carts")


async def lead_cart(ledger: Ledger, shard: Shard, cart: CartRow) -> list[PartitionRef]:
    """Have every line of a decided cart follow the decision. Returns the partitions that the lines are in.

    Raises:
        Fenced, Stale, Lost, BackendUnavailable: not all of them could; again, later.
    """
    found = await asyncio.gather(*(_home(ledger, cart, line) for line in cart.lines))
    refs = [ref for ref in found if ref is not None]
    field = order_field(cart.order_id, cart.buyer_id)
    done = await asyncio.gather(*(_step_line(ledger, shard, ref, field, cart) for ref in refs), return_exceptions=True)
    for each in done:
        if each is not None:
            raise each
    await ledger.finish_cart(cart.order_id, cart.buyer_id, payment_ref=cart.payment_ref)
    return refs


async def lead_line(ledger: Ledger, shard: Shard, ref: PartitionRef, field: str) -> None:
    """Have one line, whose time is over, follow its cart's decision; a cart that is undecided yet is released by that.

    Raises:
        Fenced, Stale, Lost, BackendUnavailable: it could not; again, later.
    """
    order_id, buyer_id = split_field(field)
    cart = await ledger.cart(order_id, buyer_id)
    if cart is not None and cart.state == "open":
        cart = await ledger.decide_cart(order_id, buyer_id, "released")
    await _step_line(ledger, shard, ref, field, cart)


async def _home(ledger: Ledger, cart: CartRow, line: CartLine) -> PartitionRef | None:
    item = await ledger.item(line.sku)
    return None if item is None else PartitionRef(item.id, home(cart.order_id, cart.buyer_id, item.spec.partitions))


async def _step_line(ledger: Ledger, shard: Shard, ref: PartitionRef, field: str, cart: CartRow | None) -> None:
    verb, payment_ref = (_DECISIONS[cart.state], cart.payment_ref) if cart else (StepVerb.RELEASE, "")
    argument = payment_ref if verb is StepVerb.CONFIRM else ""
    code, record = await _step(ledger, shard, ref, _encode([[verb, field, argument, 1]]))
    if not _follows(verb, code, record):
        _log.error(
            "a line does not follow its cart", item_id=ref.item_id, partition=ref.partition, verb=verb, code=code
        )


def _follows(verb: StepVerb, code: str, record: OrderRecord | None) -> bool:
    """A line that was never held is no part of a released cart, and one that was refunded since had been confirmed.
    Anything else is a cart that is not all or nothing."""
    if verb is StepVerb.RELEASE:
        return code in ("A", "R", "-", "X")
    return code in ("A", "R") or (record is not None and record.state is OrderState.REFUNDED)


async def _step(ledger: Ledger, shard: Shard, ref: PartitionRef, steps: bytes) -> tuple[str, OrderRecord | None]:
    for _ in range(_ATTEMPTS):
        row = await ledger.partition(ref)
        if row is None:
            return "-", None
        deadline_ms = await shard.now_ms(ref) + _DEADLINE_MS
        (reply,) = await shard.step(deadline_ms, [StepBatch(ref, row.incarnation, steps)])
        if isinstance(reply, StepReply):
            return reply.codes, parse_record(reply.records[0]) if reply.records else None
        if not isinstance(reply, Stale | Late):  # a new incarnation has begun meanwhile; or the call was slow
            raise reply
    raise Stale
