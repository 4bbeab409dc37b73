"""Fixtures that all tests share."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.servers import TestServer, redis_binary, running_server

DEBUG = ("--enable-debug-command", "yes")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


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


settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With HOTSKU_REQUIRE_SERVICES=1 no test may be skipped: a missing server is a failure there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("HOTSKU_REQUIRE_SERVICES") == "1" and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("HOTSKU_REQUIRE_SERVICES") == "1" and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("skipped tests count as failures: HOTSKU_REQUIRE_SERVICES=1", red=True)
