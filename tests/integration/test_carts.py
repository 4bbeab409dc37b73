"""Carts: all or nothing, wherever a crash, a race, or a call that comes much too late comes between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from tests.support import one_batch
from tests.support.cluster import LocalCluster
from tests.support.cutting import Between, Crash, Scissors
from tests.support.engines import Bench, open_bench
from tests.support.ledger import spec
from tests.support.orders import Caller
from tests.support.servers import TestServer
from tests.support.workers import NEVER_MS, Stack, open_stack, until

import hotsku
from hotsku.carts import Carts
from hotsku.domain.cart import Cart, CartLine, LineAnswer
from hotsku.domain.deduction import OrderState, Outcome
from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item
from hotsku.domain.routing import home, order_field
from hotsku.errors import IdempotencyConflict, InvalidRequest, UnknownItem
from hotsku.ports import Fenced, Shard
from hotsku.settings import Settings
from hotsku.stocking import open_item
from hotsku.workers.auditor import Auditor
from hotsku.workers.reaper import Reaper

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patient")]

SKUS = ("ball", "cap", "shoe")
LINES = [CartLine(sku, 2) for sku in SKUS]
LONG = timedelta(hours=1)


class LaterClock:
    """Real time, some hours later."""

    def __init__(self, stack: Stack) -> None:
        self._clock = stack.clock

    def now_ms(self) -> int:
        return self._clock.now_ms() + 10 * 3_600_000

    def monotonic_ms(self) -> float:
        return self._clock.monotonic_ms()


class Shop:
    """Three items, and carts as any number of processes have them."""

    def __init__(self, stack: Stack, items: dict[str, Item]) -> None:
        self.stack = stack
        self.items = items
        self.caller = Caller(stack.ledger, stack.shard)

    def carts(self, scissors: Scissors | None = None) -> Carts:
        cut = scissors or Scissors()
        ledger, shard = cut.on(self.stack.ledger), cut.on(self.stack.shard)
        hold = Caller(ledger, shard).hold_line
        return Carts(ledger, shard, self.stack.signals, self.stack.clock, hold)

    def late_reaper(self) -> Reaper:
        """A reaper to whom every cart's time is over."""
        return Reaper(self.stack.shard, self.stack.ledger, self.stack.signals, LaterClock(self.stack))

    async def states(self, order_id: str) -> list[OrderState | None]:
        """What the cart's lines are on their shards."""
        return [await self.caller.state(item, order_id) for item in self.items.values()]

    async def finished(self, order_id: str) -> bool:
        row = await self.stack.ledger.cart(order_id, "")
        return row is None or row.finished

    async def audited(self) -> None:
        report = await Auditor(self.stack.ledger, self.stack.shard).audit()
        assert report.ok, report.problems


