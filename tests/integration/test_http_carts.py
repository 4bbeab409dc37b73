"""Carts over HTTP: all lines or none, decided once."""

import itertools
import re
from collections.abc import Iterator

import httpx
import pytest
from tests.support.folder_processes import embedded_folder, eventually
from tests.support.gateway import Gateway, running_gateway
from tests.support.problems import no


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
        for sku, total in (("shoe", 50), ("sock", 50), ("hat", 1)):
            assert client.post("/v1/items", json={"sku": sku, "total": total, "partitions": 1}).status_code == 201
        yield client


def cart(http: httpx.Client, order_id: str, *lines: tuple[str, int], **more: object) -> httpx.Response:
    named = [{"sku": sku, "quantity": quantity} for sku, quantity in lines]
    return http.post("/v1/carts", json={"order_id": order_id, "lines": named, **more})


def end(http: httpx.Client, order_id: str, word: str, **body: object) -> httpx.Response:
    return http.post(f"/v1/carts/{order_id}/{word}", json=body)


def line_states(http: httpx.Client, order_id: str, *skus: str, buyer_id: str = "") -> list[str]:
    answers = [http.get(f"/v1/items/{sku}/orders/{order_id}", params={"buyer_id": buyer_id}).json() for sku in skus]
    return [answer.get("state", "none") for answer in answers]


def test_a_cart_is_held_and_confirmed_as_a_whole(http: httpx.Client) -> None:
    lines = ("sock", 1), ("shoe", 1), ("sock", 2)
    first = cart(http, "c-1", *lines, buyer_id="u-1", ttl_s=600, metadata="gift")
    assert first.status_code == 201, first.text
    body = first.json()
    assert (body["outcome"], body["state"], body["replayed"]) == ("held", "held", False)
    assert body["lines"] == [
        {"sku": "shoe", "quantity": 1, "outcome": "held"},
        {"sku": "sock", "quantity": 3, "outcome": "held"},
    ]
    assert body["expires_at"].endswith("Z")
    again = cart(http, "c-1", *lines, buyer_id="u-1", ttl_s=600, metadata="gift")
    assert (again.status_code, again.json()) == (200, body | {"replayed": True})
    assert no(cart(http, "c-1", ("hat", 1), buyer_id="u-1"), 422)["field"] == "lines"
    assert line_states(http, "c-1", "shoe", "sock", buyer_id="u-1") == ["held", "held"]
    alone = http.post("/v1/items/shoe/orders/c-1/confirm", json={"buyer_id": "u-1"})
    assert no(alone, 422)["field"] == "order_id"
    confirmed = end(http, "c-1", "confirm", buyer_id="u-1", payment_ref="pay-1")
    assert (confirmed.status_code, confirmed.json()["outcome"]) == (200, "confirmed")
    assert confirmed.json()["payment_ref"] == "pay-1"
    assert end(http, "c-1", "confirm", buyer_id="u-1", payment_ref="pay-1").json()["replayed"]
    assert line_states(http, "c-1", "shoe", "sock", buyer_id="u-1") == ["confirmed", "confirmed"]
    twice = no(end(http, "c-1", "confirm", buyer_id="u-1", payment_ref="pay-2"), 409)
    assert (twice["payment_ref"], twice["refund_payment_ref"]) == ("pay-1", "pay-2")
    assert no(end(http, "c-1", "release", buyer_id="u-1"), 409)["outcome"] == "confirmed"
    back = http.post("/v1/items/sock/orders/c-1/refund", json={"buyer_id": "u-1", "quantity": 2}).json()
    assert (back["outcome"], back["refunded"], back["state"]) == ("refunded", 2, "confirmed")
    assert http.post("/v1/items/shoe/orders/c-1/refund", json={"buyer_id": "u-1"}).json()["state"] == "refunded"
    assert line_states(http, "c-1", "shoe", "sock", buyer_id="u-1") == ["refunded", "confirmed"]


def test_a_cart_is_counted_as_an_order_is(http: httpx.Client) -> None:
    before = _counted(http)
    assert cart(http, "counted", ("shoe", 1), ("sock", 1)).status_code == 201
    assert cart(http, "counted", ("shoe", 1), ("sock", 1)).status_code == 200
    no(cart(http, "counted", ("hat", 1)), 422)
    no(cart(http, "counted-2", ("hat", 2)), 409)
    no(cart(http, "counted-3", ("none", 1)), 404)
    after = _counted(http)
    more = {label: count - before.get(label, 0) for label, count in after.items() if count > before.get(label, 0)}
    assert more == dict.fromkeys(("held", "replayed", "idempotency_conflict", "insufficient", "unknown_item"), 1)


