"""What an admin changes over HTTP while an item sells: pause, resume, restock, close."""

from collections.abc import Iterator

import httpx
import pytest
from tests.support.folder_processes import embedded_folder, eventually
from tests.support.gateway import Gateway, post, running_gateway
from tests.support.problems import no

_KEYS = {"HOTSKU_API_KEYS": "read:r-key,sell:s-key,admin:a-key", "HOTSKU_RELAY_INTERVAL_MS": "20"}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with embedded_folder(".hotsku") as folder, running_gateway(folder.path.parent, environment=_KEYS) as running:
        yield running
        done = running.stop()
        assert done.status == 0, done


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client(headers={"X-API-Key": "a-key"}) as client:
        yield client


def item(http: httpx.Client, sku: str, total: int = 100) -> str:
    assert http.post("/v1/items", json={"sku": sku, "total": total, "partitions": 2}).status_code == 201
    return f"/v1/items/{sku}"


def deduct(http: httpx.Client, path: str, order_id: str) -> httpx.Response:
    return http.post(f"{path}/deductions", json={"order_id": order_id})


def test_a_paused_item_sells_nothing_and_then_sells_on(http: httpx.Client) -> None:
    path = item(http, "pausing")
    assert http.post(f"{path}/reservations", json={"order_id": "held", "ttl_s": 600}).status_code == 201
    paused = http.post(f"{path}/pause")
    assert (paused.status_code, paused.json()) == (
        200,
        {"sku": "pausing", "state": "paused", "unreachable": [], "outstanding": 0},
    )
    assert no(deduct(http, path, "o-1"), 409)["outcome"] == "paused"
    assert no(http.post(f"{path}/reservations", json={"order_id": "o-2"}), 409)["outcome"] == "paused"
    assert http.post(f"{path}/orders/held/confirm").status_code == 200
    assert http.get(path).json()["state"] == "paused"
    assert http.post(f"{path}/pause", json={}).status_code == 200
    assert http.post(f"{path}/resume").json()["state"] == "open"
    assert deduct(http, path, "o-1").status_code == 201


def test_units_come_and_go_once(http: httpx.Client) -> None:
    path = item(http, "stocked", 10)
    more = {"adjustment_id": "truck-1", "quantity": 5}
    assert http.post(f"{path}/restock", json=more).json()["total"] == 15
    assert http.post(f"{path}/restock", json=more).json()["total"] == 15
    assert no(http.post(f"{path}/restock", json=more | {"quantity": 6}), 422)["field"]
    sold = {"order_id": "o-1", "quantity": 12}
    assert http.post(f"{path}/deductions", json=sold).status_code == 201
    fewer = {"adjustment_id": "broken-1", "quantity": -4}
    assert no(http.post(f"{path}/restock", json=fewer), 400)["field"] == "quantity"
    assert http.post(f"{path}/restock", json=fewer | {"quantity": -3}).json()["total"] == 12
    assert no(deduct(http, path, "o-2"), 409)["outcome"] == "sold_out"
    assert http.post(f"{path}/restock", json={"adjustment_id": "truck-2", "quantity": 1}).status_code == 200
    eventually(lambda: deduct(http, path, "o-3").status_code in (200, 201), "what came can be had")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"adjustment_id": "a"}, "quantity"),
        ({"adjustment_id": "a", "quantity": 0}, "quantity"),
        ({"adjustment_id": "a", "quantity": 1.5}, "quantity"),
        ({"adjustment_id": "a b", "quantity": 1}, "adjustment_id"),
        ({"adjustment_id": "a", "quantity": 1, "why": ""}, "why"),
    ],
)
def test_bad_restocks_name_the_field(http: httpx.Client, body: dict[str, object], field: str) -> None:
    path = "/v1/items/bad-restock"
    http.post("/v1/items", json={"sku": "bad-restock", "total": 1})
    assert no(http.post(f"{path}/restock", json=body), 400)["field"] == field


