"""deduct, deduct_many, order and create_item: who is told what, and that it is so."""

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.engines import Bench, accepted_units, open_bench, outcomes
from tests.support.servers import TestServer

from hotsku import Deduction, IdempotencyConflict, InvalidRequest, Order, OrderState, Outcome, UnknownItem
from hotsku.domain.events import PartitionRef
from hotsku.domain.routing import order_field
from hotsku.engine.inventory import Inventory
from hotsku.engine.item_path import ItemPaths
from hotsku.engine.timing import Timing
from hotsku.errors import Overloaded
from hotsku.ports import Grant

pytestmark = pytest.mark.anyio

# `Any`: these are what the types would forbid.
BAD_QUANTITIES: list[Any] = [0, -1, 1.5, 1.0, True, float("nan"), float("inf"), "3", 10**12, None, b"1", [1]]
BAD_IDS: list[Any] = [
    "",
    "x" * 65,
    "a{b}",
    "a b",
    "a\n",
    "\n",
    "sn\u00f6",
    "\U0001f600",
    "a\0b",
    "\0",
    7,
    None,
    True,
    b"x",
    ["x"],
    {"x": 1},
]


@pytest.fixture
async def bench(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(module_valkey, tmp_path) as made:
        yield made


async def test_an_order_is_sold_once_and_its_answer_repeated(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 10, partitions=2)
    first = await engine.deduct("sku", 2, order_id="o-1", buyer_id="b")
    again = await engine.deduct("sku", 2, order_id="o-1", buyer_id="b")
    assert (first.outcome, first.state, first.replayed) == (Outcome.ACCEPTED, OrderState.CONFIRMED, False)
    assert (again.outcome, again.replayed, again.partition) == (Outcome.ACCEPTED, True, first.partition)
    with pytest.raises(IdempotencyConflict, match=r"o-1.*quantity 2"):
        await engine.deduct("sku", 3, order_id="o-1", buyer_id="b")
    # The buyer belongs to the key, and the parts of the key are not run together.
    assert not (await engine.deduct("sku", 1, order_id="o-1")).replayed
    assert not (await engine.deduct("sku", 1, order_id="1", buyer_id="bo-")).replayed
    await bench.settled("sku", 4)


async def test_an_items_units_are_all_there_while_a_lease_is_on_its_way(bench: Bench) -> None:
    """No worker runs that would install it."""
    engine = await bench.engine()
    await engine.create_item("sku", 10, partitions=1)
    item = await bench.stack.ledger.item("sku")
    assert item is not None
    _, rows = await bench.stack.ledger.stock(item.id)
    leased = sum(row.granted for row in rows)
    await engine.deduct("sku", leased, order_id="o-1")
    rest = 10 - leased
    assert await bench.stack.ledger.lease([Grant(rows[0].ref, 1, rows[0].lease_no, rest)], 0)
    view = await engine.item("sku")
    assert (view.pool, view.available, view.state) == (0, rest, "open")
    assert rest > 0


async def test_one_order_from_many_connections_at_the_same_moment(bench: Bench) -> None:
    await bench.workers()
    engines = [await bench.engine() for _ in range(3)]
    await engines[0].create_item("sku", 1000, partitions=4)
    calls = [engine.deduct("sku", 1, order_id=f"o-{n}") for n in range(100) for engine in (*engines, *engines)]
    answers = await asyncio.gather(*calls)
    assert outcomes(answers) == {"accepted": 600}
    assert sum(not answer.replayed for answer in answers) == 100
    await bench.settled("sku", 100)
    assert sum((await bench.order_rows("sku")).values()) == 100


async def test_a_call_of_many_orders_with_repetitions_and_conflicts(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 5000, partitions=3)
    orders = [Order(f"o-{n % 1500}", 1, "") for n in range(3000)]
    answers = await engine.deduct_many("sku", orders)
    assert outcomes(answers) == {"accepted": 3000}
    assert sum(isinstance(a, Deduction) and a.replayed for a in answers) == 1500
    assert [a.order_id for a in answers if isinstance(a, Deduction)] == [order.order_id for order in orders]
    mixed = await engine.deduct_many(
        "sku", [{"order_id": "o-1"}, {"order_id": "o-1", "quantity": 2}, {"order_id": "n", "buyer_id": "b"}]
    )
    assert outcomes(mixed) == {"accepted": 2, "IdempotencyConflict": 1}
    assert isinstance(mixed[1], IdempotencyConflict)
    assert await engine.deduct_many("sku", []) == []
    await bench.settled("sku", 1501)


async def test_a_bad_entry_means_that_nothing_is_sent(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 50)
    good = [Order(f"o-{n}") for n in range(3)]
    bad_entries: list[tuple[Any, str]] = [(Order("x", bad), r"orders\[3\].quantity") for bad in BAD_QUANTITIES]
    bad_entries += [(Order(bad), r"orders\[3\].order_id") for bad in BAD_IDS]
    bad_entries += [({"order_id": "x", "buyer_id": bad}, r"orders\[3\].buyer_id") for bad in BAD_IDS if bad != ""]
    bad_entries += [(bad, r"orders\[3\]") for bad in (None, "o", 7, {}, {"order": "x"}, {"order_id": "x", "sku": "y"})]
    for entry, field in bad_entries:
        with pytest.raises(InvalidRequest, match=field):
            await engine.deduct_many("sku", [*good, entry])
    no_orders: list[Any] = [None, 5]
    for orders in no_orders:
        with pytest.raises(InvalidRequest, match="orders"):
            await engine.deduct_many("sku", orders)
    for n in range(3):
        assert (await engine.order("sku", f"o-{n}")).outcome is Outcome.NOT_FOUND
    await bench.settled("sku", 0)


async def test_bad_orders_among_good_ones_are_told_each_and_the_others_sold(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 100, partitions=2)
    await engine.deduct_many("sku", [])
    bad: list[tuple[str, Any, Any, Any]] = [
        ("quantity", "o", "b", quantity) for quantity in [*BAD_QUANTITIES, 10**5000]
    ]
    bad += [("order_id", order_id, "b", 1) for order_id in BAD_IDS if order_id is not None]
    bad += [("buyer_id", "o", buyer_id, 1) for buyer_id in [*BAD_IDS, "\ud800", str] if buyer_id != ""]
    calls = []
    for number, (_, order_id, buyer_id, quantity) in enumerate(bad):
        calls.append(engine.deduct("sku", 1, order_id=f"o-{number}", buyer_id="b"))
        calls.append(engine.deduct("sku", quantity, order_id=order_id, buyer_id=buyer_id))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, Deduction) and answer.outcome is Outcome.ACCEPTED for answer in answers[::2])
    assert [error.field if isinstance(error, InvalidRequest) else error for error in answers[1::2]] == [
        field for field, *_ in bad
    ]
    await bench.settled("sku", len(bad))


