"""reserve: who is told what, what a hold keeps from others, and when it gives that back."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.engines import Bench, open_bench, outcomes
from tests.support.servers import TestServer
from tests.support.workers import until

from hotsku import Deduction, HotSKUError, IdempotencyConflict, InvalidRequest, Inventory, Order, OrderState, Outcome

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)
SOON = timedelta(milliseconds=30)

# `Any`: these are what the types would forbid.
BAD_METADATA: list[Any] = ["x" * 257, "é" * 129, "a\0b", "\ud800", None, b"x", 7, ["x"]]
BAD_TTLS: list[Any] = [
    timedelta(0),
    timedelta(-1),
    timedelta(microseconds=999),
    timedelta(days=1158),
    60,
    1.5,
    "60",
    True,
]


@pytest.fixture
async def bench(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(module_valkey, tmp_path) as made:
        yield made


async def _expired(engine: Inventory, order_id: str, buyer_id: str = "") -> None:
    """Wait until a hold's time is over, by the shard's clock."""

    async def is_expired() -> bool:
        return (await engine.order("sku", order_id, buyer_id)).state is OrderState.EXPIRED

    await until(is_expired)


async def test_a_hold_is_held_once_and_its_answer_repeated(bench: Bench) -> None:
    engine, other = await bench.engine(), await bench.engine()
    await engine.create_item("sku", 10, partitions=2)
    first = await engine.reserve("sku", 2, order_id="o", buyer_id="b", ttl=MINUTE, metadata="seat 4 · é")
    assert (first.outcome, first.state, first.replayed) == (Outcome.HELD, OrderState.HELD, False)
    assert first.expires_at is not None
    assert first.expires_at - datetime.fromtimestamp(first.at_ms / 1000, UTC) == MINUTE
    assert (first.incarnation, first.seq, first.metadata) == (1, 1, "seat 4 · é")
    again = await other.reserve("sku", 2, order_id="o", buyer_id="b", ttl=2 * MINUTE, metadata="seat 5")
    assert (again.outcome, again.state, again.replayed) == (Outcome.HELD, OrderState.HELD, True)
    assert (again.expires_at, again.metadata, again.at_ms, again.seq) == (
        first.expires_at,
        first.metadata,
        first.at_ms,
        first.seq,
    )
    found = await other.order("sku", "o", "b")
    assert (found.outcome, found.state, found.expires_at) == (Outcome.HELD, OrderState.HELD, first.expires_at)
    assert (found.quantity, found.metadata, found.partition) == (2, "seat 4 · é", first.partition)


async def test_a_hold_lasts_as_long_as_its_item_says_unless_it_says_itself(bench: Bench) -> None:
    engine = await bench.engine()
    await engine.create_item("sku", 10, hold_ttl=timedelta(seconds=90))
    for ttl, lasts in ((None, timedelta(seconds=90)), (timedelta(days=1000), timedelta(days=1000))):
        hold = await engine.reserve("sku", 1, ttl=ttl)
        assert hold.expires_at is not None
        assert hold.expires_at.timestamp() * 1000 - hold.at_ms == pytest.approx(lasts / timedelta(milliseconds=1))


async def test_an_order_has_one_verb_and_one_quantity(bench: Bench) -> None:
    engine = await bench.engine()
    await engine.create_item("sku", 10)
    await engine.reserve("sku", 2, order_id="held")
    await engine.deduct("sku", 2, order_id="sold")
    conflicts = [
        (engine.deduct("sku", 2, order_id="held"), r"held.*held with quantity 2", "order_id"),
        (engine.deduct("sku", 2, order_id="held", metadata="x"), r"held.*held with quantity 2", "order_id"),
        (engine.reserve("sku", 2, order_id="sold"), r"sold.*accepted with quantity 2", "order_id"),
        (engine.reserve("sku", 1, order_id="held"), r"held with quantity 2", "quantity"),
        (engine.deduct("sku", 3, order_id="sold", metadata="x"), r"accepted with quantity 2", "quantity"),
    ]
    for call, words, field in conflicts:
        with pytest.raises(IdempotencyConflict, match=words) as caught:
            await call
        assert caught.value.field == field
    # Metadata is no part of what must agree: the first stands.
    again = await engine.deduct("sku", 2, order_id="sold", metadata="later")
    assert (again.outcome, again.replayed, again.metadata) == (Outcome.ACCEPTED, True, "")


async def test_metadata_goes_with_every_kind_of_order(bench: Bench) -> None:
    engine = await bench.engine()
    await engine.create_item("sku", 20)
    longest = "é" * 128
    assert (await engine.deduct("sku", 1, order_id="one", metadata=longest)).metadata == longest
    many = await engine.deduct_many(
        "sku", [Order("m-1", 2, "", "a"), {"order_id": "m-2", "metadata": "b"}, Order("m-3")]
    )
    assert [answer.metadata for answer in many if isinstance(answer, Deduction)] == ["a", "b", ""]
    heard: list[Deduction | HotSKUError] = []
    assert engine.offer("sku", 1, order_id="offered", buyer_id="b", hear=heard.append, metadata="c")
    assert engine.offer("sku", 1, order_id="kept", buyer_id="b", hear=heard.append, metadata="d", hold=True, ttl=MINUTE)
    await until(lambda: len(heard) == 2)
    assert [answer.metadata for answer in heard if isinstance(answer, Deduction)] == ["c", "d"]
    assert outcomes(heard) == {"accepted": 1, "held": 1}
    orders = [("one", "", longest), ("m-1", "", "a"), ("m-2", "", "b"), ("m-3", "", ""), ("offered", "b", "c")]
    for order, buyer, metadata in [*orders, ("kept", "b", "d")]:
        assert (await engine.order("sku", order, buyer)).metadata == metadata


async def test_bad_arguments_name_their_field_and_nothing_is_held(bench: Bench) -> None:
    engine = await bench.engine()
    await engine.create_item("sku", 10)
    for bad in BAD_METADATA:
        with pytest.raises(InvalidRequest, match=r"^metadata must be text of at most 256 bytes"):
            await engine.reserve("sku", 1, order_id="o", metadata=bad)
        with pytest.raises(InvalidRequest, match=r"^metadata must be"):
            await engine.deduct("sku", 1, order_id="o", metadata=bad)
        with pytest.raises(InvalidRequest, match=r"^orders\[0\].metadata must be"):
            await engine.deduct_many("sku", [Order("o", metadata=bad)])
    for bad in BAD_TTLS:
        with pytest.raises(InvalidRequest, match=r"^ttl must be a timedelta"):
            await engine.reserve("sku", 1, order_id="o", ttl=bad)
        with pytest.raises(InvalidRequest, match=r"^ttl must be"):
            engine.offer("sku", 1, order_id="o", buyer_id="", hear=print, hold=True, ttl=bad)
        with pytest.raises(InvalidRequest, match=r"^hold_ttl must be"):
            await engine.create_item("other", 5, hold_ttl=bad)
    for quantity in (0, True, 1.0):
        with pytest.raises(InvalidRequest, match=r"^quantity must be"):
            await engine.reserve("sku", quantity, order_id="o")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match=r"^order_id must be"):
        await engine.reserve("sku", 1, order_id="a b")
    assert (await engine.order("sku", "o")).outcome is Outcome.NOT_FOUND
    assert (await engine.item("sku")).available == 10


async def test_a_limit_counts_holds_and_gets_back_what_ends(bench: Bench) -> None:
    engine = await bench.engine()
    await engine.create_item("sku", 40, partitions=1, limit_per_buyer=3)
    await engine.reserve("sku", 2, order_id="released", buyer_id="b")
    await engine.reserve("sku", 1, order_id="expired", buyer_id="b", ttl=SOON)
    assert (await engine.deduct("sku", 1, order_id="x", buyer_id="b")).outcome is Outcome.LIMIT_EXCEEDED
    with pytest.raises(InvalidRequest, match=r"^buyer_id must be given"):
        await engine.reserve("sku", 1, order_id="x")

    await engine.release("sku", order_id="released", buyer_id="b")
    assert (await engine.reserve("sku", 3, order_id="x", buyer_id="b")).outcome is Outcome.LIMIT_EXCEEDED
    assert (await engine.reserve("sku", 2, order_id="x", buyer_id="b")).outcome is Outcome.HELD
    await _expired(engine, "expired", "b")
    await engine.release("sku", order_id="expired", buyer_id="b")  # whoever comes finds it expired
    assert (await engine.reserve("sku", 1, order_id="y", buyer_id="b")).outcome is Outcome.HELD
    assert (await engine.reserve("sku", 1, order_id="z", buyer_id="b")).outcome is Outcome.LIMIT_EXCEEDED

    # What is sold counts, also when it was refunded.
    await engine.confirm("sku", order_id="x", buyer_id="b")
    await engine.refund("sku", order_id="x", buyer_id="b")
    assert (await engine.reserve("sku", 1, order_id="z", buyer_id="b")).outcome is Outcome.LIMIT_EXCEEDED
    assert (await engine.reserve("sku", 3, order_id="z", buyer_id="another")).outcome is Outcome.HELD


async def test_a_refund_gives_the_limit_back_where_the_item_says_so(bench: Bench) -> None:
    engine = await bench.engine()
    await engine.create_item("sku", 40, partitions=1, limit_per_buyer=3, refund_restores_limit=True)
    await engine.deduct("sku", 3, order_id="o", buyer_id="b")
    await engine.refund("sku", order_id="o", buyer_id="b", quantity=2)
    assert (await engine.reserve("sku", 3, order_id="x", buyer_id="b")).outcome is Outcome.LIMIT_EXCEEDED
    assert (await engine.reserve("sku", 2, order_id="x", buyer_id="b")).outcome is Outcome.HELD
    await engine.refund("sku", order_id="o", buyer_id="b")
    assert (await engine.reserve("sku", 1, order_id="y", buyer_id="b")).outcome is Outcome.HELD


async def test_holds_keep_units_from_others_until_they_end(bench: Bench) -> None:
    await bench.workers()
    engine, other = await bench.engine(), await bench.engine()
    await engine.create_item("sku", 10, partitions=2)
    holds = await asyncio.gather(*(engine.reserve("sku", 1, order_id=f"h-{n}", ttl=MINUTE) for n in range(12)))
    assert outcomes(holds) == {"held": 10, "sold_out": 2}
    assert (await other.deduct("sku", 1, order_id="o")).outcome is Outcome.SOLD_OUT
    held = [hold.order_id for hold in holds if hold.outcome is Outcome.HELD]
    await engine.confirm("sku", order_id=held[0])
    await engine.release("sku", order_id=held[1])

    async def sells() -> bool:  # when the ledger has the released unit back in the pool
        return (await other.deduct("sku", 1, order_id="o")).outcome is Outcome.ACCEPTED

    await until(sells)
    assert (await other.deduct("sku", 1, order_id="p")).outcome is Outcome.SOLD_OUT
    await bench.settled("sku", 2)
    item = await engine.item("sku")
    assert (item.held, item.sold, item.pool + item.preallocated, item.available) == (8, 2, 0, 0)


async def test_whoever_waits_for_stock_gets_what_a_release_gives_back(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 1, partitions=1)
    await engine.reserve("sku", 1, order_id="first")
    waiting = asyncio.create_task(engine.reserve("sku", 1, order_id="second"))
    await engine.release("sku", order_id="first")
    answer = await waiting
    if answer.outcome is Outcome.SOLD_OUT:  # it was told before the unit was back

        async def held() -> bool:
            return (await engine.reserve("sku", 1, order_id="second")).outcome is Outcome.HELD

        await until(held)
    assert (await engine.order("sku", "second")).state is OrderState.HELD
    assert (await engine.order("sku", "first")).state is OrderState.RELEASED


async def test_a_sale_that_is_over_ends_no_hold(bench: Bench) -> None:
    engine = await bench.engine()
    numbers = itertools.count()
    while True:  # until a machine that stands still does not miss the sale
        sku, closes_at = f"sku-{next(numbers)}", datetime.now(UTC) + timedelta(seconds=1)
        await engine.create_item(sku, 10, partitions=1, closes_at=closes_at)
        hold = await engine.reserve(sku, 2, order_id="o", ttl=10 * MINUTE)
        if hold.outcome is Outcome.HELD or datetime.now(UTC) < closes_at:
            break
    assert hold.outcome is Outcome.HELD

    async def closed() -> bool:
        return (await engine.reserve(sku, 1)).outcome is Outcome.CLOSED

    await until(closed)
    again = await engine.reserve(sku, 2, order_id="o")
    assert (again.outcome, again.replayed) == (Outcome.HELD, True)
    assert (await engine.confirm(sku, order_id="o")).outcome is Outcome.CONFIRMED


async def test_nothing_is_held_before_the_sale_opens(bench: Bench) -> None:
    engine = await bench.engine()
    await engine.create_item("sku", 10, opens_at=datetime.now(UTC) + timedelta(hours=1))
    assert (await engine.reserve("sku", 1)).outcome is Outcome.NOT_OPEN


async def test_holds_outlive_their_server(valkey: TestServer, tmp_path: Path) -> None:
    async with open_bench(valkey, tmp_path) as bench:
        engine = await bench.engine()
        await engine.create_item("sku", 100, partitions=2, limit_per_buyer=2)
        await engine.reserve("sku", 2, order_id="o", buyer_id="b", ttl=MINUTE, metadata="m")
        await engine.reserve("sku", 2, order_id="brief", buyer_id="c", ttl=SOON)
        valkey.kill()
        valkey.start()
        await bench.workers()
        again = await engine.reserve("sku", 2, order_id="o", buyer_id="b")
        assert (again.outcome, again.replayed, again.metadata) == (Outcome.HELD, True, "m")
        done = await engine.confirm("sku", order_id="o", buyer_id="b", payment_ref="pay")
        assert (done.outcome, done.payment_ref) == (Outcome.CONFIRMED, "pay")
        late = await engine.confirm("sku", order_id="brief", buyer_id="c", payment_ref="pay-2")
        assert (late.outcome, late.state) == (Outcome.EXPIRED, OrderState.EXPIRED)
        assert late.refund_payment_ref == "pay-2"
        await bench.settled("sku", 2)
        item = await engine.item("sku")
        assert (item.held, item.sold) == (0, 2)