def test_a_closed_item_releases_its_holds_and_takes_everything_back(http: httpx.Client) -> None:
    path = item(http, "closing")
    assert deduct(http, path, "sold").status_code == 201
    for order_id in ("held", "paying"):
        body = {"order_id": order_id, "ttl_s": 600}
        assert http.post(f"{path}/reservations", json=body).status_code == 201
    assert http.post(f"{path}/orders/paying/begin-payment").status_code == 200
    closed = http.post(f"{path}/close").json()
    assert (closed["state"], closed["outstanding"]) == ("closed", 0)
    assert no(deduct(http, path, "o-1"), 409)["outcome"] == "closed"
    assert deduct(http, path, "sold").status_code == 200
    assert no(http.post(f"{path}/orders/held/confirm"), 409)["state"] == "released"
    assert http.post(f"{path}/orders/paying/confirm").json()["state"] == "confirmed"
    assert no(http.post(f"{path}/resume"), 400)["field"] == "sku"
    figures = ("pool", "preallocated", "held", "sold", "state")
    eventually(lambda: http.get(path).json()["sold"] == 2, "the ledger has both")
    assert [http.get(path).json()[name] for name in figures] == [98, 0, 0, 2, "closed"]
    report = http.get("/v1/audit").json()
    assert (report["ok"], report["problems"]) == (True, [])


def test_only_an_admin_may(gateway: Gateway, http: httpx.Client) -> None:
    path = item(http, "guarded")
    for word, body in (
        ("pause", {}),
        ("resume", {}),
        ("close", {}),
        ("restock", {"adjustment_id": "a", "quantity": 1}),
    ):
        for key, status in (("s-key", 403), ("r-key", 403), ("x-key", 401)):
            with gateway.client(headers={"X-API-Key": key}) as other:
                assert no(other.post(f"{path}/{word}", json=body), status)["field"] == "authorization"
        assert no(http.post(f"/v1/items/none/{word}", json=body), 404)["field"] == "sku"
        assert no(http.post(f"{path}/{word}", json={**body, "x": 1}), 400)["field"] == "x"
        assert no(http.post(f"{path}/{word}?x=1", json=body), 400)["field"] == "x"
        assert no(http.get(f"{path}/{word}"), 405)
    assert http.get(path).json()["state"] == "open"


def test_who_sells_may_hold_and_step_and_who_reads_may_look(gateway: Gateway, http: httpx.Client) -> None:
    path = item(http, "roles")
    with gateway.client(headers={"X-API-Key": "r-key"}) as reader:
        with gateway.client(headers={"X-API-Key": "s-key"}) as seller:
            assert seller.post(f"{path}/reservations", json={"order_id": "o-1"}).status_code == 201
            cart = {"order_id": "c-1", "lines": [{"sku": "roles"}]}
            assert seller.post("/v1/carts", json=cart).status_code == 201
            for refused in (
                reader.post(f"{path}/reservations", json={"order_id": "o-2"}),
                reader.post(f"{path}/orders/o-1/confirm"),
                reader.post("/v1/carts", json=cart),
                reader.post("/v1/carts/c-1/confirm"),
            ):
                no(refused, 403)
            assert seller.post(f"{path}/orders/o-1/confirm").status_code == 200
            assert seller.post("/v1/carts/c-1/confirm").status_code == 200
        assert reader.get(f"{path}/orders/o-1").json()["state"] == "confirmed"
        assert reader.get(f"{path}/orders").status_code == 200
        eventually(lambda: reader.get(f"{path}/orders/o-1/history").status_code == 200, "it is written")


@pytest.mark.parametrize(
    "path", ["items/a/deductions", "items/a/orders/o/confirm", "items/a/deductions:batch", "carts", "items/a/restock"]
)
@pytest.mark.parametrize(("key", "status"), [((), 401), (("x-api-key: r-key",), 403)])
def test_who_may_not_come_in_need_not_send_a_body(
    gateway: Gateway, path: str, key: tuple[str, ...], status: int
) -> None:
    with gateway.connect() as raw:
        raw.send(post(f"/v1/{path}", " " * 100, *key)[:-1])
        answer = raw.answer()
        assert (answer.status, answer.json["field"]) == (status, "authorization")
        assert answer.headers["x-request-id"]


def test_every_refused_order_is_counted(gateway: Gateway, http: httpx.Client) -> None:
    """However many orders it would have been."""

    def counted() -> float:
        lines = http.get("/metrics").text.splitlines()
        asked = [line for line in lines if line.startswith('hotsku_orders_total{outcome="forbidden"}')]
        return sum(float(line.rpartition(" ")[2]) for line in asked)

    with gateway.client(headers={"X-API-Key": "r-key"}) as reader:
        for path in ("items/a/deductions", "items/a/reservations", "items/a/deductions:batch", "carts"):
            before = counted()
            assert reader.post(f"/v1/{path}", json={}).status_code == 403
            assert counted() == before + 1, path
