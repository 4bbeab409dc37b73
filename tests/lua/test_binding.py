"""The typed shard, as engines and workers call it, on a real server."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec
import pytest
from msgspec.structs import replace

from hotsku.domain.deduction import OrderState
from hotsku.domain.events import EventKind, PartitionRef
from hotsku.domain.item import Item, ItemSpec
from hotsku.domain.order import OrderRecord, parse_record
from hotsku.ports import BatchReply, Fenced, Late, Loaded, OrderBatch, Stale, StepBatch, StepReply, Swept
from hotsku.shard.address import Address
from hotsku.shard.keys import Keys
from hotsku.shard.router import Router
from hotsku.shard.shard import WireShard
from hotsku.shard.topology import OneServer
from tests.lua.partition import FAR
from tests.support.servers import TestServer

pytestmark = pytest.mark.anyio

SPEC = ItemSpec(sku="sku", total=100, partitions=1, limit_per_buyer=50, refund_restores_limit=True)
_item_ids = itertools.count(10**6)  # the server keeps the fences of earlier tests


class Sale(NamedTuple):
    """A partition of 100 units."""

    shard: WireShard
    item: Item

    @property
    def ref(self) -> PartitionRef:
        return PartitionRef(self.item.id, 0)

    async def sell(self, *orders: object) -> str:
        (reply,) = await self.shard.deduct(FAR, [OrderBatch(self.ref, 1, True, msgspec.msgpack.encode(orders))])
        assert isinstance(reply, BatchReply)
        return reply.codes

    async def step(self, *steps: tuple[str, str, object]) -> StepReply:
        packed = msgspec.msgpack.encode([(*step, 0) for step in steps])
        (reply,) = await self.shard.step(FAR, [StepBatch(self.ref, 1, packed)])
        assert isinstance(reply, StepReply)
        return reply


@pytest.fixture
async def sale(shared_server: TestServer, shared: object) -> AsyncIterator[Sale]:
    address = Address(path=str(shared_server.socket))
    shard = WireShard(Router(OneServer(lambda: address), 5.0), Keys("hs", "t"))
    sale = Sale(shard, Item(next(_item_ids), SPEC))
    try:
        await shard.begin(sale.ref, 1, sale.item, await shard.memory(sale.ref))
        await shard.install(sale.ref, 1, 1, 100, 1)
        yield sale
    finally:
        shard.close()
        await asyncio.sleep(0)  # the transport goes in the loop's next turn


async def test_an_orders_life(sale: Sale) -> None:
    shard, ref = sale.shard, sale.ref
    assert await sale.sell("1ua", 2, "1ub", [3, "meta", 60_000, 0], "1uc", [1, "", 1, 0]) == "AAA"
    reply = await sale.step(("confirm", "1ub", "pay"), ("refund", "1ua", 1), ("release", "1ux", ""))
    assert (reply.seq_before, reply.events, reply.codes) == (3, 2, "AA-")
    confirmed, refunded = map(parse_record, reply.records)
    assert (confirmed.state, confirmed.payment_ref, confirmed.metadata) == (OrderState.CONFIRMED, "pay", "meta")
    assert (refunded.refunded, refunded.step_at_ms) == (1, reply.now_ms)
    record, now_ms = await shard.order(ref, "1ub")
    assert record == confirmed
    assert now_ms >= reply.now_ms
    assert (await shard.order(ref, "1ux"))[0] is None
    kinds = [event.kind for entry in await shard.read(ref, 1, 0, 10) for event in entry.events()]
    assert kinds == [EventKind.DEDUCTED, EventKind.HELD, EventKind.HELD, EventKind.CONFIRMED, EventKind.REFUNDED]


async def test_sweeps(sale: Sale) -> None:
    shard, ref = sale.shard, sale.ref
    held = [part for name in "abc" for part in (f"1u{name}", [1, "", 60_000, 0])]
    assert await sale.sell(*held) == "AAA"
    assert (await sale.step(("begin_payment", "1ua", 1), ("release", "1ub", ""))).codes == "AA"
    status = await shard.status(ref)
    assert (status.holds, status.version, status.orders) == (2, 1, 3)
    record, _ = await shard.order(ref, "1uc")
    assert record is not None
    assert await shard.expire(ref, 1, 10) == Swept(0, record.expires_at_ms)
    assert await shard.release_holds(ref, 1, 10, 0) == Swept(0)
    assert await shard.configure(ref, 1, replace(sale.item, version=2, state="closed")) == 2
    assert await shard.configure(ref, 1, replace(sale.item, version=1, state="open")) == 2
    assert await sale.sell("1ud", 1) == "C"
    assert await shard.release_holds(ref, 1, 1, 0) == Swept(0, 0, 1)
    assert await shard.release_holds(ref, 1, 1, 1) == Swept(1, 0, 1)
    assert await shard.release_holds(ref, 1, 1, 1) == Swept(0)
    assert await shard.forget(ref, 1, FAR, 100, 10) == 0
    await shard.trim(ref, 1, 6)
    assert await shard.forget(ref, 1, FAR, 100, 10) == 2


async def test_orders_come_back_from_the_ledger(sale: Sale) -> None:
    """In every state, with their holds, their ends and their buyers' counts."""
    shard, ref = sale.shard, sale.ref
    held = OrderRecord(1, 1, 1, 5, held=True, state=OrderState.HELD, expires_at_ms=1, metadata="é:")
    orders = [
        ("1ua", OrderRecord(2, 1, 2, 5)),
        ("1ub", held),
        ("1uc", replace(held, cart=True)),
        ("1ud", replace(held, state=OrderState.RELEASED, step_incarnation=1, step_seq=9, step_at_ms=77)),
        ("1ue", replace(held, state=OrderState.EXPIRED, step_incarnation=1, step_seq=8, step_at_ms=66)),
        ("1uf", replace(held, state=OrderState.CONFIRMED, payment_ref="é")),
    ]
    memory = await shard.memory(ref)
    assert await shard.renew(ref, 2, sale.item, memory, None) == "rebuilding"
    assert await shard.load(ref, 2, memory, orders, [("u", 5)])
    assert await shard.load(ref, 2, memory, [], [])
    everything = Loaded(orders=len(orders), buyers=1, holds=2)
    for more in (replace(everything, orders=7), replace(everything, buyers=2), replace(everything, holds=3)):
        assert not await shard.finish(ref, 2, memory, more)
    assert await shard.finish(ref, 2, memory, everything)
    assert [(field, (await shard.order(ref, field))[0]) for field, _ in orders] == orders
    assert (await shard.status(ref)).holds == 2
    assert await shard.bought(ref) == [5]
    assert await shard.expire(ref, 2, 10) == Swept(1, 1, 0, ["1uc"])
    assert await shard.bought(ref) == [4]
    assert await shard.forget(ref, 2, 70, 100, 10) == 1
    assert (await shard.order(ref, "1ue"))[0] is None


