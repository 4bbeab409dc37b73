"""The steps of an order's life: every transition, and one winner whatever comes twice, late or lost."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support import one_batch
from tests.support.engines import Bench, decided, open_bench, outcomes
from tests.support.proxy import Fault, Proxy, running_proxy
from tests.support.servers import TestServer
from tests.support.workers import until

from hotsku import (
    BackendUnavailable,
    Deduction,
    HotSKUError,
    IdempotencyConflict,
    InvalidRequest,
    Inventory,
    OrderState,
    Outcome,
    OutcomeUnknown,
    UnknownItem,
)
from hotsku.domain.events import PartitionRef
from hotsku.domain.order import StepVerb
from hotsku.domain.routing import order_field
from hotsku.domain.steps import judge
from hotsku.engine.timing import Timing

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)
LONG = timedelta(hours=5)
SOON = timedelta(milliseconds=20)
QUICK = Timing(patience_ms=60_000, deadline_ms=300, margin_ms=100, retry_ms=50)

Prepare = Callable[[Inventory, str], Coroutine[Any, Any, Deduction]]
Take = Callable[[Inventory, str], Coroutine[Any, Any, Deduction]]


@pytest.fixture
async def bench(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(module_valkey, tmp_path) as made:
        yield made


@pytest.fixture
async def proxy(module_valkey: TestServer) -> AsyncIterator[Proxy]:
    async with running_proxy(module_valkey.socket, module_valkey.socket.with_name("p")) as made:
        made.about = b"hs_step"
        yield made


def _via(bench: Bench) -> Path:
    return bench.server.socket.with_name("p")


async def _shop(bench: Bench, **timing: Any) -> Inventory:
    engine = await bench.engine(**timing)
    await engine.create_item("sku", 1000, partitions=1)
    return engine


# --- how an order comes into each of its states ---


async def held(engine: Inventory, order: str) -> Deduction:
    return await engine.reserve("sku", 3, order_id=order, buyer_id="b", ttl=MINUTE)


async def paying(engine: Inventory, order: str) -> Deduction:
    await held(engine, order)
    return await engine.begin_payment("sku", order_id=order, buyer_id="b")


async def sold(engine: Inventory, order: str) -> Deduction:
    return await engine.deduct("sku", 3, order_id=order, buyer_id="b")


async def confirmed(engine: Inventory, order: str) -> Deduction:
    await held(engine, order)
    return await confirm("pay-1")(engine, order)


async def refunded_in_part(engine: Inventory, order: str) -> Deduction:
    await confirmed(engine, order)
    return await refund(1)(engine, order)


async def refunded(engine: Inventory, order: str) -> Deduction:
    await confirmed(engine, order)
    return await refund(None)(engine, order)


async def released(engine: Inventory, order: str) -> Deduction:
    await held(engine, order)
    return await release(engine, order)


async def expired(engine: Inventory, order: str) -> Deduction:
    await engine.reserve("sku", 3, order_id=order, buyer_id="b", ttl=SOON)

    async def over() -> bool:
        return (await engine.order("sku", order, "b")).state is OrderState.EXPIRED

    await until(over)
    return await engine.order("sku", order, "b")


# --- the steps ---


def confirm(payment_ref: str | None) -> Take:
    return lambda engine, order: engine.confirm("sku", order_id=order, buyer_id="b", payment_ref=payment_ref)


def refund(quantity: int | None) -> Take:
    return lambda engine, order: engine.refund("sku", order_id=order, buyer_id="b", quantity=quantity)


async def release(engine: Inventory, order: str) -> Deduction:
    return await engine.release("sku", order_id=order, buyer_id="b")


async def extend(engine: Inventory, order: str) -> Deduction:
    return await engine.extend("sku", order_id=order, buyer_id="b", ttl=LONG)


async def begin_payment(engine: Inventory, order: str) -> Deduction:
    return await engine.begin_payment("sku", order_id=order, buyer_id="b", ttl=LONG)


# State before, step, outcome, state after, replayed, the payment to give back.
TRANSITIONS: list[tuple[Prepare, Take, str, str, bool, str | None]] = [
    (held, confirm(None), "confirmed", "confirmed", False, None),
    (held, confirm("pay-1"), "confirmed", "confirmed", False, None),
    (held, release, "released", "released", False, None),
    (held, extend, "held", "held", False, None),
    (held, begin_payment, "held", "held", False, None),
    (held, refund(None), "held", "held", False, None),
    (paying, begin_payment, "held", "held", True, None),
    (paying, confirm("pay-1"), "confirmed", "confirmed", False, None),
    (paying, release, "released", "released", False, None),
    (paying, extend, "held", "held", False, None),
    (sold, confirm(None), "confirmed", "confirmed", True, None),
    (sold, confirm("pay-1"), "confirmed", "confirmed", False, None),
    (sold, refund(2), "refunded", "confirmed", False, None),
    (sold, refund(3), "refunded", "refunded", False, None),
    (sold, release, "confirmed", "confirmed", False, None),
    (confirmed, confirm("pay-1"), "confirmed", "confirmed", True, None),
    (confirmed, confirm(None), "confirmed", "confirmed", True, None),
    (confirmed, confirm("pay-2"), "confirmed", "confirmed", False, "pay-2"),
    (confirmed, release, "confirmed", "confirmed", False, None),
    (confirmed, extend, "confirmed", "confirmed", False, None),
    (confirmed, begin_payment, "confirmed", "confirmed", False, None),
    (confirmed, refund(None), "refunded", "refunded", False, None),
    (refunded_in_part, refund(1), "refunded", "confirmed", True, None),
    (refunded_in_part, refund(2), "refunded", "confirmed", False, None),
    (refunded_in_part, refund(None), "refunded", "refunded", False, None),
    (refunded_in_part, confirm("pay-1"), "confirmed", "confirmed", True, None),
    (refunded, refund(2), "refunded", "refunded", True, None),
    (refunded, refund(None), "refunded", "refunded", True, None),
    (refunded, confirm("pay-1"), "confirmed", "refunded", True, None),  # its refund is under way already
    (refunded, confirm("pay-2"), "refunded", "refunded", False, "pay-2"),
    (refunded, release, "refunded", "refunded", False, None),
    (released, release, "released", "released", True, None),
    (released, confirm(None), "released", "released", False, None),
    (released, confirm("pay-1"), "released", "released", False, "pay-1"),
    (released, extend, "released", "released", False, None),
    (released, begin_payment, "released", "released", False, None),
    (released, refund(1), "released", "released", False, None),
    (expired, confirm(None), "expired", "expired", False, None),
    (expired, confirm("pay-1"), "expired", "expired", False, "pay-1"),
    (expired, release, "expired", "expired", False, None),
    (expired, extend, "expired", "expired", False, None),
    (expired, begin_payment, "expired", "expired", False, None),
    (expired, refund(None), "expired", "expired", False, None),
]


async def test_every_transition(bench: Bench) -> None:
    engine, other = await _shop(bench), await bench.engine()
    for number, (prepare, take, outcome, state, replayed, in_vain) in enumerate(TRANSITIONS):
        order = f"o-{number}-{prepare.__name__}"
        before = await prepare(engine, order)
        answer = await take(engine, order)
        said = (answer.outcome, answer.state, answer.replayed, answer.refund_payment_ref)
        assert said == (outcome, state, replayed, in_vain), order
        assert (answer.quantity, answer.order_id, answer.buyer_id, answer.sku) == (3, order, "b", "sku")
        assert (answer.partition, answer.seq, answer.at_ms) == (before.partition, before.seq, before.at_ms)
        # Everybody sees the same from now on, and the same step again changes nothing.
        seen = await other.order("sku", order, "b")
        assert (seen.state, seen.refunded, seen.payment_ref) == (answer.state, answer.refunded, answer.payment_ref)
        again = await take(other, order)
        assert (again.outcome, again.state) == (outcome, state), order
        if outcome != "held" and take is not extend:
            assert (again.expires_at, again.refunded) == (answer.expires_at, answer.refunded)


async def test_the_ledgers_judgement_is_the_shards(bench: Bench) -> None:
    """What is judged by an order's row, once its record has left the shard, is what the shard would have said."""
    engine = await _shop(bench)
    item = await bench.stack.ledger.item("sku")
    assert item is not None
    ref, numbers = PartitionRef(item.id, 0), itertools.count()
    steps: list[tuple[StepVerb, str | int]] = [
        *((StepVerb.CONFIRM, payment_ref) for payment_ref in ("", "pay-1", "pay-2")),
        *((StepVerb.REFUND, units) for units in (0, 1, 2, 3, 4)),
        (StepVerb.RELEASE, ""),
        (StepVerb.EXTEND, 1000),
        (StepVerb.BEGIN_PAYMENT, 1000),
    ]
    seen = set()
    for prepare in (held, paying, sold, confirmed, refunded_in_part, refunded, released, expired):
        for (verb, argument), cart in itertools.product(steps, (False, True)):
            order = f"o-{next(numbers)}"
            await prepare(engine, order)
            if prepare is expired:  # written down as such
                await release(engine, order)
            record, _ = await bench.shard.order(ref, order_field(order, "b"))
            assert record is not None
            packed = msgspec.msgpack.encode([(verb, order_field(order, "b"), argument, int(cart))])
            reply = await one_batch.step(bench.shard, ref, 1, packed)
            assert judge(verb, argument, cart, record) == reply.codes, (prepare.__name__, verb, argument, cart)
            seen.add(reply.codes)
    assert seen == set("ARNXOI")