async def test_a_bug_in_the_tick_keeps_nobody_waiting_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = await bench.engine(timing=Timing(patience_ms=200))
    await engine.create_item("sku", 10)
    await engine.deduct_many("sku", [])
    tick, ticks = ItemPaths.tick, itertools.count()

    def raises_once(paths: ItemPaths) -> None:
        if next(ticks) == 0:
            raise ValueError("a bug")
        tick(paths)

    monkeypatch.setattr(ItemPaths, "tick", raises_once)
    async with asyncio.timeout(60):
        with pytest.raises(Overloaded):  # a part of the stock waits in the pool, and no worker brings it
            await engine.deduct("sku", 10, order_id="o")
    assert next(ticks) > 1


async def test_a_refused_order_leaves_nothing_in_memory(bench: Bench) -> None:
    """An error keeps the frames that raised it, and a frame its requests, at which the garbage collector does not
    look."""
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 1000)
    await engine.deduct_many("sku", [])
    before = _futures()
    for turn in range(10):
        await _buy_with_a_bad_one(engine, turn)
    assert _futures() - before < 100  # the workers have some; a batch that stays has 21


async def _buy_with_a_bad_one(engine: Inventory, turn: int) -> None:
    calls = [engine.deduct("sku", 1, order_id=f"o-{turn}-{number}") for number in range(20)]
    answers = await asyncio.gather(*calls, engine.deduct("sku", 1, order_id="a b"), return_exceptions=True)
    assert isinstance(answers[-1], InvalidRequest)


def _futures() -> int:
    gc.collect()
    return sum(isinstance(each, asyncio.Future) for each in gc.get_objects())


