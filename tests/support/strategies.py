"""Every strategy on every database that answers here, each in tables and keys of its own."""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio

from hotsku.app import connect_to
from hotsku.engine.inventory import Inventory
from hotsku.engine.timing import Timing
from hotsku.errors import BackendUnavailable
from hotsku.settings import Settings
from hotsku.strategies.base import Strategy
from hotsku.strategies.databases.by_url import open_database
from hotsku.strategies.names import make_strategy
from hotsku.strategies.partitions import Partitions

URLS = {
    "postgresql": os.environ.get("HOTSKU_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test"),
    "mariadb": os.environ.get("HOTSKU_TEST_MARIADB_URL", "mariadb://root@127.0.0.1:3306/test"),
    "redis": os.environ.get("HOTSKU_TEST_REDIS_URL", "redis://127.0.0.1:6379"),
}
DATABASES = ("sqlite", "postgresql", "mariadb")
PAIRS = [
    *((name, database) for name in ("pessimistic", "optimistic", "guarded") for database in DATABASES),
    *(("skip_locked", database) for database in ("postgresql", "mariadb")),
    *((name, database) for name in ("cache_aside", "one_key") for database in DATABASES),
    ("partitions", "sqlite"),
]
NEEDS_REDIS = ("cache_aside", "one_key")

# The first buyers wait for stock until the folder's worker process has started. Beside other tests that may take most
# of the 5 s that a buyer has, and nothing in tests of strategies is about how long anybody waits.
PATIENCE_S = 60.0

_known_reasons: dict[str, str | None] = {}


def why_not(name: str, database: str) -> str | None:
    """Why the pair cannot run here, or None."""
    servers = [database] if database != "sqlite" else []
    servers += ["redis"] if name in NEEDS_REDIS else []
    for server in servers:
        if server not in _known_reasons:
            _known_reasons[server] = asyncio.run(_why_silent(server))
        if _known_reasons[server]:
            return _known_reasons[server]
    return None


async def _why_silent(server: str) -> str | None:
    url = URLS[server]
    try:
        if server == "redis":
            client = redis.asyncio.Redis.from_url(url)
            try:
                await client.ping()
            finally:
                await client.aclose()
        else:
            database = open_database(url)
            try:
                await database.statements(lambda session: session.rows("SELECT 1", {}))
            finally:
                await database.close()
    except (BackendUnavailable, redis.exceptions.RedisError, OSError) as error:
        return f"{server} does not answer: {error}"
    return None


@asynccontextmanager
async def running(name: str, database: str) -> AsyncIterator[Strategy]:
    """The strategy, open; everything it made is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="hs-", dir="/tmp"))
    strategy = _make(name, database, folder)
    await strategy.open()
    try:
        yield strategy
    finally:
        try:
            await strategy.erase()
        finally:
            await strategy.close()
            shutil.rmtree(folder, ignore_errors=True)


def _make(name: str, database: str, folder: Path) -> Strategy:
    if name == "partitions":
        return Partitions(lambda: _inventory(folder), partitions=4)
    url = f"sqlite:///{folder}/shop.db" if database == "sqlite" else URLS[database]
    return make_strategy(name, url, redis_url=URLS["redis"], prefix=f"t{secrets.token_hex(4)}_")


@asynccontextmanager
async def _inventory(folder: Path) -> AsyncIterator[Inventory]:
    settings = Settings(shard_url=f"embedded:{folder}/e", ledger_url=f"sqlite:///{folder}/ledger.db")
    async with connect_to(settings, timing=Timing(patience_ms=int(PATIENCE_S * 1000))) as opened:
        yield opened.inventory
