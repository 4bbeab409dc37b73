"""What the composition root does beside putting parts together."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path

import pytest
import redis.asyncio
from tests.support.servers import TestServer

import hotsku
from hotsku.app import _first_of, migrate
from hotsku.settings import Settings
from hotsku.shard import library
from hotsku.shard.shards import open_shards

pytestmark = pytest.mark.anyio


async def _fail() -> None:
    raise OSError("the lock cannot be read")


async def _ever() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("waits", [(_fail, _ever), (_ever, _fail)])
async def test_a_wait_that_fails_is_not_one_that_came_to_its_end(waits: tuple[object, ...]) -> None:
    """A worker that took a failed look at its users for "nobody is left" would stop a server that is in use."""
    coroutines: list[Coroutine[object, object, object]] = [wait() for wait in waits]  # type: ignore[operator]
    with pytest.raises(OSError, match="the lock cannot be read"):
        await _first_of(*coroutines)


@pytest.mark.usefixtures("patient")
async def test_migrate_replaces_another_version_of_the_library_in_a_folder_in_use(tmp_path: Path) -> None:
    settings = Settings(shard_url=f"embedded:{tmp_path}/s", ledger_url=f"sqlite:///{tmp_path}/s/ledger.db")
    async with hotsku.connect(settings, workers=True) as stock:
        await stock.create_item("x", 10)
        client = redis.asyncio.Redis(unix_socket_path=f"{tmp_path}/s/valkey.sock", socket_timeout=60)
        await client.function_load(f"{library.source()}\n-- an older version", replace=True)
        with pytest.raises(hotsku.InvalidSettings, match="hotsku migrate"):
            async with hotsku.connect(settings, workers=False):
                pass
        await migrate(settings)
        assert await library.is_current(client)
        await client.aclose()
        assert (await stock.deduct("x", order_id="o")).outcome == "accepted"  # armed again by itself
        assert (await stock.audit()).ok


@pytest.mark.parametrize(("shard_timeout_ms", "waits_s"), [(3_000, 5.0), (20_000, 20.0)])
async def test_a_client_waits_for_a_reply_as_long_as_a_call_does(
    module_valkey: TestServer, shard_timeout_ms: int, waits_s: float
) -> None:
    """Whoever lets calls take longer has slow servers: they are not done sooner with what is no call."""
    async with open_shards(Settings(shard_url=module_valkey.url, shard_timeout_ms=shard_timeout_ms)) as shards:
        assert isinstance(shards.client, redis.asyncio.Redis)
        options = shards.client.connection_pool.connection_kwargs
        assert (options["socket_timeout"], options["socket_connect_timeout"]) == (waits_s, waits_s)
