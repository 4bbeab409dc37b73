"""`hotsku serve` as a command: what it refuses, keys, TLS, several processes, and how it ends."""

import os
import signal
import socket
import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from tests.support.commands import Shell, finish, processes
from tests.support.folder_processes import Folder, embedded_folder, eventually
from tests.support.gateway import Gateway, post, running_gateway
from tests.support.servers import TestServer
from tests.support.tls import make_tls_files

from hotsku.cli import main as cli
from hotsku.settings import Settings

_KEYS = "read:r-key,sell:s-key,admin:a-key"


@pytest.fixture(scope="module")
def folder() -> Iterator[Folder]:
    """One folder for the tests of this module; at its end the server and the worker must be gone."""
    with embedded_folder(".hotsku") as made:
        yield made


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", *Settings.model_fields):
        monkeypatch.delenv(f"HOTSKU_{name.upper()}", raising=False)


def key(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


# --- what is refused before anything starts ---


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["--host", "0.0.0.0"], {}, "api_keys (HOTSKU_API_KEYS) must be set to listen on 0.0.0.0"),  # noqa: S104
        (["--host", "0.0.0.0"], {"HOTSKU_API_KEYS": "sell:short"}, "(HOTSKU_API_KEYS) must be keys of at least 16"),  # noqa: S104
        ([], {"HOTSKU_API_KEYS": "sell:same,admin:same"}, "api_keys (HOTSKU_API_KEYS) must be"),
        (["--host", "no such host"], {}, "host must be"),
        ([], {"HOTSKU_API_KEYS": "@nowhere"}, "nowhere cannot be read"),
        ([], {"HOTSKU_HTTP_TLS_CERT": "nowhere.pem"}, "http_tls_key (HOTSKU_HTTP_TLS_KEY) must be"),
        ([], {"HOTSKU_HTTP_TLS_CERT": "no.pem", "HOTSKU_HTTP_TLS_KEY": "no.pem"}, "no.pem cannot be read"),
        ([], {"HOTSKU_HTTP_MAX_IN_FLIGHT": "0"}, "HOTSKU_HTTP_MAX_IN_FLIGHT"),
        ([], {"HOTSKU_HTTP_DEADLINE_MS": "1.5"}, "HOTSKU_HTTP_DEADLINE_MS"),
        (["--workers", "0"], {}, "--workers"),
        (["--port", "65536"], {}, "--port"),
    ],
)
def test_bad_settings_are_one_line(
    arguments: list[str],
    environment: dict[str, str],
    says: str,
    here: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli.run(["serve", "--port", "0", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err.splitlines()[-1]


def test_a_port_that_is_taken(here: None, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cli.run(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "host and port must be free" in capsys.readouterr().err


def test_a_back_end_that_is_away_is_said_once(tmp_path: Path) -> None:
    away = {"HOTSKU_SHARD_URL": "unix:///nowhere/valkey.sock"}
    done = Shell(tmp_path).run("serve", "--port", "0", "--workers", "2", environment=away)
    assert (done.status, done.out, "shard" in done.error) == (3, "", True)


# --- keys, the rate limit, TLS ---


def test_each_route_asks_for_its_role_and_tls_is_spoken(folder: Folder, tmp_path: Path) -> None:
    files = make_tls_files(tmp_path)
    keys = tmp_path / "keys"
    keys.write_text(_KEYS.replace(",", "\n"))
    environment = {
        "HOTSKU_API_KEYS": f"@{keys}",
        "HOTSKU_HTTP_TLS_CERT": str(files.certificate),
        "HOTSKU_HTTP_TLS_KEY": str(files.key),
    }
    with running_gateway(folder.path.parent, environment=environment) as gateway:
        assert gateway.url.startswith("https://")
        with gateway.client(verify=ssl.create_default_context(cafile=files.ca)) as http:
            _each_route_asks_for_its_role(http)
        done = gateway.stop()
    assert done.status == 0
    for secret in ("r-key", "s-key", "a-key", "wrong"):
        assert secret not in done.err


def _each_route_asks_for_its_role(http: httpx.Client) -> None:
    item, order, batch = {"sku": "k", "total": 10}, {"order_id": "o"}, {"orders": [{"order_id": "o"}]}
    assert http.post("/v1/items", json=item, headers=key("a-key")).status_code == 201
    needs: dict[str, list[tuple[str, str, object]]] = {
        "": [
            ("GET", "/healthz", None),
            ("GET", "/readyz", None),
            ("GET", "/docs", None),
            ("GET", "/openapi.json", None),
        ],
        "r-key": [
            *(("GET", path, None) for path in ("/v1/items", "/v1/items/k", "/v1/items/k/partitions", "/v1/audit")),
            ("GET", "/metrics", None),
        ],
        "s-key": [("POST", "/v1/items/k/deductions", order), ("POST", "/v1/items/k/deductions:batch", batch)],
        "a-key": [("POST", "/v1/items", item)],
    }
    order_of_roles = list(needs)
    for needed, calls in needs.items():
        for method, path, body in calls:
            for given in order_of_roles:
                status = http.request(method, path, json=body, headers=key(given) if given else {}).status_code
                if order_of_roles.index(given) >= order_of_roles.index(needed):
                    assert status in (200, 201), (method, path, given)
                else:
                    assert status == (403 if given else 401), (method, path, given)
    refused = http.get("/v1/items", headers=key("wrong"))
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert refused.json()["field"] == "authorization"
    assert "a-key" not in refused.text


def test_too_many_requests_are_refused(folder: Folder) -> None:
    with running_gateway(folder.path.parent, environment={"HOTSKU_HTTP_RATE_LIMIT": "5"}) as gateway:
        with gateway.client() as http:
            for path, method in (("/v1/items/k/deductions", "POST"), ("/v1/items", "GET")):
                while (answer := http.request(method, path, json={"order_id": "o"})).status_code in (200, 404):
                    pass
                assert answer.status_code == 429
                assert int(answer.headers["retry-after"]) > 0
            assert http.get("/healthz").status_code == 200
        assert gateway.stop().status == 0


def test_a_request_counts_once_whichever_way_it_goes(folder: Folder) -> None:
    """An order of an item that is not loaded here begins on the fast lane, and leaves it."""
    with running_gateway(folder.path.parent, environment={"HOTSKU_HTTP_RATE_LIMIT": "1"}) as gateway:
        with gateway.client() as http:
            assert http.post("/v1/items/none/deductions", json={"order_id": "o"}).status_code == 404
        assert gateway.stop().status == 0


# --- processes ---


def test_several_processes_are_one_gateway(folder: Folder) -> None:
    with running_gateway(folder.path.parent, "--workers", "2", "--json") as gateway:
        servers = processes("hotsku.http.process", parent=gateway.process.pid)
        assert len(servers) == 2
        with gateway.client() as http:
            http.post("/v1/items", json={"sku": "m", "total": 1_000})
        _sell_on_many_connections(gateway, "before", 40)
        eventually(lambda: _accepted(gateway) == {40}, "each process tells what all have counted")
        os.kill(servers[0], signal.SIGKILL)
        _wait_for_two(gateway, servers[0])
        _sell_on_many_connections(gateway, "after", 40)
        eventually(lambda: _accepted(gateway) == {80}, "the successor has gone on counting")
        done = gateway.stop()
    assert done.status == 0
    assert done.json["ended_by"] == "SIGTERM"
    assert done.json["workers"] == 2
    assert not processes("hotsku.http.process", parent=gateway.process.pid)


def _sell_on_many_connections(gateway: Gateway, name: str, count: int) -> None:
    """One connection an order, so that the kernel spreads them; one that its process's end breaks is tried again."""
    for number in range(count):
        with gateway.client(transport=httpx.HTTPTransport(retries=5)) as http:
            answer = http.post("/v1/items/m/deductions", json={"order_id": f"{name}-{number}"})
            assert answer.status_code in (200, 201)


def _accepted(gateway: Gateway) -> set[float]:
    """What the metrics say, on so many connections that each process is asked."""
    return {_accepted_by_one(gateway) for _ in range(12)}


def _accepted_by_one(gateway: Gateway) -> float:
    with gateway.client() as http:
        lines = http.get("/metrics").text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith('hotsku_orders_total{outcome="accepted"}'))


def _wait_for_two(gateway: Gateway, killed: int) -> None:
    def both() -> bool:
        found = processes("hotsku.http.process", parent=gateway.process.pid)
        return len(found) == 2 and killed not in found and _listens(gateway, 2)

    eventually(both, "the killed process has a successor")


def _listens(gateway: Gateway, count: int) -> bool:
    """Whether connections reach as many processes as there are."""
    ids = set()
    for _ in range(20):
        with gateway.client(timeout=2) as http:
            try:
                ids.add(http.get("/healthz").headers["x-request-id"].partition("-")[0])
            except httpx.TransportError:
                return False
    return len(ids) == count


@contextmanager
def at_url(server: TestServer, folder: Path, **more: str) -> Iterator[Gateway]:
    environment = {
        "HOTSKU_SHARD_URL": server.url,
        "HOTSKU_LEDGER_URL": f"sqlite:///{folder}/ledger.db",
        "HOTSKU_RELAY_INTERVAL_MS": "20",
        "HOTSKU_NAMESPACE": "serve",
    }
    with running_gateway(folder, environment=environment | more) as gateway:
        yield gateway


def test_at_a_url_it_brings_its_workers_along(valkey: TestServer, tmp_path: Path) -> None:
    with at_url(valkey, tmp_path) as gateway, gateway.client() as http:
        http.post("/v1/items", json={"sku": "w", "total": 10})
        assert http.post("/v1/items/w/deductions", json={"order_id": "o"}).status_code == 201
        eventually(lambda: http.get("/v1/items/w").json()["sold"] == 1, "the ledger follows")
        for of_worker in (
            'hotsku_relay_lag_events{sku="w"} 0.0',
            'hotsku_applier_messages_total{result="applied"} 1.0',
        ):
            eventually(lambda told=of_worker: told in http.get("/metrics").text, "they are told of in the metrics")  # type: ignore[misc]
        assert gateway.stop(signal.SIGINT).status == 130


def test_a_stop_while_it_starts(folder: Folder) -> None:
    with Shell(folder.path.parent).begin("serve", "--port", "0") as process:
        eventually(lambda: processes("hotsku.http.process", parent=process.pid), "a server process")
        process.terminate()
        assert finish(process).status == 0
        assert not processes("hotsku.http.process", parent=process.pid)


def test_a_stop_answers_what_it_cuts_off(valkey: TestServer, tmp_path: Path) -> None:
    """A pause that waits for its shard."""
    patient = {"HOTSKU_HTTP_DEADLINE_MS": "500", "HOTSKU_SHARD_TIMEOUT_MS": "60000"}
    with at_url(valkey, tmp_path, **patient) as gateway, gateway.client() as http, gateway.connect() as raw:
        assert http.post("/v1/items", json={"sku": "cut", "total": 10}).status_code == 201
        valkey.pause()
        raw.send(post("/v1/items/cut/pause", "{}", "x-request-id: mine"))
        eventually(lambda: _state_in(tmp_path / "ledger.db") == "paused", "the ledger has it")
        gateway.process.terminate()
        answer = raw.answer()
        valkey.resume()
        done = gateway.finish()
    assert (answer.status, answer.headers["x-request-id"], answer.headers["connection"]) == (503, "mine", "close")
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json["type"] == "urn:hotsku:problem:stopping"
    assert "not known" in str(answer.json["detail"])
    assert done.status == 0, done
    assert "Traceback" not in done.err, done.err


def _state_in(ledger: Path) -> str:
    """The state of the only item."""
    with closing(sqlite3.connect(ledger)) as connection:
        found: str = connection.execute("SELECT state FROM items").fetchone()[0]
    return found


def test_nobody_stays_when_it_is_killed(valkey: TestServer, tmp_path: Path) -> None:
    with at_url(valkey, tmp_path) as gateway:
        children = processes("python", parent=gateway.process.pid)
        assert len(children) == 2
        gateway.process.kill()
        eventually(lambda: not _alive(children), "its processes notice, and end")


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}/stat").exists()]
