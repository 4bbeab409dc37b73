"""Both clients lead orders and carts through their lives over a real gateway, also where replies are lost."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.folder_processes import embedded_folder
from tests.support.gateway import Gateway, running_gateway
from tests.support.http_proxy import HttpProxy, running_http_proxy
from tests.support.twins import TWINS, Twin, twin
from tests.support.workers import until

import hotsku.receipts
from hotsku import Deduction, EventKind, IdempotencyConflict, InvalidRequest, OrderState, Outcome, UnknownItem
from hotsku.domain.cart import CartLine

pytestmark = pytest.mark.anyio

_KEYS = "k1:a-secret-of-the-test"
_MINUTE = timedelta(minutes=1)
_items = iter(range(1_000_000))


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    settings = {"HOTSKU_RECEIPT_KEYS": _KEYS, "HOTSKU_RELAY_INTERVAL_MS": "20"}
    with embedded_folder(".hotsku") as folder, running_gateway(folder.path.parent, environment=settings) as running:
        yield running
        assert running.stop().status == 0


@pytest.fixture
async def proxy(gateway: Gateway) -> AsyncIterator[HttpProxy]:
    async with running_http_proxy(gateway.port) as running:
        yield running


@pytest.fixture(params=TWINS)
async def stock(request: pytest.FixtureRequest, proxy: HttpProxy) -> AsyncIterator[Twin]:
    """Each client in turn."""
    async with twin(request.param, proxy.url, budget_s=150, attempt_s=60, settle_s=1) as client:
        yield client


@pytest.fixture
async def sku(stock: Twin) -> str:
    """An item of 10 units of the test's own."""
    name = f"sku-{next(_items)}"
    await stock("create_item", name, 10, partitions=1)
    return name


async def test_hold_pay_confirm_refund(stock: Twin, sku: str) -> None:
    before = datetime.now(UTC)
    held = await stock("reserve", sku, 3, order_id="o-1", buyer_id="u-1", ttl=1.5 * _MINUTE, metadata="gift")
    assert (held.outcome, held.state, held.metadata, held.replayed) == (Outcome.HELD, OrderState.HELD, "gift", False)
    second = timedelta(seconds=1)
    assert before + 1.5 * _MINUTE - second < held.expires_at < datetime.now(UTC) + 1.5 * _MINUTE + second
    who = {"order_id": "o-1", "buyer_id": "u-1"}
    again = await stock("reserve", sku, 3, **who, ttl=1.5 * _MINUTE, metadata="gift")
    assert (again.outcome, again.replayed, again.receipt) == (Outcome.HELD, True, held.receipt)
    assert (await stock("extend", sku, **who, ttl=5 * _MINUTE)).expires_at > held.expires_at + _MINUTE
    assert (await stock("begin_payment", sku, **who, ttl=30 * _MINUTE)).outcome is Outcome.HELD
    confirmed = await stock("confirm", sku, **who, payment_ref="pay-1")
    assert (confirmed.outcome, confirmed.payment_ref, confirmed.quantity) == (Outcome.CONFIRMED, "pay-1", 3)
    part = await stock("refund", sku, **who, quantity=1)
    assert (part.outcome, part.state, part.refunded) == (Outcome.REFUNDED, OrderState.CONFIRMED, 1)
    whole = await stock("refund", sku, **who)
    assert (whole.outcome, whole.state, whole.refunded) == (Outcome.REFUNDED, OrderState.REFUNDED, 3)
    shown = await stock("order", sku, "o-1", "u-1")
    assert (shown.outcome, shown.state, shown.refunded) == (Outcome.HELD, OrderState.REFUNDED, 3)


async def test_steps_that_cannot_be_done_are_values(stock: Twin, sku: str) -> None:
    assert (await stock("confirm", sku, order_id="nobody")).outcome is Outcome.NOT_FOUND
    assert (await stock("confirm", sku, order_id="nobody", buyer_id="u-1")).outcome is Outcome.NOT_FOUND
    await stock("reserve", sku, 1, order_id="o-1")
    assert (await stock("refund", sku, order_id="o-1")).outcome is Outcome.HELD
    await stock("release", sku, order_id="o-1")
    late = await stock("confirm", sku, order_id="o-1", payment_ref="pay-1")
    assert (late.outcome, late.state, late.refund_payment_ref) == (Outcome.RELEASED, OrderState.RELEASED, "pay-1")
    await stock("reserve", sku, 1, order_id="o-2")
    await stock("confirm", sku, order_id="o-2", payment_ref="pay-2")
    twice = await stock("confirm", sku, order_id="o-2", payment_ref="pay-3")
    assert (twice.outcome, twice.payment_ref, twice.refund_payment_ref) == (Outcome.CONFIRMED, "pay-2", "pay-3")
    with pytest.raises(InvalidRequest, match="quantity"):
        await stock("refund", sku, order_id="o-2", quantity=2)
    with pytest.raises(IdempotencyConflict):
        await stock("deduct", sku, 1, order_id="o-2")


async def test_the_receipt_is_the_engines(stock: Twin, sku: str) -> None:
    deduction = await stock("deduct", sku, 2, order_id="o-1", buyer_id="u-1", metadata="gift")
    receipt = hotsku.receipts.verify(deduction.receipt, hotsku.receipts.read_keys(_KEYS))
    assert (receipt.sku, receipt.order_id, receipt.quantity, receipt.metadata) == (sku, "o-1", 2, "gift")
    assert (await stock("deduct", sku, 2, order_id="o-1", buyer_id="u-1", metadata="gift")).receipt == deduction.receipt


