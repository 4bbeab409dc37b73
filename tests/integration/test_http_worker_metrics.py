"""`hotsku worker --metrics-port`: what the workers count and how far they are behind."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.support.commands import Shell, finish, wait_for_words
from tests.support.folder_processes import eventually
from tests.support.servers import TestServer

import hotsku
from hotsku.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patient")]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def settings(server: TestServer, folder: Path) -> Settings:
    return Settings(shard_url=server.url, ledger_url=f"sqlite:///{folder}/ledger.db", namespace="metrics")


def environment(server: TestServer, folder: Path) -> dict[str, str]:
    made = settings(server, folder)
    names = ("shard_url", "ledger_url", "namespace")
    return {f"HOTSKU_{name.upper()}": getattr(made, name) for name in names}


@contextmanager
def worker(server: TestServer, folder: Path, *arguments: str) -> Iterator[httpx.Client]:
    port = free_port()
    command = ("worker", "--metrics-port", str(port), *arguments)
    with Shell(folder).begin(*command, environment=environment(server, folder)) as process:
        wait_for_words(process, "working as")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as http:
            eventually(lambda: listens(http), "it serves its metrics")
            yield http
        process.send_signal(signal.SIGTERM)
        assert finish(process).status == 0


def listens(http: httpx.Client) -> bool:
    try:
        return http.get("/metrics").status_code == 200
    except httpx.TransportError:
        return False


def figure(http: httpx.Client, name: str) -> float | None:
    lines = http.get("/metrics").text.splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(name + " ")), None)


async def test_they_tell_what_they_did(valkey: TestServer, tmp_path: Path) -> None:
    async with hotsku.connect(settings(valkey, tmp_path), workers=False) as stock:
        await stock.create_item("a", 100, partitions=1)
        with worker(valkey, tmp_path) as http:
            await stock.deduct_many("a", [{"order_id": f"o-{n}"} for n in range(90)])
            eventually(lambda: figure(http, 'hotsku_item_sold{sku="a"}') == 90, "the ledger has it")
            assert figure(http, 'hotsku_relay_lag_events{sku="a"}') == 0
            assert figure(http, 'hotsku_item_ledger_lag_events{sku="a"}') == 0
            assert (figure(http, 'hotsku_applier_messages_total{result="applied"}') or 0) >= 1
            assert (figure(http, 'hotsku_replenisher_steps_total{step="leases"}') or 0) >= 1
            os.kill(valkey.pid, signal.SIGSTOP)
            try:
                assert figure(http, "hotsku_back_ends_up") == 0
            finally:
                os.kill(valkey.pid, signal.SIGCONT)


async def test_they_tell_how_far_they_are_behind(valkey: TestServer, tmp_path: Path) -> None:
    """Without an applier the ledger stays behind, without a relay everything does."""
    async with hotsku.connect(settings(valkey, tmp_path), workers=False) as stock:
        await stock.create_item("a", 100, partitions=1)
        await stock.deduct_many("a", [{"order_id": f"o-{n}"} for n in range(10)])
        with worker(valkey, tmp_path, "--roles", "replenisher") as http:
            assert figure(http, 'hotsku_item_ledger_lag_events{sku="a"}') == 10


def test_a_metrics_port_that_is_taken(valkey: TestServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = Shell(tmp_path).run(
            "worker", "--metrics-port", str(taken.getsockname()[1]), environment=environment(valkey, tmp_path)
        )
    assert done.status == 2
    assert "metrics-port must be free" in done.err
