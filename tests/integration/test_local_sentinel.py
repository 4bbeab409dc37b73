"""The local master with a replica and sentinels: it comes up, and fails over as asked and after a crash."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from tests.support.sentinel import LocalSentinel, running_sentinel
from tests.support.servers import TestServer, redis_binary

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["valkey", "redis7"])
def sentinel(request: pytest.FixtureRequest) -> Iterator[LocalSentinel]:
    binary: Path | None = None
    if request.param == "redis7" and (binary := redis_binary()) is None:
        pytest.skip("no redis-server on PATH")
    with running_sentinel(binary) as running:
        yield running


def client(server: TestServer) -> "Redis":
    return Redis(unix_socket_path=str(server.socket), decode_responses=True, socket_timeout=60)


async def test_it_fails_over_with_its_data(sentinel: LocalSentinel) -> None:
    assert sentinel.url.startswith("redis+sentinel://127.0.0.1:")
    assert sentinel.url.endswith("/mymaster")
    first, second = await sentinel.master(), await sentinel.replica()
    with client(first) as redis:
        redis.set("kept", "1")
    assert await sentinel.failover() is second
    await sentinel.rejoin()
    assert await sentinel.replica() is first
    with client(second) as redis:
        redis.set("kept", "2")
        assert redis.wait(1, 5000) == 1
    assert await sentinel.crash_failover() is first
    assert not second.runs
    with client(first) as redis:
        assert redis.get("kept") == "2"
    await sentinel.rejoin()
    assert await sentinel.master() is first
    assert await sentinel.replica() is second