async def test_an_extension_never_shortens_and_a_payment_has_its_time(bench: Bench) -> None:
    engine = await _shop(bench)
    first = await engine.reserve("sku", 1, order_id="o", ttl=MINUTE)
    shorter = await engine.extend("sku", order_id="o", ttl=timedelta(seconds=1))
    assert shorter.expires_at == first.expires_at
    longer = await engine.extend("sku", order_id="o", ttl=timedelta(minutes=2))
    assert first.expires_at is not None
    assert longer.expires_at is not None
    assert longer.expires_at >= first.expires_at + MINUTE
    paid = await engine.begin_payment("sku", order_id="o")  # the item's hold_ttl, 15 minutes
    assert paid.expires_at is not None
    assert paid.expires_at >= first.expires_at + timedelta(minutes=13)


async def test_an_unknown_order_is_not_found_by_any_step(bench: Bench) -> None:
    engine = await _shop(bench)
    await held(engine, "o")
    for take in (confirm("pay"), refund(1), release, extend, begin_payment):
        answer = await take(engine, "never")
        assert (answer.outcome, answer.state, answer.quantity) == (Outcome.NOT_FOUND, None, 0)
    assert (await engine.confirm("sku", order_id="o")).outcome is Outcome.NOT_FOUND  # its buyer belongs to its name
    with pytest.raises(UnknownItem):
        await engine.release("nowhere", order_id="o")