async def test_what_the_ledger_tells(stock: Twin, sku: str) -> None:
    for n in range(5):
        await stock("reserve", sku, 1, order_id=f"o-{n}", buyer_id="u-1")
    await stock("confirm", sku, order_id="o-0", buyer_id="u-1", payment_ref="pay-0")

    async def applied() -> bool:
        return [e.kind for e in await stock("order_history", sku, "o-0", "u-1")] == [
            EventKind.HELD,
            EventKind.CONFIRMED,
        ] and len(await stock("orders", sku)) == 5

    await until(applied)
    held: list[Deduction] = []
    while page := await stock("orders", sku, state="held", limit=3, after=held[-1] if held else None):
        held += page
        if len(page) < 3:
            break
    assert [order.order_id for order in held] == ["o-1", "o-2", "o-3", "o-4"]
    assert {(order.outcome, order.state) for order in held} == {(Outcome.HELD, OrderState.HELD)}
    assert await stock("orders", sku, older_than=timedelta(hours=1)) == []
    assert await stock("orders", sku, older_than=datetime.now(UTC) - timedelta(hours=1)) == []
    assert await stock("order_history", sku, "nobody") == []
    for wrong in ({"state": "sold"}, {"older_than": -_MINUTE}, {"after": held[0]}, {"limit": 0}):
        with pytest.raises(InvalidRequest) as refused:
            await stock("orders", sku, **wrong)
        assert refused.value.field == next(iter(wrong))


async def test_a_cart_is_all_or_nothing(stock: Twin, sku: str) -> None:
    other = f"{sku}-other"
    await stock("create_item", other, 3, partitions=1)
    lines = [CartLine(other, 2), {"sku": sku, "quantity": 1}]
    cart = await stock("reserve_cart", lines, f"{sku}-1", "u-1")
    assert (cart.outcome, cart.state, cart.replayed) == (Outcome.HELD, OrderState.HELD, False)
    assert [(line.sku, line.quantity) for line in cart.lines] == [(sku, 1), (other, 2)]
    assert (await stock("reserve_cart", lines, f"{sku}-1", "u-1")).replayed
    refused = await stock("reserve_cart", lines, f"{sku}-2", "u-1")
    assert (refused.outcome, refused.refused, refused.state) == (Outcome.INSUFFICIENT, other, None)
    confirmed = await stock("confirm_cart", f"{sku}-1", "u-1", "pay-1")
    assert (confirmed.outcome, confirmed.payment_ref) == (Outcome.CONFIRMED, "pay-1")
    assert (await stock("release_cart", f"{sku}-1", "u-1")).outcome is Outcome.CONFIRMED
    gone = await stock("confirm_cart", "nobody", "u-1", "pay-2")
    assert (gone.outcome, gone.refund_payment_ref) == (Outcome.NOT_FOUND, None)
    with pytest.raises(IdempotencyConflict):
        await stock("confirm", sku, order_id=f"{sku}-1", buyer_id="u-1")
    with pytest.raises(IdempotencyConflict):
        await stock("reserve_cart", [CartLine(sku, 5)], f"{sku}-1", "u-1")
    with pytest.raises(UnknownItem, match="no-such-item"):
        await stock("reserve_cart", [CartLine("no-such-item", 5)], f"{sku}-3", "u-1")
    with pytest.raises(InvalidRequest, match="lines"):
        await stock("reserve_cart", [], f"{sku}-3", "u-1")


async def test_steps_are_sent_again(stock: Twin, sku: str, proxy: HttpProxy) -> None:
    """Each step twice over: the second attempt finds what the lost one did."""
    who = {"order_id": "o-1", "buyer_id": "u-1"}
    for method, more in (
        ("reserve", {"quantity": 2}),
        ("begin_payment", {}),
        ("extend", {"ttl": _MINUTE}),
        ("confirm", {"payment_ref": "pay-1"}),
        ("refund", {"quantity": 1}),
        ("refund", {}),
    ):
        proxy.faults.append("lose reply")
        done = await stock(method, sku, **who, **more)
        assert done.outcome in (Outcome.HELD, Outcome.CONFIRMED, Outcome.REFUNDED), method
    assert (await stock("order", sku, "o-1", "u-1")).refunded == 2
    proxy.faults.append("lose reply")
    assert (await stock("reserve_cart", [CartLine(sku, 2)], f"{sku}-1")).outcome is Outcome.HELD
    proxy.faults.append("lose reply")
    assert (await stock("release_cart", f"{sku}-1")).outcome is Outcome.RELEASED


async def test_an_admin(stock: Twin, sku: str, proxy: HttpProxy) -> None:
    proxy.faults.append("lose reply")
    assert (await stock("restock", sku, 5, "delivery-1")).total == 15
    assert (await stock("restock", sku, 5, "delivery-1")).total == 15
    with pytest.raises(IdempotencyConflict):
        await stock("restock", sku, 6, "delivery-1")
    assert (await stock("pause", sku)).unreachable == []
    assert (await stock("deduct", sku, 1, order_id="o-1")).outcome is Outcome.PAUSED
    assert (await stock("resume", sku)).state == "open"
    assert (await stock("deduct", sku, 1, order_id="o-1")).outcome is Outcome.ACCEPTED
    assert (await stock("close_item", sku)).state == "closed"
    assert (await stock("deduct", sku, 1, order_id="o-2")).outcome is Outcome.CLOSED
    with pytest.raises(InvalidRequest):
        await stock("resume", sku)
