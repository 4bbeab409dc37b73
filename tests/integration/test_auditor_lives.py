"""The auditor and orders' lives: green while they go on, and each corruption of them is told by its equation."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

import msgspec
import pytest
from tests.support import one_batch
from tests.support.sale import Sale, names

from hotsku.domain.conservation import AuditReport
from hotsku.domain.events import PartitionRef
from hotsku.domain.routing import order_field

pytestmark = pytest.mark.anyio

_TTL_MS = 600_000


async def hold(sale: Sale, order: str, buyer: str, quantity: int, partition: int = 0) -> str:
    """Hold an order. Returns its code."""
    packed = msgspec.msgpack.encode([order_field(order, buyer), [quantity, "", _TTL_MS, 0]])
    reply = await one_batch.deduct(sale.stack.shard, PartitionRef(sale.item.id, partition), 1, packed)
    return reply.codes


async def step(sale: Sale, verb: str, order: str, buyer: str, argument: str | int = "", partition: int = 0) -> None:
    packed = msgspec.msgpack.encode([[verb, order_field(order, buyer), argument, 0]])
    reply = await one_batch.step(sale.stack.shard, PartitionRef(sale.item.id, partition), 1, packed)
    assert reply.codes == "A", (verb, reply.codes)


@pytest.fixture
async def lived(still: Sale) -> Sale:
    """At rest: h-1 was held and paid, h-2 is held, h-3 was released, o-2 refunded by 1 of 3, h-4 ended and was sold."""
    for order, buyer, quantity in (("h-1", "b-4", 2), ("h-2", "b-5", 1), ("h-3", "b-6", 2), ("h-4", "b-6", 1)):
        assert await hold(still, order, buyer, quantity) == "A"
    await step(still, "confirm", "h-1", "b-4", "pay-1")
    await step(still, "release", "h-3", "b-6")
    await step(still, "release", "h-4", "b-6")
    await step(still, "refund", "o-2", "b-2", 1)
    await still.apply()
    await still.stack.shard.trim(still.ref, 1, (await still.stack.row(still.item)).watermark)
    assert await still.stack.shard.forget(still.ref, 1, 0, 0, 100) == 2
    await still.deduct(("h-4", "b-6", 2))
    await still.apply()
    report = await still.audit()
    assert report.ok, report.problems
    assert report.at_rest
    return still


IN_THE_LEDGER = [
    ("UPDATE partitions SET held = held + 1 WHERE partition = 0", {"I5"}),
    ("UPDATE partitions SET held = held - 1 WHERE partition = 1", {"I5"}),
    ("UPDATE partitions SET held = -9 WHERE partition = 0", {"I3", "I5"}),
    ("UPDATE items SET given_back = given_back + 1", {"I2", "I4"}),
    ("UPDATE items SET given_back = 1000", {"I2", "I3", "I4"}),
    ("UPDATE deductions SET state = 'released' WHERE order_id = 'h-2'", {"I5"}),
    ("UPDATE deductions SET state = 'confirmed' WHERE order_id = 'h-2'", {"I5"}),
    ("UPDATE deductions SET state = 'held' WHERE order_id = 'h-1'", {"I5", "I11"}),
    ("UPDATE deductions SET state = 'confirmed' WHERE order_id = 'h-3'", {"I5"}),
    ("UPDATE deductions SET refunded = refunded + 1 WHERE order_id = 'o-2'", {"I5"}),
    ("UPDATE deductions SET refunded = 9 WHERE order_id = 'o-2'", {"I5"}),
    ("UPDATE deductions SET state = 'refunded' WHERE order_id = 'o-1'", {"I5"}),
    ("UPDATE deductions SET born = 'odd' WHERE order_id = 'o-1'", {"I5"}),
    ("UPDATE deductions SET quantity = quantity + 1 WHERE order_id = 'h-3'", {"I4", "I5"}),
    ("DELETE FROM steps WHERE kind = 'confirmed'", {"I4"}),
    ("DELETE FROM steps WHERE kind = 'released' AND order_id = 'h-3'", {"I4", "I5"}),
    ("DELETE FROM steps WHERE kind = 'held'", {"I4", "I5"}),
    ("UPDATE steps SET quantity = quantity + 1 WHERE kind = 'refunded'", {"I4", "I5"}),
    ("UPDATE steps SET quantity = quantity + 1 WHERE kind = 'returned'", {"I4"}),
    ("UPDATE steps SET kind = 'confirmed' WHERE kind = 'released' AND order_id = 'h-3'", {"I4", "I5"}),
    ("UPDATE steps SET kind = 'odd' WHERE kind = 'confirmed'", {"I5"}),
    ("UPDATE steps SET partition = 9 WHERE kind = 'confirmed'", {"I4"}),
]


@pytest.mark.parametrize(("statement", "told"), IN_THE_LEDGER, ids=[row[0] for row in IN_THE_LEDGER])
async def test_what_the_ledger_has_wrong_of_orders_lives_is_told(lived: Sale, statement: str, told: set[str]) -> None:
    lived.sql(statement)
    report = await lived.audit()
    assert told <= names(report), names(report)
    assert not report.ok


ON_THE_SHARD: list[tuple[str, Callable[[Sale], Awaitable[object]], set[str]]] = [
    ("a hold", lambda s: s.stack.client.zrem(s.keys.holds, order_field("h-2", "b-5")), {"I11"}),
    ("a record", lambda s: s.stack.client.hdel(s.keys.orders, order_field("h-2", "b-5")), {"I10"}),
    ("a record too many", lambda s: s.stack.client.hset(s.keys.orders, "x", "d:1:1:1:1"), set()),
    ("records too many", lambda s: s.stack.client.hset(s.keys.orders, mapping={"x": 1, "y": 1}), {"I11"}),
    ("a buyer's count", lambda s: s.stack.client.hincrby(s.keys.buyers, "b-6", 1), {"limit"}),
]


@pytest.mark.parametrize(("corrupt", "told"), [row[1:] for row in ON_THE_SHARD], ids=[row[0] for row in ON_THE_SHARD])
async def test_what_the_shard_has_wrong_of_orders_lives_is_told(
    lived: Sale, corrupt: Callable[[Sale], Awaitable[object]], told: set[str]
) -> None:
    """One record too many could be that of h-3, which has left."""
    await corrupt(lived)
    assert names(await lived.audit()) == told


async def test_a_hold_that_expires_keeps_the_audit_green(lived: Sale) -> None:
    packed = msgspec.msgpack.encode([order_field("h-5", "b-7"), [1, "", 1, 0]])
    assert (await one_batch.deduct(lived.stack.shard, lived.ref, 1, packed)).codes == "A"
    while not (await lived.stack.shard.expire(lived.ref, 1, 10)).ended:
        pass
    assert (await lived.audit()).ok
    await lived.apply()
    report = await lived.audit()
    assert report.ok, report.problems
    assert report.at_rest


async def test_lives_on_their_way_are_green_at_every_moment(going: Sale) -> None:
    """Also while records of ended orders leave the shard, and their orders begin anew."""
    reports: list[AuditReport] = []
    forgotten, numbers, selling = 0, count(), True

    async def live(partition: int) -> None:
        for turn in range(30):
            names_ = [f"b-{partition}-{next(numbers)}" for _ in range(4)]
            for name in names_:
                await hold(going, name, name, 2, partition)
            paid, released, refunded, again = names_
            await step(going, "confirm", paid, paid, "pay", partition)
            await step(going, "release", released, released, "", partition)
            await step(going, "confirm", refunded, refunded, "", partition)
            await step(going, "refund", refunded, refunded, 1 + turn % 2, partition)
            await step(going, "release", again, again, "", partition)
            await hold(going, again, again, 1, partition)
            if turn % 5 == 0:
                await going.lease(partition, 10)

    async def follow(partition: int) -> None:
        nonlocal forgotten
        ref = PartitionRef(going.item.id, partition)
        while selling:
            await going.apply(partition, most=7)
            await going.stack.shard.trim(ref, 1, (await going.stack.row(going.item, partition)).watermark)
            forgotten += await going.stack.shard.forget(ref, 1, 0, 0, 10)

    async def audit() -> None:
        while selling:
            reports.append(await going.audit())

    background = [asyncio.create_task(work) for work in (follow(0), follow(1), audit(), audit())]
    await asyncio.gather(live(0), live(1))
    selling = False
    await asyncio.gather(*background)
    assert len(reports) > 10
    assert forgotten > 10
    assert [str(problem) for report in reports for problem in report.problems] == []
    for partition in range(2):
        await going.apply(partition)
    last = await going.audit()
    assert last.ok, last.problems
    assert last.at_rest
