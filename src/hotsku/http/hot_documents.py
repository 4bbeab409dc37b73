"""What the documents say of the hot routes: the framework does not know them."""

from collections.abc import Mapping
from typing import Any

from hotsku.http.batches import BatchAnswers, DeductBatch
from hotsku.http.bodies import BATCH, BEGIN_PAYMENT, CART, CONFIRM, DEDUCTION, EXTEND, REFUND, RELEASE, RESERVATION
from hotsku.http.carts import CartAnswer, CartProblem, OpenCart
from hotsku.http.openapi_parts import (
    BUYER_ID,
    IDEMPOTENCY_KEY,
    NO_ITEM,
    ORDER_ID,
    PENDING,
    SKU,
    Document,
    answer,
    operation,
    refusal,
)
from hotsku.http.order_answers import OrderAnswer
from hotsku.http.placing import Deduct, Reserve
from hotsku.http.showing import ShowOrder
from hotsku.http.strict_json import Body

_NO = refusal("No: see `outcome`.")
_OTHER = refusal("The order was sent before with other content; that stands.")
_NO_ORDER = refusal("There is no such order or item. An order that has a buyer is found by both.")


def _places(name: str, summary: str, body: Body[Any], description: str) -> Document:
    responses = {
        "200": answer("The same order again.", OrderAnswer),
        "201": answer("It is new.", OrderAnswer),
        "202": PENDING,
        "404": NO_ITEM,
        "409": _NO,
        "422": _OTHER,
    }
    return operation(name, summary, [SKU, IDEMPOTENCY_KEY], responses, body=body, description=description)


def _steps(name: str, summary: str, body: Body[Any], no: str) -> Mapping[str, Document]:
    responses = {
        "200": answer("Done, now or before.", OrderAnswer),
        "202": PENDING,
        "404": _NO_ORDER,
        "409": refusal(no),
        "422": refusal("The order is a cart's line: confirm or release the cart."),
    }
    path = f"/v1/items/{{sku}}/orders/{{order_id}}/{name}"
    return {path: operation(name.replace("-", "_"), summary, [SKU, ORDER_ID], responses, body=body)}


def _no_cart(description: str) -> Document:
    return answer(description, CartProblem, "application/problem+json")


def _cart_steps(word: str, summary: str, body: Body[Any]) -> Mapping[str, Document]:
    responses = {
        "200": answer("Done, now or before.", CartAnswer),
        "202": PENDING,
        "404": _no_cart("There is no such cart. One that has a buyer is found by both."),
        "409": _no_cart("No: see `outcome` and `refund_payment_ref`."),
        "422": _OTHER,
    }
    return {f"/v1/carts/{{order_id}}/{word}": operation(f"{word}_cart", summary, [ORDER_ID], responses, body=body)}


HOT: Mapping[str, Document] = {
    Deduct.path: _places(
        "deduct",
        "Sell to an order",
        DEDUCTION,
        "Sells once, however often the order is sent: the same order hears its first answer.",
    ),
    Reserve.path: _places(
        "reserve",
        "Hold units for an order",
        RESERVATION,
        "Holds once, however often the order is sent, until it is confirmed, released, or `expires_at` has come.",
    ),
    DeductBatch.path: operation(
        "deduct_batch",
        "Sell to many orders",
        [SKU],
        {"200": answer("An outcome each, and how many of each.", BatchAnswers), "202": PENDING, "404": NO_ITEM},
        body=BATCH,
        description="Decides each order for itself. The answers are in the order of the orders.",
    ),
    ShowOrder.path: operation(
        "order",
        "What became of an order",
        [SKU, ORDER_ID, BUYER_ID],
        {"200": answer("The order was accepted.", OrderAnswer), "404": _NO_ORDER},
    ),
    **_steps("begin-payment", "Keep a hold while it is being paid", BEGIN_PAYMENT, "It is no hold any more."),
    **_steps(
        "confirm",
        "Confirm a hold",
        CONFIRM,
        "It is no hold any more, or another payment has confirmed it: `refund_payment_ref` is to be given back.",
    ),
    **_steps("release", "Give a hold up", RELEASE, "It is no hold any more."),
    **_steps("extend", "Let a hold last longer", EXTEND, "It is no hold any more."),
    **_steps("refund", "Give units of a confirmed order back", REFUND, "It is not confirmed."),
    OpenCart.path: operation(
        "open_cart",
        "Hold several items, or none",
        [],
        {
            "200": answer("The same cart again.", CartAnswer),
            "201": answer("All lines are held.", CartAnswer),
            "202": PENDING,
            "404": NO_ITEM,
            "409": _no_cart("No: see `outcome`, and `sku` for the line that could not be held. Nothing is held."),
            "422": _OTHER,
        },
        body=CART,
    ),
    **_cart_steps("confirm", "Confirm a cart", CONFIRM),
    **_cart_steps("release", "Give a cart up", RELEASE),
}