async def test_bad_arguments_name_their_field(bench: Bench) -> None:
    engine = await _shop(bench)
    await sold(engine, "o")
    bad_refs: list[Any] = ["", "x" * 129, "a b", "é", "a\0", 7, b"x", True]
    for payment_ref in bad_refs:
        with pytest.raises(InvalidRequest, match=r"^payment_ref must be 1 to 128 characters"):
            await engine.confirm("sku", order_id="o", payment_ref=payment_ref)
    bad_ttls: list[Any] = [None, 5, timedelta(0), timedelta(-1), timedelta(days=2000)]
    for ttl in bad_ttls:
        with pytest.raises(InvalidRequest, match=r"^ttl must be"):
            await engine.extend("sku", order_id="o", ttl=ttl)
        with pytest.raises(InvalidRequest, match=r"^ttl must be"):
            await engine.begin_payment("sku", order_id="o", ttl=7 if ttl is None else ttl)  # type: ignore[arg-type]
    bad_quantities: list[Any] = [0, -1, True, 1.0, "1", 10**10]
    for quantity in bad_quantities:
        with pytest.raises(InvalidRequest, match=r"^quantity must be"):
            await engine.refund("sku", order_id="o", buyer_id="b", quantity=quantity)
    with pytest.raises(InvalidRequest, match=r"^quantity must be at most the order's"):
        await engine.refund("sku", order_id="o", buyer_id="b", quantity=4)
    bad_orders: list[Any] = ["", "a b", None, 7]
    for order in bad_orders:
        with pytest.raises(InvalidRequest, match=r"^order_id must be"):
            await engine.confirm("sku", order_id=order)
    assert (await engine.order("sku", "o", "b")).refunded == 0


