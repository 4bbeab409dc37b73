"""schemathesis against /openapi.json: whatever it thinks of, each route answers as its document says."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.folder_processes import embedded_folder
from tests.support.gateway import Gateway, running_gateway

_KEY = {"X-API-Key": "a-key"}

# For JSON Schema 1.0 is an integer; here it is refused. And what is well-formed may be wrong all the same: an order
# without an id, a window that ends before it begins, the same order with another quantity.
_NOT_CHECKED = "positive_data_acceptance"


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    environment = {"HOTSKU_API_KEYS": "admin:a-key", "HOTSKU_DURABILITY": "fast"}
    with embedded_folder(".hotsku") as folder, running_gateway(folder.path.parent, environment=environment) as running:
        with running.client(headers=_KEY) as http:
            for sku in ("0", "a"):
                assert http.post("/v1/items", json={"sku": sku, "total": 1_000_000}).status_code == 201
            assert http.post("/v1/items/a/deductions", json={"order_id": "0"}).status_code == 201
            assert http.post("/v1/items/0/reservations", json={"order_id": "0"}).status_code == 201
            cart = {"order_id": "a", "lines": [{"sku": "a"}]}
            assert http.post("/v1/carts", json=cart).status_code == 201
        yield running
        assert running.stop().status == 0


def test_every_answer_is_documented(gateway: Gateway, tmp_path: Path) -> None:
    schemathesis = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [
            *(schemathesis, "run", f"{gateway.url}/openapi.json", "--no-color", "--warnings", "off"),
            *("--header", "X-API-Key: a-key", "--checks", "all", "--exclude-checks", _NOT_CHECKED),
            *("--max-examples", "10", "--generation-deterministic", "--request-timeout", "60"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "28 selected / 28 total" in done.stdout  # it leaves out the document itself
    with gateway.client(headers=_KEY) as http:
        assert http.get("/v1/audit").json()["ok"]
        assert 'status="500"' not in http.get("/metrics").text


_MAY = {"400", "401", "403", "405", "408", "413", "429", "431", "500", "503"}


def test_it_has_every_route_and_what_any_route_may_answer(gateway: Gateway) -> None:
    with gateway.client(headers=_KEY) as http:
        paths = http.get("/openapi.json").json()["paths"]
        assert http.get("/docs").status_code == 200
        for path in ("/v1/items", "/v1/items/a/orders/0", "/metrics", "/healthz", "/docs"):
            assert http.request("GET", path, content=b" " * 10_000).status_code == 413
    assert {"/healthz", "/readyz", "/metrics", "/console", "/docs", "/openapi.json"} <= paths.keys()
    for path in ("/docs", "/openapi.json", "/console"):
        assert paths[path]["get"]["security"] == []
    for operations in paths.values():
        for operation in operations.values():
            assert operation["responses"].keys() >= _MAY
            assert "Allow" in operation["responses"]["405"]["headers"]