def _counted(http: httpx.Client) -> dict[str, int]:
    """What became of orders, as the metrics tell it."""
    found = re.findall(r'^hotsku_orders_total{outcome="(.+?)"} (\S+)$', http.get("/metrics").text, re.MULTILINE)
    return {label: int(float(count)) for label, count in found}


def test_one_line_that_cannot_be_had_is_no_cart(http: httpx.Client) -> None:
    refused = no(cart(http, "c-2", ("hat", 2), ("shoe", 1)), 409)
    assert (refused["outcome"], refused["sku"], refused["available"]) == ("insufficient", "hat", 1)
    assert refused["lines"][0] == {"sku": "hat", "quantity": 2, "outcome": "insufficient"}  # type: ignore[index]
    eventually(lambda: "held" not in line_states(http, "c-2", "hat", "shoe"), "nothing of it is held")
    again = no(cart(http, "c-2", ("hat", 2), ("shoe", 1)), 409)
    assert (again["outcome"], again["available"]) == ("insufficient", 1)


def test_a_released_cart_gives_back_what_pays_for_it(http: httpx.Client) -> None:
    assert cart(http, "c-3", ("hat", 1), ("sock", 1)).status_code == 201
    assert end(http, "c-3", "release").json()["outcome"] == "released"
    assert end(http, "c-3", "release").json()["replayed"]
    late = no(end(http, "c-3", "confirm", payment_ref="pay-3"), 409)
    assert (late["outcome"], late["refund_payment_ref"]) == ("released", "pay-3")
    assert line_states(http, "c-3", "hat", "sock") == ["released", "released"]
    # A no is a cart's answer for good: whoever tries again is another cart.
    others = (f"c-4-{number}" for number in itertools.count())
    eventually(lambda: cart(http, next(others), ("hat", 1)).status_code < 300, "another one can have it")


def test_a_cart_whose_line_is_an_order_already_is_refused_for_good(http: httpx.Client) -> None:
    assert http.post("/v1/items/sock/deductions", json={"order_id": "c-7"}).status_code == 201
    for _ in range(2):
        assert no(cart(http, "c-7", ("shoe", 1), ("sock", 1)), 422)["field"] == "order_id"
    late = no(end(http, "c-7", "confirm", payment_ref="pay-7"), 409)
    assert (late["outcome"], late["refund_payment_ref"]) == ("released", "pay-7")
    assert end(http, "c-7", "release").json()["outcome"] == "released"
    assert line_states(http, "c-7", "sock", "shoe") == ["confirmed", "released"]


def test_a_cart_that_is_not_there(http: httpx.Client) -> None:
    assert cart(http, "c-5", ("sock", 1), buyer_id="u-1").status_code == 201
    for word in ("confirm", "release"):
        hint = no(end(http, "c-5", word), 404)
        assert (hint["field"], "buyer_id" in str(hint["detail"])) == ("buyer_id", True)
        assert no(end(http, "c-5", word, buyer_id="u-2"), 404)["field"] == "order_id"
    assert no(cart(http, "c-6", ("none", 1)), 404)["field"] == "sku"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"lines": [{"sku": "sock"}]}, "order_id"),
        ({"order_id": "x", "lines": []}, "lines"),
        ({"order_id": "x", "lines": [{"sku": "a b"}]}, "lines[0].sku"),
        ({"order_id": "x", "lines": [{"sku": "sock", "quantity": 0}]}, "lines[0].quantity"),
        ({"order_id": "x", "lines": [{"sku": "sock", "price": 1}]}, "lines[0].price"),
        ({"order_id": "x", "lines": [{"sku": f"s-{n}"} for n in range(101)]}, "lines"),
        ({"order_id": "x y", "lines": [{"sku": "sock"}]}, "order_id"),
        ({"order_id": "x", "lines": [{"sku": "sock"}], "total": 1}, "total"),
    ],
)
def test_bad_carts_name_the_field(http: httpx.Client, body: dict[str, object], field: str) -> None:
    assert no(http.post("/v1/carts", json=body), 400)["field"] == field