async def test_steps_are_offered_too(bench: Bench) -> None:
    engine, fresh = await _shop(bench), await bench.engine()
    for order in ("o-1", "o-2", "o-3"):
        await held(engine, order)
    heard: dict[str, Deduction | HotSKUError] = {}

    def listen(order: str) -> dict[str, Any]:
        return {"order_id": order, "buyer_id": "b", "hear": lambda answer: heard.update({order: answer})}

    assert fresh.offer_step("sku", StepVerb.CONFIRM, **listen("o-1")) is None  # it has not loaded the item yet
    assert engine.offer_step("sku", StepVerb.CONFIRM, payment_ref="pay", **listen("o-1"))
    assert engine.offer_step("sku", StepVerb.REFUND, quantity=9, **listen("o-1x"))
    assert engine.offer_step("sku", StepVerb.RELEASE, **listen("o-2"))
    gone = engine.offer_step("sku", StepVerb.EXTEND, ttl=LONG, **listen("o-3"))
    assert gone is not None
    gone.leave()
    with pytest.raises(InvalidRequest, match=r"^payment_ref"):
        engine.offer_step("sku", StepVerb.CONFIRM, payment_ref="a b", **listen("o-1"))
    await until(lambda: len(heard) == 3)
    assert {order: answer.outcome for order, answer in heard.items() if isinstance(answer, Deduction)} == {
        "o-1": Outcome.CONFIRMED,
        "o-1x": Outcome.NOT_FOUND,
        "o-2": Outcome.RELEASED,
    }


# --- one winner ---


async def test_of_confirm_and_release_one_wins_and_all_hear_who(bench: Bench) -> None:
    await bench.workers()
    engines = [await _shop(bench), await bench.engine(), await bench.engine()]
    orders = [f"o-{n}" for n in range(150)]
    await asyncio.gather(*(held(engines[0], order) for order in orders))
    takes = [(engines[n % 3], (confirm("pay"), release)[n % 2], order) for order in orders for n in range(6)]
    answers = await asyncio.gather(*(take(engine, order) for engine, take, order in takes))
    for order, of_one in zip(orders, _chunks(answers, 6), strict=True):
        assert len({answer.state for answer in of_one}) == 1
        assert sum(not answer.replayed and answer.refund_payment_ref is None for answer in of_one) >= 1
        assert (await engines[1].order("sku", order, "b")).state is of_one[0].state
    won = [(await engines[0].order("sku", order, "b")).state for order in orders].count(OrderState.CONFIRMED)
    await bench.settled("sku", 3 * won)
    item = await engines[0].item("sku")
    assert (item.sold, item.held, item.actual) == (3 * won, 0, 1000 - 3 * won)


def _chunks(answers: list[Deduction], size: int) -> list[list[Deduction]]:
    return [answers[start : start + size] for start in range(0, len(answers), size)]