async def test_bad_arguments_name_their_field(bench: Bench) -> None:
    engine = await bench.engine()
    await engine.create_item("sku", 50)
    for quantity in BAD_QUANTITIES:
        with pytest.raises(InvalidRequest, match=r"^quantity must be an integer from 1"):
            await engine.deduct("sku", quantity, order_id="o")
        with pytest.raises(InvalidRequest, match=r"^total must be"):
            await engine.create_item("other", quantity)
    for bad in BAD_IDS:
        with pytest.raises(InvalidRequest, match=r"^sku must be"):
            await engine.deduct(bad, 1, order_id="o")
        with pytest.raises(InvalidRequest, match=r"^sku must be"):
            await engine.deduct_many(bad, [Order("o")])
        with pytest.raises(InvalidRequest, match=r"^sku must be"):
            await engine.create_item(bad, 5)
        if bad is not None:
            with pytest.raises(InvalidRequest, match=r"^order_id must be"):
                await engine.deduct("sku", 1, order_id=bad)
        if bad != "":
            with pytest.raises(InvalidRequest, match=r"^buyer_id must be"):
                await engine.deduct("sku", 1, buyer_id=bad)
        if bad is not None and bad != "":
            with pytest.raises(InvalidRequest, match=r"^after must be"):
                await engine.items(after=bad)
        with pytest.raises(InvalidRequest, match=r"^order_id must be"):
            await engine.order("sku", bad)
        with pytest.raises(InvalidRequest, match=r"^sku must be"):
            await engine.item(bad)
    assert (await engine.item("sku")).available == 50


async def test_an_unknown_item_is_said_to_each_of_several_callers(bench: Bench) -> None:
    engine = await bench.engine()
    answers = await asyncio.gather(*(engine.deduct("nowhere") for _ in range(5)), return_exceptions=True)
    assert outcomes(answers) == {"UnknownItem": 5}
    with pytest.raises(UnknownItem, match="nowhere"):
        await engine.deduct_many("nowhere", [Order("o")])
    for call in (
        engine.item("nowhere"),
        engine.partitions("nowhere"),
        engine.audit("nowhere"),
        engine.order("nowhere", "o"),
    ):
        with pytest.raises(UnknownItem):
            await call
    await engine.create_item("nowhere", 1)
    assert (await engine.order("nowhere", "o")).outcome is Outcome.NOT_FOUND


async def test_an_item_created_twice_is_the_same_or_an_error(bench: Bench) -> None:
    first, second = await bench.engine(), await bench.engine()
    views = await asyncio.gather(*(e.create_item("sku", 100, partitions=4) for e in (first, second, first)))
    assert {(v.total, v.available) for v in views} == {(100, 100)}
    assert sum(p.granted for p in await first.partitions("sku")) + views[0].pool <= 200
    others: list[dict[str, Any]] = [{"total": 101}, {"partitions": 5}, {"limit_per_buyer": 2}, {"routing": "random"}]
    for figures in others:
        with pytest.raises(IdempotencyConflict, match=next(iter(figures))):
            await second.create_item("sku", **({"total": 100, "partitions": 4} | figures))
    assert (await first.audit()).ok


async def test_bad_figures_of_an_item(bench: Bench) -> None:
    engine = await bench.engine()
    now = datetime.now(UTC)
    naive = datetime(2030, 1, 1)  # noqa: DTZ001
    single: dict[str, list[Any]] = {
        "partitions": [0, -1, 1025, True, 2.0, "2"],
        "limit_per_buyer": [0, -1, True, 1.5, "2", 10**10],
        "opens_at": [naive, "2030-01-01", 0, now.date()],
        "closes_at": [naive],
        "hold_ttl": [timedelta(0), timedelta(-1), timedelta(days=4000), 5],
        "routing": ["sideways", None, ["random"]],
    }
    table: list[tuple[str, dict[str, Any]]] = [
        *((field, {field: bad}) for field, bads in single.items() for bad in bads),
        ("closes_at", {"opens_at": now, "closes_at": now}),
        # The shard has 0 for "none": a time that is not after 1970 would be no limit at all.
        ("closes_at", {"closes_at": datetime(1970, 1, 1, tzinfo=UTC)}),
        ("closes_at", {"closes_at": datetime(1950, 1, 1, tzinfo=UTC)}),
        # It could not be told again, and with it no list of items.
        ("opens_at", {"opens_at": datetime.max.replace(tzinfo=UTC)}),
        ("routing", {"routing": "random", "limit_per_buyer": 1}),
        ("refund_restores_limit", {"refund_restores_limit": 1}),
    ]
    for field, figures in table:
        with pytest.raises(InvalidRequest, match=f"^{field} must be"):
            await engine.create_item("sku", 10, **figures)
    with pytest.raises(UnknownItem):
        await engine.item("sku")


