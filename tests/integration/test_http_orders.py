"""The lives of orders over HTTP: held, paid, confirmed, released, extended, refunded, expired."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.support.folder_processes import embedded_folder, eventually
from tests.support.gateway import Gateway, post, running_gateway
from tests.support.problems import no

_STEPS = ("confirm", "release", "extend", "refund", "begin-payment")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    environment = {"HOTSKU_RELAY_INTERVAL_MS": "20"}
    with embedded_folder(".hotsku") as folder, running_gateway(folder.path.parent, environment=environment) as running:
        yield running
        done = running.stop()
        assert done.status == 0, done


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        for item in (
            {"sku": "sneaker", "total": 1_000, "partitions": 2, "hold_ttl": "PT10M"},
            {"sku": "two", "total": 2, "limit_per_buyer": 2},
            {"sku": "listed", "total": 100, "partitions": 3},
        ):
            assert client.post("/v1/items", json=item).status_code == 201
        yield client


def reserve(http: httpx.Client, order_id: str, sku: str = "sneaker", **more: Any) -> httpx.Response:
    return http.post(f"/v1/items/{sku}/reservations", json={"order_id": order_id, **more})


def step(http: httpx.Client, order_id: str, word: str, sku: str = "sneaker", **body: Any) -> httpx.Response:
    return http.post(f"/v1/items/{sku}/orders/{order_id}/{word}", json=body)


def held(http: httpx.Client, order_id: str, **more: Any) -> None:
    assert reserve(http, order_id, **more).status_code == 201


def state(response: httpx.Response) -> tuple[int, str, str, bool]:
    body = response.json()
    return response.status_code, body["outcome"], body["state"], body["replayed"]


def in_s(time: object) -> float:
    """How far away a time of an answer is."""
    assert str(time).endswith("Z")
    return (datetime.fromisoformat(str(time)) - datetime.now(UTC)) / timedelta(seconds=1)


# --- holds ---


def test_a_hold_and_the_same_again(http: httpx.Client) -> None:
    first = reserve(http, "r-1", buyer_id="u-1", quantity=2, metadata="gate 7 \u00e9", ttl_s=600)
    assert state(first) == (201, "held", "held", False)
    body = first.json()
    assert (body["quantity"], body["metadata"], body["buyer_id"]) == (2, "gate 7 \u00e9", "u-1")
    assert 500 < in_s(body["expires_at"]) <= 601
    again = reserve(http, "r-1", buyer_id="u-1", quantity=2, metadata="gate 7 \u00e9", ttl_s=600)
    assert state(again) == (200, "held", "held", True)
    assert again.json() == body | {"replayed": True}
    assert no(reserve(http, "r-1", buyer_id="u-1", quantity=3), 422)["field"]
    deducted = http.post("/v1/items/sneaker/deductions", json={"order_id": "r-1", "buyer_id": "u-1", "quantity": 2})
    assert no(deducted, 422)["field"] == "order_id"
    shown = http.get("/v1/items/sneaker/orders/r-1", params={"buyer_id": "u-1"})
    assert shown.json() == body


def test_a_hold_lasts_as_the_item_says_where_the_order_does_not(http: httpx.Client) -> None:
    assert 500 < in_s(reserve(http, "r-2").json()["expires_at"]) <= 601
    keyed = http.post("/v1/items/sneaker/reservations", json={}, headers={"Idempotency-Key": "r-3"})
    assert (keyed.status_code, keyed.json()["order_id"]) == (201, "r-3")


def test_what_is_held_is_not_for_others(http: httpx.Client) -> None:
    assert reserve(http, "h-1", "two", buyer_id="u-1", quantity=2).status_code == 201
    refused = no(reserve(http, "h-2", "two", buyer_id="u-2"), 409)
    assert (refused["outcome"], refused["available"]) == ("sold_out", 0)
    assert step(http, "h-1", "release", "two", buyer_id="u-1").status_code == 200
    eventually(lambda: reserve(http, "h-3", "two", buyer_id="u-2").status_code < 300, "the units can be had again")
    assert no(reserve(http, "h-4", "two", buyer_id="u-2", quantity=2), 409)["outcome"] == "limit_exceeded"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"order_id": "o", "ttl_s": 0}, "ttl_s"),
        ({"order_id": "o", "ttl_s": 10**8}, "ttl_s"),
        ({"order_id": "o", "metadata": "\u00e9" * 129}, "metadata"),
        ({"order_id": "o", "metadata": "a\0b"}, "metadata"),
        ({"order_id": "o", "ttl": 1}, "ttl"),
        ({"order_id": "o o"}, "order_id"),
        ({}, "order_id"),
    ],
)
def test_bad_holds_name_the_field(http: httpx.Client, body: dict[str, object], field: str) -> None:
    assert no(http.post("/v1/items/sneaker/reservations", json=body), 400)["field"] == field
    assert no(http.post("/v1/items/sneaker/reservation%73", json=body), 400)["field"] == field


# --- steps ---


def test_a_hold_is_paid_and_confirmed(http: httpx.Client) -> None:
    held(http, "c-1", ttl_s=300)
    paying = step(http, "c-1", "begin-payment")
    assert state(paying) == (200, "held", "held", False)
    assert in_s(paying.json()["expires_at"]) > 500
    assert state(step(http, "c-1", "begin-payment")) == (200, "held", "held", True)
    confirmed = step(http, "c-1", "confirm", payment_ref="pay-1")
    assert state(confirmed) == (200, "confirmed", "confirmed", False)
    assert (confirmed.json()["payment_ref"], bool(confirmed.json()["receipt"])) == ("pay-1", True)
    assert state(step(http, "c-1", "confirm", payment_ref="pay-1")) == (200, "confirmed", "confirmed", True)
    assert state(reserve(http, "c-1")) == (200, "held", "confirmed", True)
    shown = http.get("/v1/items/sneaker/orders/c-1").json()
    assert (shown["state"], shown["payment_ref"], shown["outcome"]) == ("confirmed", "pay-1", "held")


def test_a_second_payment_is_to_be_given_back(http: httpx.Client) -> None:
    held(http, "c-2")
    assert step(http, "c-2", "confirm", payment_ref="pay-1").status_code == 200
    twice = no(step(http, "c-2", "confirm", payment_ref="pay-2"), 409)
    assert (twice["outcome"], twice["state"], twice["payment_ref"]) == ("confirmed", "confirmed", "pay-1")
    assert twice["refund_payment_ref"] == "pay-2"
    assert "refund_payment_ref" in str(twice["detail"])


def test_a_payment_that_comes_too_late_is_to_be_given_back(http: httpx.Client) -> None:
    held(http, "c-3")
    assert step(http, "c-3", "release").status_code == 200
    late = no(step(http, "c-3", "confirm", payment_ref="pay-3"), 409)
    assert (late["outcome"], late["state"], late["refund_payment_ref"]) == ("released", "released", "pay-3")
    held(http, "c-4", ttl_s=1)
    eventually(lambda: http.get("/v1/items/sneaker/orders/c-4").json()["state"] == "expired", "its time is over")
    late = no(step(http, "c-4", "confirm", payment_ref="pay-4"), 409)
    assert (late["outcome"], late["state"], late["refund_payment_ref"]) == ("expired", "expired", "pay-4")
    assert "refund_payment_ref" not in no(step(http, "c-4", "confirm"), 409)


def test_a_hold_lasts_longer_and_never_shorter(http: httpx.Client) -> None:
    held(http, "e-1", ttl_s=300)
    assert in_s(step(http, "e-1", "extend", ttl_s=3_600).json()["expires_at"]) > 3_500
    assert in_s(step(http, "e-1", "extend", ttl_s=1).json()["expires_at"]) > 3_500
    assert no(step(http, "e-1", "extend"), 400)["field"] == "ttl_s"
    assert step(http, "e-1", "confirm").status_code == 200
    assert no(step(http, "e-1", "extend", ttl_s=300), 409)["outcome"] == "confirmed"
    assert no(step(http, "e-1", "release"), 409)["state"] == "confirmed"


def test_refunds_add_up_to_what_they_name(http: httpx.Client) -> None:
    body = {"order_id": "f-1", "quantity": 3}
    assert http.post("/v1/items/sneaker/deductions", json=body).status_code == 201
    one = step(http, "f-1", "refund", quantity=1)
    assert (state(one), one.json()["refunded"]) == ((200, "refunded", "confirmed", False), 1)
    assert state(step(http, "f-1", "refund", quantity=1)) == (200, "refunded", "confirmed", True)
    assert no(step(http, "f-1", "refund", quantity=4), 400)["field"] == "quantity"
    everything = step(http, "f-1", "refund")
    assert (state(everything), everything.json()["refunded"]) == ((200, "refunded", "refunded", False), 3)
    assert state(http.post("/v1/items/sneaker/deductions", json=body)) == (200, "accepted", "refunded", True)
    held(http, "f-2")
    assert no(step(http, "f-2", "refund"), 409)["outcome"] == "held"


@pytest.mark.parametrize("word", _STEPS)
def test_a_step_of_an_order_that_is_not_there(http: httpx.Client, word: str) -> None:
    held(http, f"n-{word}", buyer_id="u-1")
    body: dict[str, Any] = {"ttl_s": 60} if word == "extend" else {}
    hint = no(step(http, f"n-{word}", word, **body), 404)
    assert (hint["field"], "buyer_id" in str(hint["detail"])) == ("buyer_id", True)
    assert (hint["outcome"], hint["order_id"]) == ("not_found", f"n-{word}")
    missing = no(step(http, f"n-{word}", word, buyer_id="u-2", **body), 404)
    assert (missing["field"], missing["outcome"]) == ("order_id", "not_found")
    assert no(step(http, f"n-{word}", word, "none", **body), 404)["field"] == "sku"
    assert no(step(http, "a%20b", word, **body), 400)["field"] == "order_id"
    assert no(step(http, f"n-{word}", word, price=1, **body), 400)["field"] == "price"
    assert no(http.get(f"/v1/items/sneaker/orders/o/{word}"), 405)


def test_bad_payments_name_the_field(http: httpx.Client) -> None:
    held(http, "p-1")
    for payment_ref in ("", "a b", "p" * 129, 7):
        assert no(step(http, "p-1", "confirm", payment_ref=payment_ref), 400)["field"] == "payment_ref"
    assert http.get("/v1/items/sneaker/orders/p-1").json()["state"] == "held"


def test_both_lanes_say_the_same_of_steps(gateway: Gateway, http: httpx.Client) -> None:
    """An encoded path is unusual: such a request is a task of its own."""
    with gateway.connect() as raw:

        def both(path: str, body: str) -> None:
            raw.send(post(path, body))
            fast = raw.answer()
            head, _, word = path.rpartition("/")
            raw.send(post(f"{head}/%{ord(word[0]):x}{word[1:]}", body))
            slow = raw.answer()
            assert slow.body == fast.body.replace(b'"replayed":false', b'"replayed":true')
            assert set(slow.headers) == set(fast.headers)

        both("/v1/items/sneaker/reservations", '{"order_id":"lanes","ttl_s":600}')
        for word, body in (
            ("begin-payment", '{"ttl_s":700}'),
            ("confirm", '{"payment_ref":"p-1"}'),
            ("confirm", '{"payment_ref":"p-2"}'),
            ("release", ""),
            ("extend", '{"ttl_s":1}'),
            ("extend", "{}"),
            ("refund", "{}"),
        ):
            both(f"/v1/items/sneaker/orders/lanes/{word}", body)
            both(f"/v1/items/sneaker/orders/nobody/{word}", body)


# --- what the ledger tells ---


def test_orders_are_listed_page_by_page(http: httpx.Client) -> None:
    path = "/v1/items/listed/orders"
    for number in range(7):
        held(http, f"l-{number}", sku="listed", buyer_id="u")
    for number in range(3):
        assert step(http, f"l-{number}", "confirm", "listed", buyer_id="u", payment_ref=f"p-{number}").is_success
    confirmed = {"state": "confirmed"}
    eventually(lambda: len(http.get(path, params=confirmed).json()["orders"]) == 3, "the ledger has them")
    first = http.get(path, params={"limit": 4}).json()
    second = http.get(path, params={"limit": 4, "after": first["next"]}).json()
    assert (len(first["orders"]), len(second["orders"]), second["next"]) == (4, 3, None)
    listed = [*first["orders"], *second["orders"]]
    assert {order["order_id"] for order in listed} == {f"l-{number}" for number in range(7)}
    for order in listed:
        shown = http.get(f"/v1/items/listed/orders/{order['order_id']}", params={"buyer_id": "u"}).json()
        assert order == shown
    assert http.get(path, params={"state": "released"}).json() == {"orders": [], "next": None}
    assert http.get(path, params={"older_than_s": 3_600}).json()["orders"] == []
    assert len(http.get(path, params={"older_than_s": 0}).json()["orders"]) == 7
    for query, field in (
        ("state=sold", "state"),
        ("older_than_s=-1", "older_than_s"),
        ("after=x", "after"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("buyer_id=u", "buyer_id"),
    ):
        assert no(http.get(f"{path}?{query}"), 400)["field"] == field
    assert no(http.get("/v1/items/none/orders"), 404)["field"] == "sku"


def test_the_history_of_an_order(http: httpx.Client) -> None:
    held(http, "y-1", buyer_id="u-1", quantity=2, ttl_s=300)
    steps: tuple[tuple[str, dict[str, Any]], ...] = (
        ("begin-payment", {}),
        ("extend", {"ttl_s": 5_000}),
        ("confirm", {"payment_ref": "pay-7"}),
        ("refund", {"quantity": 1}),
        ("refund", {}),
    )
    for word, body in steps:
        assert step(http, "y-1", word, buyer_id="u-1", **body).status_code == 200
    path = "/v1/items/sneaker/orders/y-1/history"
    eventually(lambda: len(http.get(path, params={"buyer_id": "u-1"}).json().get("events", [])) == 6, "it is written")
    story = http.get(path, params={"buyer_id": "u-1"}).json()
    kinds = ["held", "payment_begun", "extended", "confirmed", "refunded", "refunded"]
    assert [event["kind"] for event in story["events"]] == kinds
    assert [event["quantity"] for event in story["events"]] == [2, 2, 2, 2, 1, 1]
    assert story["events"][3]["payment_ref"] == "pay-7"
    assert no(http.get(path), 404)["field"] == "buyer_id"
    assert no(http.get(path, params={"buyer_id": "u-2"}), 404)["field"] == "order_id"
    assert no(http.get(path, params={"buyer_id": "u 2"}), 400)["field"] == "buyer_id"
