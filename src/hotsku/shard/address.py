"""Where a shard is: a unix socket or a TCP address, and how to open it."""

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import redis.asyncio
from msgspec import Struct
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from hotsku.errors import InvalidSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotsku.shard.wire import Argument, Pipe

DEFAULT_PORT = 6379


class Address(Struct, frozen=True):
    """One shard's address. `path` is a unix socket; without it, `host` and `port` are TCP."""

    path: str | None = None
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    username: str | None = None
    password: str | None = None

    async def open(self, factory: "Callable[[], Pipe]") -> "tuple[asyncio.BaseTransport, Pipe]":
        """Open a transport for a bare connection."""
        loop = asyncio.get_running_loop()
        if self.path is not None:
            return await loop.create_unix_connection(factory, self.path)
        return await loop.create_connection(factory, self.host, self.port)

    def greeting(self) -> "list[tuple[Argument, ...]]":
        """The commands that a bare connection starts with."""
        if self.password is None:
            return []
        return [("AUTH", self.username or "default", self.password)]

    def client(self) -> redis.asyncio.Redis:
        """A full client for everything but the functions. It never retries: a timed-out call may have happened."""
        retry = Retry(NoBackoff(), 0)
        if self.path is not None:
            return redis.asyncio.Redis(
                unix_socket_path=self.path, username=self.username, password=self.password, retry=retry
            )
        return redis.asyncio.Redis(
            host=self.host, port=self.port, username=self.username, password=self.password, retry=retry
        )


def parse_address(url: str) -> Address:
    """The address in `unix://PATH`, `redis://[user:password@]host[:port]` or `valkey://...`.

    Raises:
        InvalidSettings: it is none of these.
    """
    parts = urlsplit(url)
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if parts.scheme == "unix":
        return Address(path=unquote(parts.path), username=username, password=password)
    if parts.scheme in ("redis", "valkey"):
        if parts.path not in ("", "/", "/0"):
            raise InvalidSettings("shard_url: the database must be 0, as on a cluster")
        try:
            port = parts.port or DEFAULT_PORT
        except ValueError:
            raise InvalidSettings("shard_url: the port must be an integer from 1 to 65535") from None
        return Address(host=parts.hostname or "127.0.0.1", port=port, username=username, password=password)
    raise InvalidSettings("shard_url must be embedded:PATH, unix://PATH, redis://HOST[:PORT] or valkey://HOST[:PORT]")