@pytest.fixture
async def stack(valkey: TestServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(valkey, tmp_path) as made:
        yield made


@pytest.fixture
async def shop(stack: Stack) -> Shop:
    return await _shop(stack, dict.fromkeys(SKUS, 1_000))


async def _shop(stack: Stack, totals: dict[str, int]) -> Shop:
    items = {}
    for sku, total in totals.items():
        item = (await stack.ledger.create_item(spec(sku=sku, total=total, partitions=2), "durable", 0)).item
        await open_item(stack.ledger, stack.shard, stack.clock, item)
        items[sku] = item
    return Shop(stack, items)


@pytest.fixture
async def bench(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(module_valkey, tmp_path) as made:
        yield made


def _answers(outcome: Outcome | None) -> list[LineAnswer]:
    return [LineAnswer(sku, 2, outcome) for sku in SKUS]


HELD, CONFIRMED, RELEASED = OrderState.HELD, OrderState.CONFIRMED, OrderState.RELEASED


# --- what a cart answers ---


async def test_a_cart_is_held_and_confirmed(shop: Shop) -> None:
    carts = shop.carts()
    held = await carts.reserve([CartLine("shoe"), *LINES[:2], CartLine("shoe")], "c", ttl=LONG)
    assert (held.outcome, held.state, held.replayed, held.lines) == (Outcome.HELD, HELD, False, _answers(Outcome.HELD))
    assert held.expires_at is not None
    assert await shop.states("c") == [HELD] * 3
    paid = await carts.confirm("c", payment_ref="pay-1")
    assert (paid.outcome, paid.state, paid.replayed, paid.payment_ref) == (Outcome.CONFIRMED, CONFIRMED, False, "pay-1")
    assert (paid.lines, paid.refund_payment_ref) == (_answers(Outcome.CONFIRMED), None)
    records = [await shop.caller.record(item, "c") for item in shop.items.values()]
    assert {record and (record.state, record.payment_ref, record.cart) for record in records} == {
        (CONFIRMED, "pay-1", True)
    }
    assert await shop.finished("c")
    again = await shop.carts().reserve(LINES, "c", ttl=LONG)
    assert (again.outcome, again.state, again.replayed) == (Outcome.HELD, CONFIRMED, True)
    assert (await carts.confirm("c", payment_ref="pay-1")).replayed
    assert (await carts.confirm("c", payment_ref="pay-1")).refund_payment_ref is None
    second = await carts.confirm("c", payment_ref="pay-2")
    assert (second.outcome, second.payment_ref, second.refund_payment_ref) == (Outcome.CONFIRMED, "pay-1", "pay-2")
    assert (await carts.release("c")).outcome is Outcome.CONFIRMED


async def test_a_line_that_was_refunded_since_has_followed_its_cart(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    carts, item = shop.carts(), shop.items["cap"]
    await carts.reserve(LINES, "c", ttl=LONG)
    await carts.confirm("c")
    refund = msgspec.msgpack.encode([("refund", order_field("c", ""), 0, 0)])
    ref = PartitionRef(item.id, home("c", "", item.spec.partitions))
    assert (await one_batch.step(shop.stack.shard, ref, 1, refund)).codes == "A"
    assert (await carts.confirm("c", payment_ref="pay-1")).payment_ref == "pay-1"
    assert await shop.states("c") == [CONFIRMED, OrderState.REFUNDED, CONFIRMED]
    assert (await shop.finished("c"), caplog.messages) == (True, [])


async def test_a_payment_may_be_named_later(shop: Shop) -> None:
    carts = shop.carts()
    await carts.reserve(LINES, "c", ttl=LONG)
    assert (await carts.confirm("c")).payment_ref is None
    named = await carts.confirm("c", payment_ref="pay-1")
    assert (named.payment_ref, named.refund_payment_ref, named.replayed) == ("pay-1", None, True)
    records = [await shop.caller.record(item, "c") for item in shop.items.values()]
    assert {record and record.payment_ref for record in records} == {"pay-1"}


async def test_a_cart_that_was_released_is_not_paid(shop: Shop) -> None:
    carts = shop.carts()
    await carts.reserve(LINES, "c", ttl=LONG)
    released = await carts.release("c")
    assert (released.outcome, released.state, released.lines) == (
        Outcome.RELEASED,
        RELEASED,
        _answers(Outcome.RELEASED),
    )
    assert await shop.states("c") == [RELEASED] * 3
    late = await carts.confirm("c", payment_ref="pay-1")
    assert (late.outcome, late.payment_ref, late.refund_payment_ref) == (Outcome.RELEASED, None, "pay-1")
    assert (await carts.release("c")).replayed
    again = await carts.reserve(LINES, "c", ttl=LONG)
    assert (again.outcome, again.state, again.replayed) == (Outcome.HELD, RELEASED, True)


async def test_a_cart_whose_time_is_over_is_released_by_whoever_comes(shop: Shop) -> None:
    carts = shop.carts()
    await carts.reserve(LINES, "c", ttl=timedelta(seconds=1))
    await asyncio.sleep(1.01)
    late = await carts.confirm("c", payment_ref="pay-1")
    assert (late.outcome, late.state, late.refund_payment_ref) == (Outcome.RELEASED, RELEASED, "pay-1")
    assert await shop.states("c") == [RELEASED] * 3


async def test_one_line_that_cannot_be_held_refuses_them_all(stack: Stack) -> None:
    shop = await _shop(stack, {"ball": 100, "cap": 1, "shoe": 100})
    for replayed in (False, True):
        cart = await shop.carts().reserve(LINES, "c", ttl=LONG)
        assert (cart.outcome, cart.state, cart.refused, cart.replayed) == (Outcome.SOLD_OUT, None, "cap", replayed)
        assert [line.outcome for line in cart.lines] == [Outcome.RELEASED, Outcome.SOLD_OUT, None]
        assert await shop.states("c") == [RELEASED, None, None]
    assert (await shop.carts().confirm("c", payment_ref="pay")).refund_payment_ref == "pay"


async def test_the_payment_of_a_cart_that_is_not_found_may_be_for_another(stack: Stack) -> None:
    """Its caller has left the buyer out: with it the same payment counts."""
    shop = await _shop(stack, {"ball": 100, "cap": 100, "shoe": 100})
    await shop.carts().reserve(LINES, "c", "buyer", ttl=LONG)
    unknown = await shop.carts().confirm("c", payment_ref="pay")
    assert (unknown.outcome, unknown.refund_payment_ref) == (Outcome.NOT_FOUND, None)
    paid = await shop.carts().confirm("c", "buyer", "pay")
    assert (paid.outcome, paid.payment_ref, paid.refund_payment_ref) == (Outcome.CONFIRMED, "pay", None)


async def test_an_order_that_was_placed_by_itself_is_in_no_cart(shop: Shop) -> None:
    await shop.caller.hold(shop.items["cap"], "c", quantity=2)
    for _ in range(2):
        with pytest.raises(IdempotencyConflict, match="the item 'cap' has an order 'c' already"):
            await shop.carts().reserve(LINES, "c", ttl=LONG)
    assert await shop.states("c") == [RELEASED, HELD, None]
    assert await shop.finished("c")


async def test_other_lines_under_the_same_order_are_a_conflict(shop: Shop) -> None:
    await shop.carts().reserve(LINES, "c", ttl=LONG)
    for lines in (LINES[:2], [*LINES, CartLine("ball")]):
        with pytest.raises(IdempotencyConflict, match="with other lines"):
            await shop.carts().reserve(lines, "c", ttl=LONG)
    assert (await shop.carts().reserve(LINES[:2], "c", "ann", ttl=LONG)).outcome is Outcome.HELD


async def test_what_is_wrong_is_said_before_anything_is_held(shop: Shop) -> None:
    await shop.stack.ledger.create_item(spec(sku="rare", total=9, limit_per_buyer=1), "durable", 0)
    carts = shop.carts()
    with pytest.raises(UnknownItem):
        await carts.reserve([*LINES, CartLine("other")], "c")
    with pytest.raises(InvalidRequest, match="buyer_id"):
        await carts.reserve([*LINES, CartLine("rare")], "c")
    with pytest.raises(InvalidRequest, match="ttl"):
        await carts.reserve(LINES, "c", ttl=timedelta(0))
    with pytest.raises(InvalidRequest, match="payment_ref"):
        await carts.confirm("c", payment_ref="a b")
    assert await shop.states("c") == [None] * 3
    assert await shop.stack.ledger.cart("c", "") is None
    for cart in (await carts.confirm("c", payment_ref="pay"), await carts.release("c")):
        assert (cart.outcome, cart.state, cart.lines) == (Outcome.NOT_FOUND, None, [])


# --- crashes ---


async def test_a_crash_anywhere_leaves_all_or_nothing(shop: Shop) -> None:
    """The reaper finishes what is left; the same calls again hear what became of it."""
    outcomes = []
    after, ended = 1, False
    while not ended:
        order = f"c-{after}"
        carts = shop.carts(Scissors(after))
        try:
            await carts.reserve(LINES, order, ttl=LONG)
            await carts.confirm(order, payment_ref="pay")
            ended = True
        except Crash:
            pass
        await shop.late_reaper().finish_carts()
        assert await shop.finished(order)
        states = await shop.states(order)
        assert states == [CONFIRMED] * 3 or CONFIRMED not in states, after
        assert HELD not in states, after
        row = await shop.stack.ledger.cart(order, "")
        if row is not None:
            again = await shop.carts().confirm(order, payment_ref="pay")
            assert (again.outcome is Outcome.CONFIRMED) is (CONFIRMED in states), after
            assert again.refund_payment_ref == (None if CONFIRMED in states else "pay")
        outcomes.append(row and row.state)
        after += 1
    assert set(outcomes) == {None, "released", "confirmed"}
    assert len(outcomes) > 15
    await shop.audited()


async def test_who_was_cut_off_goes_on_where_it_was(shop: Shop) -> None:
    after, ended = 1, False
    while not ended:
        order = f"c-{after}"
        carts = shop.carts(Scissors(after))
        try:
            await carts.reserve(LINES, order, ttl=LONG)
            await carts.confirm(order, payment_ref="pay")
            ended = True
        except Crash:
            pass
        assert (await shop.carts().reserve(LINES, order, ttl=LONG)).outcome is Outcome.HELD
        assert (await shop.carts().confirm(order, payment_ref="pay")).outcome is Outcome.CONFIRMED
        assert await shop.states(order) == [CONFIRMED] * 3
        after += 1


async def test_a_confirm_holds_what_its_reserve_left(shop: Shop) -> None:
    with pytest.raises(Crash):
        await shop.carts(Scissors(7)).reserve(LINES, "c", ttl=LONG)
    assert await shop.states("c") == [HELD, None, None]
    assert (await shop.carts().confirm("c", payment_ref="pay")).outcome is Outcome.CONFIRMED
    assert await shop.states("c") == [CONFIRMED] * 3


async def test_a_release_that_was_cut_off_is_finished(shop: Shop) -> None:
    for after in range(1, 9):
        await shop.carts().reserve(LINES, f"c-{after}", ttl=LONG)
        with pytest.raises(Crash):
            await shop.carts(Scissors(after)).release(f"c-{after}")
        await shop.late_reaper().finish_carts()
        assert await shop.states(f"c-{after}") == [RELEASED] * 3


# --- what comes late ---


async def test_a_line_that_is_held_after_its_cart_was_released_is_released(shop: Shop) -> None:
    """Its caller slept between two lines, longer than the cart. Nobody else knows of the line."""
    stack = shop.stack
    with pytest.raises(Crash):
        await shop.carts(Scissors(7)).reserve(LINES, "c", ttl=LONG)
    await shop.late_reaper().finish_carts()
    assert await shop.finished("c")
    answer = await shop.caller.hold_line("cap", 2, order_id="c", buyer_id="", ttl_ms=300, metadata="")
    assert answer.outcome is Outcome.HELD
    repeated = await shop.caller.hold_line("ball", 2, order_id="c", buyer_id="", ttl_ms=300, metadata="")
    assert repeated.state is RELEASED, "what was released is not held again"
    stack.run(stack.new_relay(), stack.new_applier(), stack.new_reaper())
    await until(lambda: _are(shop, "c", [RELEASED, RELEASED, None]))
    await until(lambda: _nothing_held(shop))
    await shop.audited()


@pytest.mark.parametrize("lines", [1, 2, 3])
async def test_a_cart_is_released_while_another_call_holds_its_lines(shop: Shop, lines: int) -> None:
    """The release has come to its end before the other lines are held; whoever holds them sees to it."""
    stack = shop.stack
    between: Between[Shard] = Between("order", lambda: shop.carts().release("c"), times=lines)
    holding = Caller(stack.ledger, between.on(stack.shard))
    carts = Carts(stack.ledger, stack.shard, stack.signals, stack.clock, holding.hold_line)
    cart = await carts.reserve(LINES, "c", ttl=LONG)
    assert between.done
    assert (cart.state, cart.refused) == (RELEASED, None)
    assert HELD not in await shop.states("c")


async def test_a_line_of_no_cart_is_released(shop: Shop) -> None:
    stack = shop.stack
    await shop.caller.hold_line("cap", 2, order_id="c", buyer_id="", ttl_ms=1, metadata="")
    stack.run(stack.new_relay(), stack.new_applier(), stack.new_reaper())
    await until(lambda: _are(shop, "c", [None, RELEASED, None]))


async def test_lines_whose_time_is_over_follow_a_cart_that_was_confirmed(shop: Shop) -> None:
    """The one who decided died before any line was confirmed; the lines' time ends before the cart is finished."""
    stack = shop.stack
    await shop.carts().reserve(LINES, "c", ttl=timedelta(seconds=2))
    await stack.ledger.decide_cart("c", "", "confirmed", payment_ref="pay")
    stack.run(stack.new_relay(), stack.new_applier())
    await until(lambda: _units_held(shop, 6))
    reaper = stack.new_reaper(interval_ms=NEVER_MS)

    async def swept() -> bool:
        await reaper.sweep()
        return await shop.states("c") == [CONFIRMED] * 3

    await until(swept)


async def test_many_carts_and_holds_end_in_one_sweep(shop: Shop) -> None:
    stack = shop.stack
    carts = shop.carts()
    for n in range(40):
        assert (await carts.reserve(LINES, f"c-{n}", ttl=timedelta(milliseconds=1))).outcome in (
            Outcome.HELD,
            Outcome.RELEASED,
        )
        await shop.caller.hold(shop.items["cap"], f"h-{n}", ttl_ms=1)
    stack.run(stack.new_relay(), stack.new_applier(), stack.new_reaper(), stack.new_reaper())
    await until(lambda: _nothing_held(shop))
    for n in range(40):
        await until(lambda n=n: shop.finished(f"c-{n}"))  # type: ignore[misc]
    await shop.audited()


async def test_a_cart_outlives_a_shard_that_was_lost(shop: Shop) -> None:
    stack = shop.stack
    relay, applier = stack.new_relay(), stack.new_applier()
    stack.run(relay, applier)
    await shop.carts().reserve(LINES, "c", ttl=LONG)
    await shop.carts().reserve(LINES, "d", ttl=LONG)
    assert await relay.drain(60_000) == []
    await stack.client.flushall()
    await stack.ledger.decide_cart("d", "", "confirmed", payment_ref="pay")
    stack.run(stack.new_recoverer(lost_after_ms=0), stack.new_reaper())
    await until(lambda: _are(shop, "d", [CONFIRMED] * 3))
    assert (await shop.carts().release("c")).outcome is Outcome.RELEASED
    await until(lambda: _are(shop, "c", [RELEASED] * 3))


async def _are(shop: Shop, order_id: str, states: list[OrderState | None]) -> bool:
    with suppress(Fenced):
        return await shop.states(order_id) == states
    return False


async def _nothing_held(shop: Shop) -> bool:
    return await _units_held(shop, 0)


async def _units_held(shop: Shop, units: int) -> bool:
    """Whether shards hold nothing that the ledger does not, and that is so much."""
    held = [(await shop.stack.ledger.standing(item.id)).held for item in shop.items.values()]
    rows = await shop.stack.ledger.partitions()
    behind = [row for row in rows if (await shop.stack.shard.status(row.ref)).seq > row.watermark]
    return sum(held) == units and not behind


# --- many at once ---


async def test_of_confirm_release_and_the_end_of_its_time_one_wins(shop: Shop) -> None:
    decided = []
    for n in range(25):
        order = f"c-{n}"
        await shop.carts().reserve(LINES, order, ttl=LONG)
        calls = [
            shop.carts().confirm(order, payment_ref="pay-1"),
            shop.carts().release(order),
            shop.carts().confirm(order, payment_ref="pay-2"),
        ]
        reaping = asyncio.create_task(shop.late_reaper().finish_carts())
        answers = [await each for each in asyncio.as_completed(calls)]
        await reaping
        states = await shop.states(order)
        assert states in ([CONFIRMED] * 3, [RELEASED] * 3)
        assert {answer.state for answer in answers} == {states[0]}
        refunds = {answer.refund_payment_ref for answer in answers} - {None}
        paid = {answer.payment_ref for answer in answers} - {None}
        assert refunds | paid == {"pay-1", "pay-2"}
        assert not refunds & paid
        decided.append(states[0])
    await shop.audited()


async def test_two_engines_reserve_the_same_carts(stack: Stack) -> None:
    """There is not enough for all: of each cart all is held, or nothing, whoever is asked."""
    shop = await _shop(stack, {"ball": 160, "cap": 120, "shoe": 200})

    async def reserve(order: str) -> list[Cart]:
        return list(await asyncio.gather(*(shop.carts().reserve(LINES, order, ttl=LONG) for _ in range(2))))

    pairs = await asyncio.gather(*(reserve(f"c-{n}") for n in range(50)))
    held = 0
    for n, pair in enumerate(pairs):
        row = await stack.ledger.cart(f"c-{n}", "")
        assert row is not None
        states = await shop.states(f"c-{n}")
        if row.state == "open":
            held += 1
            assert states == [HELD] * 3
            assert {cart.outcome for cart in pair} == {Outcome.HELD}
        else:
            assert HELD not in states
            assert {cart.outcome for cart in pair} == {Outcome.SOLD_OUT}
            assert len({cart.refused for cart in pair}) == 1
    assert 0 < held < 50
    await shop.audited()


async def test_carts_of_engines(bench: Bench) -> None:
    """Over the engines' own paths: they wait for stock, they are coalesced with orders, and no cart is half."""
    await bench.workers()
    engines = [await bench.engine() for _ in range(2)]
    for sku, total in (("ball", 60), ("cap", 100), ("shoe", 80)):
        await engines[0].create_item(sku, total, partitions=3)

    async def shop(n: int) -> Cart:
        engine = engines[n % 2]
        cart = await engine.reserve_cart([{"sku": sku, "quantity": 2} for sku in SKUS], f"c-{n}", f"b-{n}")
        if cart.outcome is not Outcome.HELD:
            assert cart.refused == "ball"
            return cart
        return await (engine.confirm_cart if n % 3 else engine.release_cart)(f"c-{n}", f"b-{n}")

    carts = await asyncio.gather(*(shop(n) for n in range(30)), *(shop(n) for n in range(30)))
    for first, second in zip(carts[:30], carts[30:], strict=True):
        assert (first.outcome, first.state) == (second.outcome, second.state)
    sold = sum(cart.outcome is Outcome.CONFIRMED for cart in carts[:30]) * 2
    for sku in SKUS:
        await bench.settled(sku, sold)
        assert (await engines[0].item(sku)).sold == sold
    with pytest.raises(IdempotencyConflict):
        await engines[0].confirm("ball", order_id="c-1", buyer_id="b-1")
    with pytest.raises(IdempotencyConflict):
        await engines[0].release("ball", order_id="c-0", buyer_id="b-0")


async def test_a_cart_lies_on_several_shards(cluster: LocalCluster, tmp_path: Path) -> None:
    settings = Settings(
        shard_url=cluster.url, ledger_url=f"sqlite:///{tmp_path}/ledger.db", namespace="carts", relay_interval_ms=20
    )
    async with hotsku.connect(settings, workers=True) as stock:
        for sku in SKUS:
            await stock.create_item(sku, 30, partitions=3)
        servers = {view.shard for sku in SKUS for view in await stock.partitions(sku)}
        assert len(servers) > 1
        held = await stock.reserve_cart(LINES, "c", "ann", ttl=LONG)
        assert held.outcome is Outcome.HELD
        assert (await stock.confirm_cart("c", "ann", "pay")).outcome is Outcome.CONFIRMED
        short = await stock.reserve_cart(LINES, "d", "bob", ttl=timedelta(seconds=2))
        assert short.outcome is Outcome.HELD

        async def ended() -> bool:
            return (await stock.reserve_cart(LINES, "d", "bob")).state is RELEASED

        await until(ended)
        for sku in SKUS:
            await until(lambda sku=sku: _figures(stock, sku, 28, 2))  # type: ignore[misc]
        assert (await stock.audit()).ok


async def _figures(stock: hotsku.Inventory, sku: str, actual: int, sold: int) -> bool:
    view = await stock.item(sku)
    return (view.actual, view.sold, view.held) == (actual, sold, 0)
