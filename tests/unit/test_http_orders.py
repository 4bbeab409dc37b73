"""What of an order's life becomes an answer, and where a request goes."""

import json

import pytest

from hotsku.domain.deduction import Deduction, OrderState, Outcome, Proof
from hotsku.errors import InvalidRequest
from hotsku.http.answers import PROBLEM, Answer
from hotsku.http.head import Way, fast_way
from hotsku.http.order_answers import decided, shown, stepped
from hotsku.http.orders_after import order_at, place_of


def made(outcome: Outcome, state: OrderState | None = None, **more: object) -> Deduction:
    named = {"sku": "a", "order_id": "o", "buyer_id": "u", "quantity": 2, "partition": 0, **more}
    return Deduction(outcome=outcome, state=state, **named)  # type: ignore[arg-type]


def body(answer: Answer) -> dict[str, object]:
    value = json.loads(answer.body)
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_of_an_order_has_an_answer(outcome: Outcome) -> None:
    answer = decided(made(outcome))
    good = outcome in (Outcome.ACCEPTED, Outcome.HELD)
    assert (answer.status, answer.media == PROBLEM) == ((201, False) if good else (409, True))
    assert (answer.label, body(answer)["outcome"]) == (outcome, outcome)


@pytest.mark.parametrize("state", list(OrderState))
@pytest.mark.parametrize("wanted", [Outcome.HELD, Outcome.CONFIRMED, Outcome.RELEASED, Outcome.REFUNDED])
def test_a_step_is_done_or_the_state_says_why_not(wanted: Outcome, state: OrderState) -> None:
    answer = stepped(made(Outcome(state), state), wanted)
    assert answer.status == (200 if state.value == wanted.value else 409)
    assert body(answer)["state"] == state


def test_a_payment_to_be_given_back_is_a_no_also_where_the_order_is_confirmed() -> None:
    twice = made(Outcome.CONFIRMED, OrderState.CONFIRMED, payment_ref="p-1", refund_payment_ref="p-2")
    answer = stepped(twice, Outcome.CONFIRMED)
    told = body(answer)
    assert (answer.status, told["payment_ref"], told["refund_payment_ref"]) == (409, "p-1", "p-2")


def test_what_is_not_there_hints_at_the_buyer_only_where_none_was_named() -> None:
    for answer in (
        stepped(made(Outcome.NOT_FOUND, buyer_id=""), Outcome.HELD),
        shown(made(Outcome.NOT_FOUND, buyer_id="")),
    ):
        assert (answer.status, body(answer)["field"]) == (404, "buyer_id")
    named = stepped(made(Outcome.NOT_FOUND), Outcome.HELD)
    assert (named.status, body(named)["outcome"], body(named)["field"]) == (404, "not_found", "order_id")


def test_a_place_leads_back_to_where_it_was() -> None:
    order = made(Outcome.ACCEPTED, OrderState.CONFIRMED, partition=7, seq=12_345, proof=Proof(3, 0, None))
    found = order_at("a", place_of(order))
    assert found is not None
    assert (found.partition, found.incarnation, found.seq) == (7, 3, 12_345)
    assert order_at("a", None) is None
    for bad in ("", "1", "1.2", "1.2.3.4", "-1.2.3", "1.2.3 ", "x.y.z", "1.2.9999999999999999", "٣.1.1"):
        with pytest.raises(InvalidRequest, match=r"^after must be"):
            order_at("a", bad)


@pytest.mark.parametrize(
    ("path", "way"),
    [
        (b"/v1/items/a/deductions", Way(b"deductions", ("a",))),
        (b"/v1/items/a/reservations", Way(b"reservations", ("a",))),
        (b"/v1/items/a/orders/o-1/confirm", Way(b"confirm", ("a", "o-1"))),
        (b"/v1/items/a/orders/o-1/begin-payment", Way(b"begin-payment", ("a", "o-1"))),
        (b"/v1/items/a/orders/o-1", None),
        (b"/v1/items/a/orders/o-1/history", None),
        (b"/v1/items/a/orders/o%2D1/confirm", None),
        (b"/v1/items/a/deductions?x=1", None),
        (b"/v1/items/a/deductions:batch", None),
        (b"/v1/items//deductions", None),
        (b"/v1/items/" + b"a" * 65 + b"/deductions", None),
    ],
)
def test_which_paths_are_fast(path: bytes, way: Way | None) -> None:
    assert fast_way(path) == way
