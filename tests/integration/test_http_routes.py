"""What each route answers, over HTTP, from a real server on an embedded folder."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from tests.support.folder_processes import Folder, embedded_folder, eventually
from tests.support.gateway import Gateway, order, post, running_gateway
from tests.support.problems import no


@pytest.fixture(scope="module")
def folder() -> Iterator[Folder]:
    with embedded_folder(".hotsku") as made:
        yield made


@pytest.fixture(scope="module")
def gateway(folder: Folder) -> Iterator[Gateway]:
    with running_gateway(folder.path.parent, environment={"HOTSKU_RELAY_INTERVAL_MS": "20"}) as running:
        yield running
        done = running.stop()
        assert done.status == 0, done


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        for item in (
            {"sku": "sneaker", "total": 1_000, "partitions": 4},
            {"sku": "two", "total": 2},
            {"sku": "limited", "total": 10, "limit_per_buyer": 1},
            {"sku": "later", "total": 10, "opens_at": "2100-01-01T00:00:00+01:00"},
            {"sku": "over", "total": 10, "closes_at": "2001-01-01T00:00:00Z"},
            {"sku": "a:b+c@d=e", "total": 10},
            {"sku": "measured", "total": 2},
        ):
            assert client.post("/v1/items", json=item).status_code == 201
        yield client


def deduct(http: httpx.Client, sku: str, order_id: str, quantity: int = 1, buyer_id: str = "") -> httpx.Response:
    body = {"order_id": order_id, "quantity": quantity, "buyer_id": buyer_id}
    return http.post(f"/v1/items/{sku}/deductions", json=body)


# --- orders ---


def test_an_order_and_the_same_again(http: httpx.Client) -> None:
    first = deduct(http, "sneaker", "o-1", 2, "u-1")
    assert first.status_code == 201
    receipt = first.json()["receipt"]
    sold = {"sku": "sneaker", "order_id": "o-1", "buyer_id": "u-1", "quantity": 2, "receipt": receipt}
    assert receipt
    assert first.json() == {"outcome": "accepted", "state": "confirmed", "replayed": False, **sold}
    again = deduct(http, "sneaker", "o-1", 2, "u-1")
    assert again.status_code == 200
    assert again.json() == {"outcome": "accepted", "state": "confirmed", "replayed": True, **sold}
    conflict = no(deduct(http, "sneaker", "o-1", 3, "u-1"), 422)
    assert conflict["field"] == "quantity"
    shown = http.get("/v1/items/sneaker/orders/o-1", params={"buyer_id": "u-1"})
    assert (shown.status_code, shown.json()["quantity"]) == (200, 2)


def test_each_no_has_its_outcome(http: httpx.Client) -> None:
    assert deduct(http, "two", "o-1").status_code == 201
    insufficient = no(deduct(http, "two", "o-2", 2), 409)
    assert (insufficient["outcome"], insufficient["available"]) == ("insufficient", 1)
    assert deduct(http, "two", "o-3").status_code == 201
    sold_out = no(deduct(http, "two", "o-4"), 409)
    assert (sold_out["outcome"], sold_out["available"], sold_out["order_id"]) == ("sold_out", 0, "o-4")
    assert deduct(http, "two", "o-1").status_code == 200
    assert deduct(http, "limited", "o-1", buyer_id="u-1").status_code == 201
    assert no(deduct(http, "limited", "o-2", buyer_id="u-1"), 409)["outcome"] == "limit_exceeded"
    assert no(deduct(http, "limited", "o-3"), 400)["field"] == "buyer_id"
    assert no(deduct(http, "later", "o-1"), 409)["outcome"] == "not_open"
    assert no(deduct(http, "over", "o-1"), 409)["outcome"] == "closed"


def test_an_order_that_is_not_there(http: httpx.Client) -> None:
    with_hint = no(http.get("/v1/items/sneaker/orders/none"), 404)
    assert (with_hint["field"], "buyer_id" in str(with_hint["detail"])) == ("buyer_id", True)
    assert no(http.get("/v1/items/sneaker/orders/none?buyer_id=u-1"), 404)["outcome"] == "not_found"
    assert no(http.get("/v1/items/none/orders/o-1"), 404)["field"] == "sku"
    assert no(deduct(http, "none", "o-1"), 404)["field"] == "sku"
    assert no(http.get("/v1/items/sneaker/orders/o-1?buyer=u-1"), 400)["field"] == "buyer"
    assert no(http.get("/v1/items/sneaker/orders/o-1?buyer_id=a&buyer_id=b"), 400)["field"] == "buyer_id"
    assert no(http.get("/v1/items/sneaker/orders/a%20b"), 400)["field"] == "order_id"


@pytest.mark.parametrize("key", ["k-1", '"k-1"'])
def test_an_idempotency_key_serves_where_the_order_has_no_id(http: httpx.Client, key: str) -> None:
    path, headers = "/v1/items/sneaker/deductions", {"Idempotency-Key": key}
    answer = http.post(path, json={}, headers=headers)
    assert answer.status_code in (200, 201)
    assert answer.json()["order_id"] == "k-1"
    assert http.post(path, json={"order_id": "k-2"}, headers=headers).json()["order_id"] == "k-2"
    assert no(http.post(path, json={}), 400)["field"] == "order_id"
    assert no(http.post(path, json={}, headers={"Idempotency-Key": "a b"}), 400)["field"] == "order_id"
    assert no(http.post(path, json={"order_id": ""}, headers=headers), 400)["field"] == "order_id"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"order_id": "o", "quantity": 1.0}', "quantity"),
        (b'{"order_id": "o", "quantity": 1e3}', "quantity"),
        (b'{"order_id": "o", "quantity": true}', "quantity"),
        (b'{"order_id": "o", "quantity": "1"}', "quantity"),
        (b'{"order_id": "o", "order_id": "o"}', "order_id"),
        (b'{"order_id": "o o"}', "order_id"),
        (b'{"order_id": "%s"}' % (b"o" * 65), "order_id"),
        (b'{"order_id": "o", "lease": 1}', "lease"),
        (b"{}}", "body"),
        (b"", "body"),
    ],
)
def test_bad_bodies_name_the_field(http: httpx.Client, body: bytes, field: str) -> None:
    assert no(http.post("/v1/items/sneaker/deductions", content=body), 400)["field"] == field
    assert no(http.post("/v1/items/sneaker/deductions?", content=iter([body])), 400)["field"] == field


def test_ids_in_paths_are_checked(http: httpx.Client) -> None:
    assert no(deduct(http, "a%20b", "o"), 400)["field"] == "sku"
    assert no(deduct(http, "a" * 65, "o"), 400)["field"] == "sku"
    assert no(http.get("/v1/items/a%20b"), 400)["field"] == "sku"
    # An encoded slash is no way around whoever stands before the gateway and looks at paths.
    assert no(http.get("/v1/items/a%2Fpartitions"), 400)["field"] == "path"
    assert no(deduct(http, "a%2f..", "o"), 400)["field"] == "path"


def test_an_encoded_sku_is_the_same_sku(http: httpx.Client) -> None:
    assert deduct(http, "a%3Ab%2Bc%40d%3De", "o-1").status_code == 201
    assert deduct(http, "a:b+c@d=e", "o-1").status_code == 200


def test_a_batch(http: httpx.Client) -> None:
    orders = [{"order_id": f"b-{n}", "buyer_id": "u"} for n in range(20)]
    path = "/v1/items/sneaker/deductions:batch"
    body = http.post(path, json={"orders": [*orders, {"order_id": "b-big", "quantity": 100_000}]}).json()
    assert body["counts"] == {"accepted": 20, "insufficient": 1}
    assert [answer["order_id"] for answer in body["answers"]][-2:] == ["b-19", "b-big"]
    assert body["answers"][-1]["available"] > 0
    single = http.get("/v1/items/sneaker/orders/b-0", params={"buyer_id": "u"}).json()
    assert (body["answers"][0]["state"], body["answers"][0]["receipt"]) == ("confirmed", single["receipt"])
    again = [*orders, {"order_id": "b-0", "buyer_id": "u", "quantity": 5}]
    body = http.post(path, json={"orders": again}).json()
    assert body["counts"] == {"replayed": 20, "conflict": 1}
    assert http.post("/v1/items/none/deductions:batch", json={"orders": orders}).status_code == 404
    limited = {"orders": [{"order_id": "x"}]}
    assert no(http.post("/v1/items/limited/deductions:batch", json=limited), 400)["field"] == "buyer_id"
    bad = {"orders": [*orders, {"order_id": "a b"}]}
    assert no(http.post(path, json=bad), 400)["field"] == "orders[20].order_id"


def test_a_batch_is_as_large_as_it_may_be(http: httpx.Client) -> None:
    orders = [{"order_id": f"{n:064}", "buyer_id": f"{n:064}", "quantity": 1_000_000_000} for n in range(1_000)]
    answer = http.post("/v1/items/sneaker/deductions:batch", json={"orders": orders})
    assert answer.json()["counts"] == {"insufficient": 1_000}


# --- items ---


def test_items_are_created_once(http: httpx.Client) -> None:
    body = {"sku": "z-new", "total": 10, "partitions": 2, "hold_ttl": "PT1M", "closes_at": "2100-01-01T00:00:00Z"}
    first, again = http.post("/v1/items", json=body), http.post("/v1/items", json=body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert (first.json()["hold_ttl"], first.json()["available"], first.json()["state"]) == ("PT60S", 10, "open")
    assert no(http.post("/v1/items", json={"sku": "z-new", "total": 11}), 409)["field"] == "sku"
    assert no(http.post("/v1/items", json={"sku": "z-new"}), 400)["field"] == "total"
    assert no(http.post("/v1/items", json={"sku": "n", "total": 1, "closes_at": "2100-01-01"}), 400)["field"] == (
        "closes_at"
    )
    late = {"sku": "n", "total": 1, "opens_at": "9999-12-31T23:00:00-12:00"}  # in UTC it is in the year 10000
    assert no(http.post("/v1/items", json=late), 400)["field"] == "opens_at"
    assert no(http.post("/v1/items?dry=1", json=body), 400)["field"] == "dry"


def test_of_those_who_create_an_item_at_the_same_moment_one_has_created_it(gateway: Gateway) -> None:
    for number in range(3):
        body = json.dumps({"sku": f"z-race-{number}", "total": 10, "partitions": 2})
        with ExitStack() as exits:
            connections = [exits.enter_context(gateway.connect()) for _ in range(6)]
            for each in connections:
                each.send(post("/v1/items", body))
            answers = [each.answer() for each in connections]
        assert sorted(answer.status for answer in answers) == [200] * 5 + [201]
        assert [answer.json for answer in answers] == [answers[0].json] * 6


def test_items_are_listed_by_sku(http: httpx.Client) -> None:
    first = http.get("/v1/items", params={"limit": 2}).json()
    assert [item["sku"] for item in first["items"]] == ["a:b+c@d=e", "later"]
    second = http.get("/v1/items", params={"limit": 2, "after": first["next"]}).json()
    assert [item["sku"] for item in second["items"]] == ["limited", "measured"]
    everything = http.get("/v1/items").json()
    assert everything["next"] is None
    for word in ("0", "1001", "x", "1.0", "%201", "1%0A", "%2B1", "1_0", "-1", "1e1", "", "%D9%A1", "9" * 5_000):
        query = f"limit={word}"
        assert no(http.get(f"/v1/items?{query}"), 400)["detail"] == "limit must be an integer from 1 to 1000"
    assert no(http.get("/v1/items?skip=1"), 400)["field"] == "skip"
    # A database may have no NUL in its text: PostgreSQL fails.
    assert no(http.get("/v1/items?after=%00"), 400)["field"] == "after"
    bad_sku = str(no(http.get("/v1/audit?sku=a%20b"), 400)["detail"])
    assert bad_sku == "sku must be 1 to 64 characters of A-Z a-z 0-9 . _ : @ + = -"
    orders = "/v1/items/sneaker/orders"
    for word in ("-1", "1.0", "%201", "1000000001"):
        older = no(http.get(f"{orders}?older_than_s={word}"), 400)
        assert older["detail"] == "older_than_s must be an integer from 0 to 1000000000"
        assert no(http.get(f"{orders}?limit={word}"), 400)["field"] == "limit"
    assert http.get(f"{orders}?older_than_s=0&limit=007").status_code == 200


def test_figures_partitions_and_the_audit(http: httpx.Client) -> None:
    item = http.get("/v1/items/sneaker").json()
    assert item["total"] == item["pool"] + item["preallocated"] + item["held"] + item["sold"]
    registry = http.get("/v1/items/sneaker/partitions").json()
    assert [partition["partition"] for partition in registry["partitions"]] == [0, 1, 2, 3]
    assert {partition["shard"] for partition in registry["partitions"]} == {"1"}  # never where it is
    for path in ("/v1/audit", "/v1/audit?sku=sneaker"):
        report = http.get(path).json()
        assert (report["ok"], report["problems"]) == (True, [])
    for path in ("/v1/items/none", "/v1/items/none/partitions", "/v1/audit?sku=none"):
        assert no(http.get(path), 404)["field"] == "sku"


# --- the rest ---


def test_health(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"alive": True}
    ready = http.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "back_ends": {"ledger": "ok", "shard": "ok"}})


def test_the_documents_are_there_without_any_other_host(http: httpx.Client) -> None:
    page = http.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page
    assert http.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    paths = http.get("/openapi.json").json()["paths"]
    assert {"/v1/items/{sku}/deductions", "/v1/items", "/metrics"} <= paths.keys()


def test_wrong_methods_and_paths(http: httpx.Client) -> None:
    for method, path, allowed in (
        ("GET", "/v1/items/sneaker/deductions", "POST"),
        ("DELETE", "/v1/items/sneaker/orders/o-1", "GET"),
        ("PUT", "/v1/items/sneaker", "GET"),
        ("PUT", "/v1/items", "GET, POST"),
        ("DELETE", "/v1/items", "GET, POST"),
        ("POST", "/docs", "GET"),
        ("POST", "/healthz", "GET"),
        ("GET", "/v1/items/sneaker/reservations", "POST"),
        ("POST", "/v1/items/sneaker/orders/o-1/history", "GET"),
    ):
        refused = http.request(method, path)
        assert no(refused, 405)["detail"] == f"method must be {allowed}"
        assert refused.headers["allow"] == allowed
    for path in ("/", "/v1", "/v1/items/sneaker/nothing", "/v2/items", "/v1/items/"):
        assert no(http.get(path), 404)["field"] == "path"


def test_pages_at_a_foreign_name_change_nothing(http: httpx.Client, gateway: Gateway) -> None:
    """A site may lead its own name to this machine: then its pages are of the same site for the browser."""
    foreign = f"evil.example:{gateway.port}"
    page = {"Host": foreign, "Origin": f"http://{foreign}", "Sec-Fetch-Site": "same-origin"}
    order, cart = {"order_id": "rebound"}, {"order_id": "rebound", "lines": [{"sku": "sneaker"}]}
    for path, body in (
        ("/v1/items/sneaker/deductions", order),
        ("/v1/items/sneaker/deductions", order),  # the same head again
        ("/v1/items/sneaker/deductions:batch", {"orders": [order]}),
        ("/v1/carts", cart),
        ("/v1/items", {"sku": "rebound", "total": 1}),
        ("/v1/items/sneaker/pause", {}),
    ):
        assert no(http.post(path, json=body, headers=page), 403)["field"] == "host"
    assert no(http.get("/v1/items/sneaker/orders/rebound"), 404)
    path = "/v1/items/sneaker/deductions"
    assert http.post(path, json={"order_id": "named-1"}, headers={"Host": foreign}).status_code == 201
    own = {"Host": f"localhost:{gateway.port}", "Origin": f"http://localhost:{gateway.port}"}
    assert http.post(path, json={"order_id": "named-2"}, headers=own).status_code == 201


def test_request_ids_are_taken_and_given(http: httpx.Client) -> None:
    path = "/v1/items/sneaker/deductions"
    for answer in (
        http.post(path, json={"order_id": "r-1"}, headers={"X-Request-Id": "shop/1"}),
        http.post(path, json={}, headers={"X-Request-Id": "shop/1"}),
        http.get("/v1/items/sneaker", headers={"X-Request-Id": "shop/1"}),
        http.get("/nothing", headers={"X-Request-Id": "shop/1"}),
    ):
        assert answer.headers.get_list("x-request-id") == ["shop/1"]
    made = [http.post(path, json={"order_id": "r-1"}).headers["x-request-id"] for _ in range(3)]
    assert len(set(made)) == 3


def test_what_is_too_large_is_refused(http: httpx.Client) -> None:
    large = b'{"order_id": "' + b"o" * 10_000 + b'"}'
    for path in ("/v1/items/sneaker/deductions", "/v1/items"):
        assert no(http.post(path, content=large), 413)["field"] == "body"
        assert no(http.post(path, content=iter([large[:5_000], large[5_000:]])), 413)["field"] == "body"
    batch = b'{"orders": [' + b" " * 1_100_000 + b"]}"
    assert no(http.post("/v1/items/sneaker/deductions:batch", content=batch), 413)["field"] == "body"


def test_metrics_tell_what_happened(http: httpx.Client) -> None:
    answers = [deduct(http, "measured", order_id).status_code for order_id in ("m-1", "m-2", "m-3", "m-1")]
    assert answers == [201, 201, 409, 200]
    assert http.get("/v1/items/measured/nothing").status_code == 404
    text = http.get("/metrics").text
    assert 'hotsku_orders_total{outcome="accepted"}' in text
    assert 'hotsku_orders_total{outcome="sold_out"}' in text
    assert 'hotsku_http_requests_total{label="replayed",route="/v1/items/{sku}/deductions",status="200"}' in text
    assert 'hotsku_item_available{sku="measured"} 0.0' in text
    assert 'hotsku_partition_bucket{bucket="a",partition="0",role=' in text
    assert 'hotsku_item_held{sku="measured"} 0.0' in text
    assert 'hotsku_batch_requests_bucket{le="1",of="orders"}' in text
    batches = (float(line.split()[-1]) for line in text.splitlines() if line.startswith("hotsku_batch_requests_sum"))
    assert sum(batches) >= 4
    assert "/v1/items/measured/nothing" not in text  # a path is no label: there is no end of them
    assert "m-1" not in text
    openmetrics = http.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert openmetrics.text.endswith("# EOF\n")
    eventually(lambda: 'hotsku_item_sold{sku="measured"} 2.0' in http.get("/metrics").text, "the ledger has both")
    # The worker is a process of its own; the gateway tells of it, too.
    eventually(lambda: 'hotsku_relay_lag_events{sku="measured"} 0.0' in http.get("/metrics").text, "the relay is done")
    applied = 'hotsku_applier_messages_total{result="applied"}'
    eventually(lambda: applied in http.get("/metrics").text, "the applier has counted")


def test_the_fast_lane_and_the_other_way_say_the_same(gateway: Gateway, http: httpx.Client) -> None:
    """An encoded path is unusual: such a request is a task of its own."""
    with gateway.connect() as raw:
        for body in ('{"order_id":"lane","buyer_id":"u"}', '{"order_id":"lane","quantity":2,"buyer_id":"u"}', "{}"):
            raw.send(order("sneaker", body))
            fast = raw.answer()
            raw.send(order("sneaker", body).replace(b"/deductions ", b"/%64eductions "))
            slow = raw.answer()
            assert slow.body == fast.body.replace(b'"replayed":false', b'"replayed":true')
            assert set(slow.headers) == set(fast.headers)