async def test_the_limit_per_buyer_holds_against_concurrent_orders(bench: Bench) -> None:
    await bench.workers()
    engines = [await bench.engine() for _ in range(2)]
    await engines[0].create_item("sku", 1000, partitions=3, limit_per_buyer=3)
    calls = [
        engine.deduct("sku", 1 + n % 2, order_id=f"o-{n}-{i}", buyer_id=f"b-{n % 7}")
        for n in range(42)
        for i, engine in enumerate(engines)
    ]
    answers = await asyncio.gather(*calls)
    assert outcomes(answers).keys() == {"accepted", "limit_exceeded"}
    bought: dict[str, int] = {}
    for answer in answers:
        if answer.outcome is Outcome.ACCEPTED:
            bought[answer.buyer_id] = bought.get(answer.buyer_id, 0) + answer.quantity
    assert bought == {f"b-{n}": 3 for n in range(7)}
    with pytest.raises(InvalidRequest, match="buyer_id"):
        await engines[0].deduct("sku", 1, order_id="o")
    with pytest.raises(InvalidRequest, match="buyer_id"):
        await engines[0].deduct_many("sku", [Order("o-1", 1, "b-99"), Order("o-2")])
    await bench.settled("sku", 21)


async def test_a_sale_sells_only_in_its_window_and_repeats_answers_after_it(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    now = datetime.now(UTC)
    await engine.create_item("early", 10, opens_at=now + timedelta(hours=1))
    early = await engine.deduct("early", 1, order_id="o")
    assert (early.outcome, early.state) == (Outcome.NOT_OPEN, None)
    await engine.create_item("late", 10, closes_at=now - timedelta(hours=1))
    assert (await engine.deduct("late", 1, order_id="o")).outcome is Outcome.CLOSED
    numbers = itertools.count()
    while True:  # until a machine that stands still does not miss the window
        closes_at = datetime.now(UTC) + timedelta(milliseconds=300)
        short = f"short-{next(numbers)}"
        await engine.create_item(short, 10, opens_at=now - timedelta(hours=1), closes_at=closes_at)
        answer = await engine.deduct(short, 1, order_id="o")
        if answer.outcome is Outcome.ACCEPTED or datetime.now(UTC) < closes_at:
            break
    assert answer.outcome is Outcome.ACCEPTED
    await asyncio.sleep((closes_at - datetime.now(UTC)).total_seconds() + 0.01)  # the clock itself is what it waits for
    assert (await engine.deduct(short, 1)).outcome is Outcome.CLOSED
    assert (await engine.deduct(short, 1, order_id="o")).replayed
    assert [(await engine.item(sku)).state for sku in ("early", "late", short)] == ["not_open", "closed", "closed"]


async def test_an_order_is_found_on_the_shard_then_in_the_ledger(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 10, partitions=2)
    await engine.deduct("sku", 3, order_id="o", buyer_id="b")
    found = await engine.order("sku", "o", "b")
    assert (found.outcome, found.state, found.quantity) == (Outcome.ACCEPTED, OrderState.CONFIRMED, 3)
    missing = await engine.order("sku", "o")
    assert (missing.outcome, missing.state, missing.quantity) == (Outcome.NOT_FOUND, None, 0)
    await bench.settled("sku", 3)
    for partition in range(2):
        item = await bench.stack.ledger.item("sku")
        assert item is not None
        orders = bench.stack.keys.partition(PartitionRef(item.id, partition)).orders
        await bench.stack.shards.client.hdel(orders, order_field("o", "b"))  # as if it had been forgotten
    assert (await engine.order("sku", "o", "b")).quantity == 3


async def test_a_caller_that_left_takes_no_stock_later(bench: Bench) -> None:
    """It waits for stock, is cancelled, and stock comes: that stock is for others."""
    engine = await bench.engine()
    await engine.create_item("sku", 1, partitions=1)  # stays in the pool: no worker leases it yet
    waiting = asyncio.create_task(engine.deduct("sku", 1, order_id="gone"))
    await asyncio.sleep(0.06)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await bench.workers()
    answer = await engine.deduct("sku", 1, order_id="stays")
    assert answer.outcome is Outcome.ACCEPTED
    assert accepted_units([answer]) == 1
    await bench.settled("sku", 1)
