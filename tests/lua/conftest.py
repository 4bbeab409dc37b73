"""One server of each kind for the many tests; those that kill, flush or reload take one of their own (`server`)."""

from collections.abc import Callable, Iterator

import pytest
import redis

from tests.lua import timed
from tests.lua.partition import Partition, connect
from tests.support.servers import TestServer, redis_binary, running_server

KINDS = ["valkey", "redis7"]
DEBUG = ("--enable-debug-command", "yes")


def _start(kind: str) -> Iterator[TestServer]:
    binary = redis_binary() if kind == "redis7" else None
    if kind == "redis7" and binary is None:
        pytest.skip("no redis-server on PATH")
    # What a function decides does not depend on fsync; the tests that restart a server choose their own.
    with running_server(binary=binary, durability="fast", extra=DEBUG) as server:
        yield server


@pytest.fixture(scope="session", params=KINDS)
def shared_server(request: pytest.FixtureRequest) -> Iterator[TestServer]:
    """A server that nobody may kill, flush or reload."""
    yield from _start(request.param)


@pytest.fixture
def shared(shared_server: TestServer) -> Iterator[Callable[..., Partition]]:
    """Makes partitions on the shared server: `shared(limit=2, stock=100)`. Each test finds it empty."""
    with connect(shared_server) as client:
        yield lambda **options: Partition.begun(client, **options)
        client.delete(*(client.keys("*") or ["none"]))


@pytest.fixture(params=KINDS)
def timed_client(request: pytest.FixtureRequest) -> Iterator["redis.Redis"]:
    """A client of a server of the test's own, whose time the test sets: see `timed`."""
    for server in _start(request.param):
        with connect(server) as client:
            timed.load(client)
            yield client


@pytest.fixture
def still(timed_client: "redis.Redis") -> Callable[..., Partition]:
    """Makes partitions on a server whose time stands still: the clock that a test gives its partition is the time."""
    timed.set_time(timed_client, 1_700_000_000_000)
    return lambda **options: Partition.begun(timed_client, **options)


@pytest.fixture
def partition(shared: Callable[..., Partition]) -> Partition:
    """A partition of 100 units (lease 1 in one bucket), without limit, on the shared server."""
    return shared(stock=100)


@pytest.fixture
def server(any_server: TestServer) -> TestServer:
    """A durable server of the test's own, of each kind in turn."""
    return any_server