async def test_of_confirm_and_the_end_of_a_holds_time_one_wins(bench: Bench) -> None:
    await bench.workers()
    engine, other = await _shop(bench), await bench.engine()
    orders = [f"o-{n}" for n in range(120)]

    async def buyer(number: int, order: str) -> tuple[Deduction, Deduction]:
        ttl = timedelta(milliseconds=5 + number % 30)
        await engine.reserve("sku", 1, order_id=order, buyer_id="b", ttl=ttl)
        await asyncio.sleep(0.02)
        first, second = await asyncio.gather(confirm("pay-1")(engine, order), confirm("pay-2")(other, order))
        return first, second

    pairs = await asyncio.gather(*(buyer(n, order) for n, order in enumerate(orders)))
    states = [(await engine.order("sku", order, "b")).state for order in orders]
    for (first, second), state in zip(pairs, states, strict=True):
        assert first.state is second.state is state
        in_vain = {first.refund_payment_ref, second.refund_payment_ref} - {None}
        assert len(in_vain) == (2 if state is OrderState.EXPIRED else 1)  # each payment is kept once or given back
    won = states.count(OrderState.CONFIRMED)
    await bench.settled("sku", won)
    item = await engine.item("sku")
    assert (item.sold, item.held) == (won, 0)


# --- lost calls ---


@pytest.mark.parametrize("fault", ["lose reply", "lose call", "hold"])
async def test_a_lost_step_is_sent_again_and_done_once(bench: Bench, proxy: Proxy, fault: Fault) -> None:
    await bench.workers()
    engine = await _shop(bench, via=_via(bench))
    await held(engine, "o")
    proxy.faults.append(fault)
    answer = await confirm("pay")(engine, "o")
    assert (answer.outcome, answer.replayed) == (Outcome.CONFIRMED, fault == "lose reply")
    for late in await proxy.release():
        assert b"R" in late  # it found it done
    await bench.settled("sku", 3)
    kinds = [event.kind for event in await engine.order_history("sku", "o", "b")]
    assert kinds == ["held", "confirmed"]


async def test_a_step_that_stays_unknown_is_said_so_and_a_retry_resolves_it(bench: Bench, proxy: Proxy) -> None:
    timing = Timing(patience_ms=400, deadline_ms=60_000, margin_ms=100)  # what is lost was in time
    engine = await _shop(bench, via=_via(bench), timing=timing, call_timeout_s=0.15)
    await held(engine, "o")
    proxy.faults.extend(["lose reply", *["stuck"] * 10])  # type: ignore[list-item]
    with pytest.raises(OutcomeUnknown, match=r"release.*'o'"):
        await release(engine, "o")
    proxy.faults.clear()
    again = await release(engine, "o")
    assert (again.outcome, again.replayed) == (Outcome.RELEASED, True)


async def test_a_shard_that_is_away_is_said_and_nothing_was_done(valkey: TestServer, tmp_path: Path) -> None:
    async with open_bench(valkey, tmp_path) as bench:
        engine = await _shop(bench, timing=Timing(patience_ms=300, deadline_ms=200, margin_ms=50))
        await held(engine, "o")
        valkey.kill()
        with pytest.raises(BackendUnavailable):
            await confirm("pay")(engine, "o")
        valkey.start()

        async def fenced() -> bool:  # for nobody is there to prove its memory
            with pytest.raises(BackendUnavailable) as away:
                await confirm("pay")(engine, "o")
            return "fenced" in str(away.value)

        await until(fenced)
        await bench.workers()
        assert not (await decided(lambda: confirm("pay")(engine, "o"))).replayed
        await bench.settled("sku", 3)


async def test_orders_and_steps_at_once_alarm_nobody(bench: Bench, proxy: Proxy) -> None:
    """Both kinds of batches are in flight at once, and replies of one must not look like a loss of memory to the other:
    a fence that an engine reports stops the partition."""
    await bench.workers()
    reports: list[object] = []
    bench.stack.signals.subscribe(needs=lambda needs: reports.extend(needs.fenced))
    engine, other = await _shop(bench, via=_via(bench), timing=QUICK, call_timeout_s=0.3), await bench.engine()

    async def buyer(number: int) -> Deduction:
        via = (engine, other)[number % 2]
        if number % 3 == 0:
            return await via.deduct("sku", 1, order_id=f"o-{number}")
        await via.reserve("sku", 1, order_id=f"o-{number}")
        return await (via.confirm if number % 3 == 1 else via.release)("sku", order_id=f"o-{number}")

    await engine.deduct("sku", 1, order_id="first")  # the item is loaded, and every call is an order or a step
    proxy.about = b"hs_"
    for wave in range(6):
        proxy.faults.extend(["lose reply", "lose call"])
        numbers = range(wave * 60, wave * 60 + 60)
        answers = await asyncio.gather(*(buyer(number) for number in numbers))
        assert outcomes(answers) == {"accepted": 20, "confirmed": 20, "released": 20}
    await bench.settled("sku", 241)
    assert reports == []
    item = await engine.item("sku")
    assert (item.sold, item.held, item.actual) == (241, 0, 759)


