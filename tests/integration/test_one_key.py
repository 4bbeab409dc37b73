"""The strategy with one Redis key: what its background writer does, and what it does when Redis has lost the item."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from tests.support.servers import TestServer

from hotsku.errors import BackendUnavailable
from hotsku.strategies.base import Answer, Count
from hotsku.strategies.names import make_strategy
from hotsku.strategies.one_key.keys import item_keys
from hotsku.strategies.one_key.strategy import OneKey

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop(valkey: TestServer, tmp_path: Path) -> AsyncIterator[OneKey]:
    strategy = _open(valkey, tmp_path)
    await strategy.open()
    yield strategy
    await strategy.close()


def _open(valkey: TestServer, folder: Path) -> OneKey:
    strategy = make_strategy("one_key", f"sqlite:///{folder}/shop.db", redis_url=valkey.url)
    assert isinstance(strategy, OneKey)
    return strategy


def _sql(folder: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        return connection.execute(query).fetchall()


async def test_details_reach_sql_once_with_two_writers_at_once(
    shop: OneKey, valkey: TestServer, tmp_path: Path
) -> None:
    await shop.create("sneaker", 3000)
    answers = [await shop.deduct("sneaker", 1, f"o-{number}", f"u-{number}") for number in range(2500)]
    assert set(answers) == {Answer.ACCEPTED}
    assert await shop.release("sneaker", "o-7", "u-7")
    other = _open(valkey, tmp_path)
    await other.open()
    await other.count("sneaker")
    await asyncio.gather(shop.flush(), other.flush())
    await other.close()
    assert _sql(tmp_path, "SELECT count(*), count(*) FILTER (WHERE state = 2) FROM shop_orders") == [(2500, 1)]
    assert _sql(tmp_path, "SELECT stock, drained FROM shop_items") == [(501, 2501)]


async def test_what_waits_is_written_on_leaving(valkey: TestServer, tmp_path: Path) -> None:
    strategy = _open(valkey, tmp_path)
    await strategy.open()
    await strategy.create("sneaker", 10)
    await strategy.deduct("sneaker", 4, "o-1", "u-1")
    await strategy.close()
    assert _sql(tmp_path, "SELECT stock FROM shop_items") == [(6,)]


async def test_an_item_that_redis_has_lost_sells_nothing(shop: OneKey, valkey: TestServer) -> None:
    await shop.create("sneaker", 10)
    assert await shop.deduct("sneaker", 4, "o-1", "u-1") is Answer.ACCEPTED
    assert await shop.count("sneaker") == Count(sold=4, left=6)
    with redis.Redis(unix_socket_path=str(valkey.socket), socket_timeout=60) as client:
        client.delete(*item_keys("shop_", "sneaker").all)
    with pytest.raises(BackendUnavailable, match="has lost the item"):
        await shop.deduct("sneaker", 1, "o-2", "u-2")
    await shop.create("sneaker", 10)  # the same again must not put 10 units on sale once more
    with pytest.raises(BackendUnavailable, match="has lost the item"):
        await shop.deduct("sneaker", 1, "o-2", "u-2")


async def test_writers_that_race_lose_no_detail(shop: OneKey, valkey: TestServer, tmp_path: Path) -> None:
    """A writer that came too late may have read more than the one before it wrote: that must not be trimmed."""
    await shop.create("sneaker", 3000)
    others = [_open(valkey, tmp_path) for _ in range(3)]
    for other in others:
        await other.open()
        await other.count("sneaker")
    selling = asyncio.gather(*(shop.deduct("sneaker", 1, f"o-{number}", "u") for number in range(3000)))

    async def write(other: OneKey) -> None:
        while not selling.done():
            await other.flush()

    await asyncio.gather(selling, *(write(other) for other in others))
    for other in others:
        await other.close()
    await shop.flush()
    assert _sql(tmp_path, "SELECT count(*) FROM shop_orders") == [(3000,)]
    assert _sql(tmp_path, "SELECT stock, drained FROM shop_items") == [(0, 3000)]