async def test_what_is_not_armed_decides_nothing(sale: Sale) -> None:
    shard, ref = sale.shard, sale.ref
    steps = msgspec.msgpack.encode([("release", "1ua", "", 0)])
    orders = msgspec.msgpack.encode(["1ua", 1])
    (stale,) = await shard.step(FAR, [StepBatch(ref, 0, steps)])
    assert isinstance(stale, Stale)
    (late,) = await shard.deduct(1, [OrderBatch(ref, 1, True, orders)])
    assert isinstance(late, Late)
    assert late.now_ms > 1
    await shard.disarm(ref, 1, seal=False)
    told = [
        *await shard.step(FAR, [StepBatch(ref, 1, steps)] * 2),
        *await shard.deduct(FAR, [OrderBatch(ref, 1, True, orders)]),
    ]
    assert [type(each) for each in told] == [Fenced] * 3
    for call in (
        shard.expire(ref, 1, 1),
        shard.release_holds(ref, 1, 1, 0),
        shard.forget(ref, 1, 1, 1, 1),
        shard.configure(ref, 1, sale.item),
    ):
        with pytest.raises(Fenced):
            await call


def test_every_key_of_a_partition_is_in_one_slot() -> None:
    keys = Keys("hs", "t").partition(PartitionRef(1, 0))
    assert len(set(keys.all())) == 6
    assert len({key.split("{")[1].split("}")[0] for key in keys.all()}) == 1