# --- orders that their shard does not have ---


async def test_an_order_whose_record_has_left_is_answered_from_the_ledger(bench: Bench) -> None:
    await bench.workers()
    engine, other = await _shop(bench), await bench.engine()
    await released(engine, "released")
    await expired(engine, "expired")
    await release(engine, "expired")  # finds it expired, and has that written down
    await confirmed(engine, "stays")
    await bench.settled("sku", 3)
    item = await bench.stack.ledger.item("sku")
    assert item is not None
    ref = PartitionRef(item.id, 0)

    async def left() -> bool:
        await bench.shard.forget(ref, 1, 10**14, 0, 100)
        return (await bench.shard.status(ref)).orders == 1

    await until(left)
    for order, state in (("released", Outcome.RELEASED), ("expired", Outcome.EXPIRED)):
        for take in (release, extend, begin_payment, refund(1)):
            answer = await take(other, order)
            assert (answer.outcome, answer.state, answer.quantity) == (state, state.value, 3)
            assert answer.replayed == (take is release and order == "released")
        paid = await confirm("pay")(other, order)
        assert (paid.outcome, paid.refund_payment_ref) == (state, "pay")
        found = await other.order("sku", order, "b")
        assert (found.outcome, found.state) == (Outcome.HELD, state.value)
    # The order may be held again: a new attempt.
    again = await held(other, "expired")
    assert (again.outcome, again.state, again.replayed) == (Outcome.HELD, OrderState.HELD, False)
    assert (await confirm("pay-2")(engine, "expired")).outcome is Outcome.CONFIRMED
    await bench.settled("sku", 6)


async def test_a_step_waits_for_an_order_that_only_the_ledger_has_yet(bench: Bench) -> None:
    """Its row is there, so it is sold: its shard gets it back, or had it not yet when it was asked."""
    await bench.workers()
    engine, hasty = await _shop(bench), await bench.engine(timing=Timing(patience_ms=300))
    await held(engine, "o")
    await until(lambda: _in_ledger(bench))
    item = await bench.stack.ledger.item("sku")
    assert item is not None
    keys, field = bench.stack.keys.partition(PartitionRef(item.id, 0)), order_field("o", "b")
    client: Any = bench.stack.shards.client
    record = await client.hget(keys.orders, field)
    await client.hdel(keys.orders, field)
    with pytest.raises(BackendUnavailable):
        await confirm("pay")(hasty, "o")
    waiting = asyncio.create_task(confirm("pay")(engine, "o"))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await client.hset(keys.orders, field, record)
    assert (await waiting).outcome is Outcome.CONFIRMED


async def _in_ledger(bench: Bench) -> bool:
    item = await bench.stack.ledger.item("sku")
    return item is not None and await bench.stack.ledger.order(item.id, "o", "b") is not None


async def test_a_carts_line_is_the_carts(bench: Bench) -> None:
    engine = await _shop(bench)
    await engine._hold("sku", 1, "line", "b", MINUTE, "", cart=True)
    await held(engine, "plain")
    for take in (confirm("pay"), release, extend):
        with pytest.raises(IdempotencyConflict, match="line of a cart"):
            await take(engine, "line")
    with pytest.raises(IdempotencyConflict, match="no line of a cart"):
        await engine._step("sku", StepVerb.RELEASE, "plain", "b", cart=True)
    with pytest.raises(IdempotencyConflict):
        await engine.reserve("sku", 1, order_id="line", buyer_id="b")
    done = await engine._step("sku", StepVerb.CONFIRM, "line", "b", payment_ref="pay", cart=True)
    assert (done.outcome, done.payment_ref) == (Outcome.CONFIRMED, "pay")


