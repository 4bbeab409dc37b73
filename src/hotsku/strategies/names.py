"""Strategies by name."""

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from hotsku.errors import InvalidSettings
from hotsku.strategies.base import Strategy
from hotsku.strategies.cache_aside import CacheAside
from hotsku.strategies.databases.by_url import open_database
from hotsku.strategies.locks.base import SqlStrategy
from hotsku.strategies.locks.guarded import Guarded
from hotsku.strategies.locks.optimistic import Optimistic
from hotsku.strategies.locks.pessimistic import Pessimistic
from hotsku.strategies.locks.skip_locked import SkipLocked
from hotsku.strategies.one_key.strategy import OneKey

DEFAULT_PREFIX = "shop_"
_REDIS_CONNECTIONS = 64
# What is given up ends a whole benchmark, and is not sent again: a machine may stand still for some seconds.
_REDIS_TIMEOUT_S = 60.0

LOCKS: dict[str, type[SqlStrategy]] = {
    "pessimistic": Pessimistic,
    "optimistic": Optimistic,
    "guarded": Guarded,
    "skip_locked": SkipLocked,
}
WITH_REDIS: dict[str, type[CacheAside] | type[OneKey]] = {"cache_aside": CacheAside, "one_key": OneKey}

# `partitions` is an inventory's: see `hotsku.strategies.partitions`.
NAMES = (*LOCKS, *WITH_REDIS, "partitions")


def make_strategy(
    name: str, database_url: str, *, redis_url: str | None = None, prefix: str = DEFAULT_PREFIX
) -> Strategy:
    """A strategy of rungs 1 to 3; open it before use.

    Args:
        name: one of `LOCKS` or `WITH_REDIS`.
        database_url: `sqlite:///…`, `postgresql://…` or `mariadb://…`.
        redis_url: `redis://…` or `unix://…`, for those that need it.
        prefix: of its tables and keys.

    Raises:
        InvalidSettings: an argument is wrong, the database cannot do it, or its driver is not installed.
    """
    if name in LOCKS:
        return LOCKS[name](open_database(database_url, LOCKS[name].connections), prefix)
    if name not in WITH_REDIS:
        raise InvalidSettings(f"strategy must be one of {', '.join((*LOCKS, *WITH_REDIS))}, not {ascii(name)[:40]}")
    if redis_url is None:
        raise InvalidSettings(f"strategy: {name} needs a redis_url")
    return WITH_REDIS[name](open_database(database_url), prefix, _client(redis_url))


def _client(url: str) -> redis.asyncio.Redis:
    # Callers beyond the pool wait for a connection; a call is never sent twice by the client.
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=_REDIS_CONNECTIONS,
        timeout=None,
        socket_timeout=_REDIS_TIMEOUT_S,
        socket_connect_timeout=_REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    return redis.asyncio.Redis.from_pool(pool)
