"""Fixtures that all tests share."""

import gc
import os
import warnings
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings
from msgspec.structs import replace

from hotsku import app
from hotsku.engine.inventory import Inventory
from hotsku.engine.timing import Timing
from hotsku.receipts import Signer
from hotsku.shard.cluster_spec import ClusterSpec
from hotsku.shard.shard import WireShard
from hotsku.stack import Stack
from tests.support.cluster import LocalCluster, running_cluster
from tests.support.sentinel import LocalSentinel, running_sentinel
from tests.support.servers import TestServer, redis_binary, running_server

DEBUG = ("--enable-debug-command", "yes")
# Redis replays a transaction that was torn off its file in half, unless it is told to refuse: see shard/facts.py.
REDIS_7 = (*DEBUG, "--aof-load-truncated", "no")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `hotsku.connect` opens in this process waits longer than a machine stands still now and then."""
    made = app._inventory

    def inventory(stack: Stack, shard: WireShard, signer: Signer | None, timing: Timing) -> Inventory:
        return made(stack, shard, signer, replace(timing, patience_ms=60_000))

    monkeypatch.setattr(app, "_inventory", inventory)
    monkeypatch.setattr("hotsku.shard.shards.CLIENT_TIMEOUT_S", 60.0)
    monkeypatch.setattr("hotsku.shard.cluster._CONNECT_TIMEOUT_S", 60.0)


@pytest.fixture
def valkey() -> Iterator[TestServer]:
    """A Valkey server of the test's own, durable, with DEBUG allowed."""
    with running_server(extra=DEBUG) as server:
        yield server


@pytest.fixture
def valkey_fast() -> Iterator[TestServer]:
    """The same with `durability = "fast"`."""
    with running_server(durability="fast", extra=DEBUG) as server:
        yield server


@pytest.fixture
def redis7() -> Iterator[TestServer]:
    """A Redis server of the test's own, durable; the test is skipped where there is no `redis-server`."""
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server on PATH")
    with running_server(binary=binary, extra=DEBUG) as server:
        yield server


@pytest.fixture(params=["valkey", "redis7"])
def any_server(request: pytest.FixtureRequest) -> TestServer:
    """Each kind of server in turn."""
    server: TestServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="module")
def module_valkey() -> Iterator[TestServer]:
    """One durable Valkey server for all tests of a module: for many small ones that use keys of their own."""
    with running_server(extra=DEBUG) as server:
        yield server


@pytest.fixture(scope="module")
def module_cluster() -> Iterator[LocalCluster]:
    """One Valkey cluster, 3 masters with a replica each, for all tests of a module. See `cluster`."""
    with running_cluster(ClusterSpec(extra=DEBUG)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def module_redis7_cluster() -> Iterator[LocalCluster]:
    """The same of Redis 7; there is no atomic slot migration."""
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server on PATH")
    with running_cluster(ClusterSpec(binary=binary, extra=REDIS_7)) as cluster:
        yield cluster


@pytest.fixture
async def cluster(module_cluster: LocalCluster) -> AsyncIterator[LocalCluster]:
    """The module's cluster; afterwards every node runs again. Who is master may be another than before."""
    yield module_cluster
    await module_cluster.heal()


@pytest.fixture
async def redis7_cluster(module_redis7_cluster: LocalCluster) -> AsyncIterator[LocalCluster]:
    """The same of Redis 7."""
    yield module_redis7_cluster
    await module_redis7_cluster.heal()


@pytest.fixture(scope="module")
def module_sentinel() -> Iterator[LocalSentinel]:
    """A Valkey master with a replica and three sentinels, for all tests of a module."""
    with running_sentinel(extra=DEBUG) as sentinel:
        yield sentinel


settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """aiokafka forgets to close a connection that it is making when it is cancelled, and Python closes it with a
    warning. These tests end brokers in the middle of everything."""
    for item in items:
        if _is_kafka(item):
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """What a test with Kafka leaves behind is collected before another test is blamed for it."""
    yield
    if _is_kafka(item):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def _is_kafka(item: pytest.Item) -> bool:
    return "kafka" in item.nodeid


# What a skipped test begins its reason with where it needs a program that is no server: a browser, another language.
OPTIONAL = "optional: "


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With HOTSKU_REQUIRE_SERVICES=1 no test may be skipped for want of a server: that is a failure there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and _missed_servers(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _missed_servers(terminalreporter):
        terminalreporter.write_line("skipped tests count as failures: HOTSKU_REQUIRE_SERVICES=1", red=True)


def _missed_servers(reporter: pytest.TerminalReporter) -> bool:
    if os.environ.get("HOTSKU_REQUIRE_SERVICES") != "1":
        return False
    return any(OPTIONAL not in str(report.longrepr) for report in reporter.stats.get("skipped", ()))
