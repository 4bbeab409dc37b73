"""The doctor finds what would be in the way of a sale, and names it."""

from pathlib import Path

import pytest
from redis.asyncio import Redis
from tests.support.servers import TestServer, running_server

import hotsku
from hotsku.doctor import Finding, examine
from hotsku.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patient")]


def _settings(server: TestServer, folder: Path, **more: object) -> Settings:
    return Settings(shard_url=server.url, ledger_url=f"sqlite:///{folder}/ledger.db", **more)  # type: ignore[arg-type]


async def _findings(settings: Settings) -> dict[str, Finding]:
    return {finding.what: finding async for finding in examine(settings)}


async def test_all_is_well(valkey: TestServer, tmp_path: Path) -> None:
    settings = _settings(valkey, tmp_path)
    async with hotsku.connect(settings, workers=True) as stock:
        await stock.create_item("sku", 100, partitions=3)
    found = await _findings(settings)
    assert all(finding.ok for finding in found.values())
    assert list(found) == [f"server {valkey.socket}", "ledger", "broker", "partitions", "audit"]
    assert "a sale waits for this server alone" in found[f"server {valkey.socket}"].says
    assert found["partitions"].says == "3 selling"


async def test_a_server_that_keeps_too_little_and_nothing_is_left_behind_there(tmp_path: Path) -> None:
    with running_server(durability="fast") as server:
        found = await _findings(_settings(server, tmp_path))
        says = found[f"server {server.socket}"].says
        assert says == "durability durable needs appendfsync always, not everysec"
        assert not found["stack"].ok
        assert await _is_bare(server)


async def test_a_broker_that_is_away(valkey: TestServer, tmp_path: Path) -> None:
    found = await _findings(_settings(valkey, tmp_path, broker_url="nats://127.0.0.1:1"))
    assert [what for what, finding in found.items() if not finding.ok] == ["broker"]


async def test_a_partition_that_is_fenced(valkey: TestServer, tmp_path: Path) -> None:
    settings = _settings(valkey, tmp_path)
    async with hotsku.connect(settings, workers=False) as stock:
        await stock.create_item("sku", 100, partitions=2)
    valkey.restart()
    found = await _findings(settings)
    assert found["partitions"].says == "2 fenced"
    assert not found["partitions"].ok
    assert not found["audit"].ok


async def _is_bare(server: TestServer) -> bool:
    async with Redis(unix_socket_path=str(server.socket), socket_timeout=60) as client:
        return not await client.function_list() and not await client.keys("*")
