"""Carts: one decision, whoever asks how often, and when."""

import asyncio

import pytest
from msgspec.structs import replace
from tests.support.databases import Database
from tests.support.ledger import NOW, cart_row

from hotsku.domain.cart import CartLine
from hotsku.errors import InvalidRequest
from hotsku.ledger import SqlLedger
from hotsku.ports import CartRow

pytestmark = pytest.mark.anyio

SOON = NOW + 1_000


def cart(order_id: str = "c-1", **more: str | int | bool) -> CartRow:
    row = cart_row(order_id, "ann", CartLine("lace", 2), CartLine("sneaker", 1))
    row = replace(row, expires_at_ms=SOON, metadata="läuft {x}:'\"\\")
    return replace(row, **more)


async def test_a_cart_is_read_as_it_was_made(ledger: SqlLedger) -> None:
    assert await ledger.open_cart(cart()) == cart()
    assert await ledger.cart("c-1", "ann") == cart()
    for order_id, buyer_id in (("c-2", "ann"), ("c-1", "bob"), ("C-1", "ann"), ("c-1", "")):
        assert await ledger.cart(order_id, buyer_id) is None


async def test_the_first_of_two_carts_under_one_order_stands(ledger: SqlLedger) -> None:
    await ledger.open_cart(cart())
    assert await ledger.open_cart(cart(lines=[], metadata="other", expires_at_ms=9)) == cart()  # type: ignore[arg-type]
    assert await ledger.open_cart(replace(cart(), buyer_id="bob")) == replace(cart(), buyer_id="bob")


async def test_a_cart_that_is_held_and_paid(ledger: SqlLedger) -> None:
    await ledger.open_cart(cart())
    held = cart(held=True, expires_at_ms=SOON - 9)
    assert await ledger.hold_cart("c-1", "ann", SOON - 9) == held
    paid = cart(held=True, expires_at_ms=SOON - 9, state="confirmed", payment_ref="pay-9")
    assert await ledger.decide_cart("c-1", "ann", "confirmed", payment_ref="pay-9") == paid
    await ledger.finish_cart("c-1", "ann", payment_ref="pay-9")
    assert await ledger.cart("c-1", "ann") == replace(paid, finished=True)


async def test_the_first_decision_stands(ledger: SqlLedger) -> None:
    for order_id, first, second in (("a", "confirmed", "released"), ("b", "released", "confirmed")):
        await ledger.open_cart(cart(order_id))
        await ledger.hold_cart(order_id, "ann", SOON)
        decided = await ledger.decide_cart(order_id, "ann", first, payment_ref="one")
        assert (decided.state, decided.payment_ref) == (first, "one")
        assert await ledger.decide_cart(order_id, "ann", second, payment_ref="two") == decided
        assert await ledger.hold_cart(order_id, "ann", SOON + 5) == decided


async def test_a_cart_that_is_not_held_is_not_confirmed(ledger: SqlLedger) -> None:
    await ledger.open_cart(cart())
    assert await ledger.decide_cart("c-1", "ann", "confirmed", payment_ref="pay") == cart()
    released = await ledger.decide_cart("c-1", "ann", "released", refusal="sold_out lace")
    assert (released.state, released.held, released.refusal) == ("released", False, "sold_out lace")


async def test_a_refusal_does_not_end_what_another_call_has_held(ledger: SqlLedger) -> None:
    await ledger.open_cart(cart())
    held = await ledger.hold_cart("c-1", "ann", SOON)
    assert await ledger.decide_cart("c-1", "ann", "released", refusal="sold_out lace") == held
    assert (await ledger.decide_cart("c-1", "ann", "released")).state == "released"


async def test_a_payment_that_is_named_later_is_kept_once(ledger: SqlLedger) -> None:
    await ledger.open_cart(cart())
    await ledger.hold_cart("c-1", "ann", SOON)
    await ledger.decide_cart("c-1", "ann", "confirmed")
    await ledger.finish_cart("c-1", "ann")
    named = await ledger.decide_cart("c-1", "ann", "confirmed", payment_ref="one")
    assert (named.payment_ref, named.finished) == ("one", False)
    for state, payment_ref in (("confirmed", "two"), ("confirmed", ""), ("released", "three")):
        assert await ledger.decide_cart("c-1", "ann", state, payment_ref=payment_ref) == named


async def test_who_has_led_a_cart_without_its_payment_has_not_finished_it(ledger: SqlLedger) -> None:
    """The payment was named meanwhile, and whoever named it is gone: the reaper must find the cart."""
    await ledger.open_cart(cart())
    await ledger.hold_cart("c-1", "ann", SOON)
    await ledger.decide_cart("c-1", "ann", "confirmed")
    named = await ledger.decide_cart("c-1", "ann", "confirmed", payment_ref="one")
    await ledger.finish_cart("c-1", "ann")
    assert await ledger.due_carts(NOW, 9) == [named]
    await ledger.finish_cart("c-1", "ann", payment_ref="one")
    assert await ledger.due_carts(NOW, 9) == []


async def test_an_undecided_cart_is_not_finished(ledger: SqlLedger) -> None:
    await ledger.open_cart(cart())
    await ledger.finish_cart("c-1", "ann")
    assert await ledger.cart("c-1", "ann") == cart()


async def test_of_no_cart_there_is_nothing_to_decide(ledger: SqlLedger) -> None:
    with pytest.raises(InvalidRequest, match="order_id must be that of a cart"):
        await ledger.decide_cart("c-1", "ann", "released")
    with pytest.raises(InvalidRequest, match="order_id must be that of a cart"):
        await ledger.hold_cart("c-1", "ann", SOON)
    await ledger.finish_cart("c-1", "ann")


async def test_due_are_open_carts_past_their_time_and_decided_ones(ledger: SqlLedger) -> None:
    for number, order_id in enumerate(("late", "early", "paid", "done", "gone")):
        await ledger.open_cart(cart(order_id, expires_at_ms=SOON + number))
        await ledger.hold_cart(order_id, "ann", SOON + number)
    for order_id in ("paid", "done"):
        await ledger.decide_cart(order_id, "ann", "confirmed")
    await ledger.decide_cart("gone", "ann", "released")
    await ledger.finish_cart("done", "ann")
    assert [each.order_id for each in await ledger.due_carts(SOON - 1, 9)] == ["paid", "gone"]
    assert [each.order_id for each in await ledger.due_carts(SOON, 9)] == ["late", "paid", "gone"]
    assert [each.order_id for each in await ledger.due_carts(SOON + 1, 2)] == ["late", "early"]


async def test_of_many_that_decide_at_once_one_does(ledger: SqlLedger, database: Database) -> None:
    other = database.open_only()
    opened = await asyncio.gather(
        *(each.open_cart(cart(metadata=f"{i}")) for i in range(8) for each in (ledger, other))
    )
    assert len({each.metadata for each in opened}) == 1
    await ledger.hold_cart("c-1", "ann", SOON)
    decisions = await asyncio.gather(
        *(
            each.decide_cart("c-1", "ann", "confirmed" if i % 2 else "released", payment_ref=f"p-{i}")
            for i in range(8)
            for each in (ledger, other)
        )
    )
    assert len({(each.state, each.payment_ref) for each in decisions}) == 1
    await other.close()
