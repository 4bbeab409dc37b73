"""The small shops in examples/ run as their pages say, and sell what they have, once."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from tests.support.brokers import free_port
from tests.support.documents import blocks, page
from tests.support.example import Example, running_example
from tests.support.folder_processes import Folder, embedded_folder, eventually
from tests.support.gateway import Gateway, running_gateway
from tests.support.servers import TestServer

from hotsku import OrderState
from hotsku.client import BlockingClient


@pytest.fixture(scope="module")
def folder() -> Iterator[Folder]:
    with embedded_folder(".hotsku") as made:
        yield made


@pytest.fixture(scope="module")
def gateway(folder: Folder) -> Iterator[Gateway]:
    with running_gateway(folder.path.parent, environment={"HOTSKU_RELAY_INTERVAL_MS": "20"}) as running:
        yield running


@pytest.fixture
def stock(gateway: Gateway) -> Iterator[BlockingClient]:
    with BlockingClient(gateway.url) as client:
        yield client


def _answers(url: str, example: Example) -> None:
    def true() -> bool:
        assert example.running, example.said
        try:
            return bool(httpx.get(url, trust_env=False))
        except httpx.TransportError:
            return False

    eventually(true, "it serves")


# --- FastAPI ---


@pytest.fixture(scope="module")
def fastapi_shop(folder: Folder) -> Iterator[httpx.Client]:
    """5 units, in an embedded folder of its own namespace."""
    port = free_port()
    environment = {
        "HOTSKU_SHARD_URL": f"embedded:{folder.path}",
        "HOTSKU_LEDGER_URL": f"sqlite:///{folder.path}/ledger.db",
        "SKU": "sneaker-42",
        "TOTAL": "5",
    }
    command = ["-m", "uvicorn", "--app-dir", "examples/fastapi_shop", "--port", str(port), "app:app"]
    with (
        running_example(command, environment) as example,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=90) as http,
    ):
        _answers(f"http://127.0.0.1:{port}/stock", example)
        yield http
        assert example.stop() in (0, -15)


def test_reserve_pay_confirm(fastapi_shop: httpx.Client) -> None:
    order = {"order_id": "o-1", "buyer_id": "u-1", "quantity": 2}
    held = fastapi_shop.post("/orders", json=order)
    assert (held.status_code, held.json()["outcome"], held.json()["state"]) == (201, "held", "held")
    assert held.json()["receipt"].startswith("v1.")
    assert fastapi_shop.post("/orders", json=order).json() == held.json(), "the same again"
    eventually(lambda: fastapi_shop.get("/stock").json() == {"available": 3}, "2 of 5 are held")
    for _ in range(2):
        paid = fastapi_shop.post("/orders/o-1/payment", json={"buyer_id": "u-1"})
        assert (paid.status_code, paid.json()["state"]) == (200, "confirmed")
    assert fastapi_shop.post("/orders", json={**order, "order_id": "o-2"}).json()["detail"] == {
        "outcome": "limit_exceeded",
        "available": None,
    }
    assert fastapi_shop.post("/orders", json={**order, "quantity": 1}).status_code == 422
    assert fastapi_shop.post("/orders", json={**order, "order_id": "a b"}).status_code == 400
    assert fastapi_shop.post("/orders/nobody/payment", json={"buyer_id": "u-1"}).status_code == 404
    for order_id, status, outcome in (("nobody", 404, "not_found"), ("o-1", 409, "confirmed")):
        cancelled = fastapi_shop.delete(f"/orders/{order_id}", params={"buyer_id": "u-1"})
        assert (cancelled.status_code, cancelled.json()["detail"]) == (status, {"outcome": outcome})


def test_a_rush_of_buyers_of_whom_some_cancel(fastapi_shop: httpx.Client) -> None:
    """3 units are left; who cancels makes room for another."""

    def buy(number: int) -> str:
        who = {"buyer_id": f"rush-{number}"}
        held = fastapi_shop.post("/orders", json={"order_id": f"rush-{number}", **who})
        if held.status_code == 409:
            return str(held.json()["detail"]["outcome"])
        if number % 2:
            return str(fastapi_shop.delete(f"/orders/rush-{number}", params=who).json()["outcome"])
        return str(fastapi_shop.post(f"/orders/rush-{number}/payment", json=who).json()["outcome"])

    with ThreadPoolExecutor(8) as pool:
        heard = list(pool.map(buy, range(40)))
    while heard.count("confirmed") < 3:  # those who cancelled have left some
        heard.append(buy(2 * len(heard)))
    assert set(heard) <= {"confirmed", "released", "sold_out"}
    assert heard.count("confirmed") == 3
    eventually(lambda: fastapi_shop.get("/stock").json() == {"available": 0}, "all is sold")


# --- the client's page ---


def test_the_example_of_the_clients_page(gateway: Gateway) -> None:
    shown = page("docs/client.md")
    code = blocks(shown, "python")[0].replace("http://127.0.0.1:8000", gateway.url).replace("sneaker-42", "client-page")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == (blocks(shown, "text")[0], "")


# --- Django ---


def test_django_sells_over_the_gateway(gateway: Gateway, stock: BlockingClient) -> None:
    stock.create_item("django", 4)
    stock.reserve("django", 1, order_id="o-held", buyer_id="u-1")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = ["examples/django_view/shop.py", "runserver", "--noreload", str(port)]
    with (
        running_example(command, {"GATEWAY": gateway.url}) as example,
        httpx.Client(trust_env=False, timeout=60) as http,
    ):
        example.wait_for("Quit the server")

        def buy(order_id: str, sku: str = "django") -> tuple[int, dict[str, object]]:
            answer = http.post(f"{url}/items/{sku}/buy", data={"order_id": order_id, "buyer_id": "u-1"})
            return answer.status_code, answer.json()

        assert buy("o-0") == (200, {"outcome": "accepted", "replayed": False, "available": None})
        assert buy("o-0") == (200, {"outcome": "accepted", "replayed": True, "available": None})
        with ThreadPoolExecutor(6) as pool:
            statuses = [status for status, _ in pool.map(buy, [f"o-{n}" for n in range(1, 7)])]
        assert sorted(statuses) == [200, 200, 409, 409, 409, 409]
        assert buy("o-9") == (409, {"outcome": "sold_out", "replayed": False, "available": 0})
        assert buy("a b")[0] == 400
        assert buy("o-held")[0] == 422, "it is held, not sold; the same again would hear the same"
        assert buy("o-1", "no-such-item")[0] == 404
    eventually(lambda: stock.item("django").sold == 3, "the ledger has it")


# --- Celery ---


def test_celery_lets_go_of_what_nobody_pays_for(
    gateway: Gateway, stock: BlockingClient, valkey: TestServer, tmp_path: Path
) -> None:
    stock.create_item("celery", 3, hold_ttl=timedelta(hours=1))
    for n in range(3):
        stock.reserve("celery", 1, order_id=f"o-{n}")
    stock.begin_payment("celery", order_id="o-0")
    stock.confirm("celery", order_id="o-1")
    eventually(lambda: len(stock.order_history("celery", "o-0")) == 2, "the ledger has it")
    environment = {
        "BROKER": valkey.url.replace("unix://", "redis+socket://"),
        "GATEWAY": gateway.url,
        "SKU": "celery",
        "ABANDONED_S": "0",
        "SWEEP_S": "0.5",
    }
    command = [
        "-m",
        "celery",
        "--workdir",
        "examples/celery_task",
        "-A",
        "tasks",
        "worker",
        "--beat",
        "--loglevel",
        "info",
    ]
    with running_example([*command, "--concurrency", "2", "-s", str(tmp_path / "beat")], environment) as example:
        eventually(lambda: stock.item("celery").held == 1, "o-2 is released", 60)
        assert [stock.order("celery", f"o-{n}").state for n in range(3)] == [
            OrderState.HELD,
            OrderState.CONFIRMED,
            OrderState.RELEASED,
        ]
        eventually(lambda: "in payment" in example.said, "it leaves who pays alone")
        example.stop()
    assert stock.deduct("celery", 1, order_id="o-3").state is OrderState.CONFIRMED