async def test_what_a_cart_sold_is_refunded_line_by_line(bench: Bench) -> None:
    engine = await _shop(bench)
    await engine._hold("sku", 3, "line", "b", MINUTE, "", cart=True)
    assert (await engine.refund("sku", order_id="line", buyer_id="b")).outcome is Outcome.HELD
    await engine._step("sku", StepVerb.CONFIRM, "line", "b", payment_ref="pay", cart=True)
    for replayed in (False, True):
        part = await engine.refund("sku", order_id="line", buyer_id="b", quantity=1)
        assert (part.outcome, part.state, part.refunded, part.replayed) == (
            Outcome.REFUNDED, OrderState.CONFIRMED, 1, replayed,
        )  # fmt: skip
    whole = await engine.refund("sku", order_id="line", buyer_id="b")
    assert (whole.state, whole.refunded) == (OrderState.REFUNDED, 3)


# --- lists and histories ---


async def test_orders_are_listed_page_by_page(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 1000, partitions=3)
    for number in range(25):
        await engine.reserve("sku", 1, order_id=f"o-{number}", metadata=f"m-{number}")
    for number in range(10):
        await engine.confirm("sku", order_id=f"o-{number}", payment_ref=f"pay-{number}")
    await bench.settled("sku", 10)
    listed: list[Deduction] = []
    while page := await engine.orders("sku", after=listed[-1] if listed else None, limit=7):
        listed += page
    assert sorted(order.order_id for order in listed) == sorted(f"o-{number}" for number in range(25))
    sold = await engine.orders("sku", state="confirmed")
    assert {order.order_id for order in sold} == {f"o-{number}" for number in range(10)}
    assert {order.payment_ref for order in sold} == {f"pay-{number}" for number in range(10)}
    assert all(order.outcome is Outcome.HELD and order.state is OrderState.CONFIRMED for order in sold)
    assert len(await engine.orders("sku", state=OrderState.HELD, older_than=timedelta(0))) == 15
    assert await engine.orders("sku", older_than=timedelta(hours=1)) == []
    one = listed[0]
    assert one.expires_at is not None
    assert len(await engine.orders("sku", older_than=one.expires_at)) == 25
    for order in listed:
        assert order.partition == (await engine.order("sku", order.order_id)).partition
    bad: list[dict[str, Any]] = [
        {"state": "sold"},
        {"limit": 0},
        {"limit": 1001},
        {"limit": True},
        {"older_than": timedelta(-1)},
        {"older_than": one.expires_at.replace(tzinfo=None)},
        {"older_than": 5},
        {"after": "o-1"},
    ]
    for arguments in bad:
        with pytest.raises(InvalidRequest, match=f"^{next(iter(arguments))} must be"):
            await engine.orders("sku", **arguments)


async def test_an_orders_history_has_every_step(bench: Bench) -> None:
    await bench.workers()
    engine = await _shop(bench)
    await held(engine, "o")
    await extend(engine, "o")
    paid = await begin_payment(engine, "o")
    await confirm("pay-1")(engine, "o")
    await refund(1)(engine, "o")
    await refund(None)(engine, "o")
    await bench.settled("sku", 0)

    async def complete() -> bool:
        return len(await engine.order_history("sku", "o", "b")) == 6

    await until(complete)
    events = await engine.order_history("sku", "o", "b")
    assert [(event.kind.value, event.quantity) for event in events] == [
        ("held", 3),
        ("extended", 3),
        ("payment_begun", 3),
        ("confirmed", 3),
        ("refunded", 1),
        ("refunded", 2),
    ]
    assert [event.seq for event in events] == list(range(1, 7))
    assert events[0].expires_at == events[2].expires_at == paid.expires_at  # the last that it had
    assert events[3].payment_ref == "pay-1"
    assert all(event.at.tzinfo is not None for event in events)
    assert await engine.order_history("sku", "never") == []
