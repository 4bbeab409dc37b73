"""One server's address: a unix socket or TCP, who logs in there, and how to open it."""

import asyncio
import ssl
from typing import TYPE_CHECKING

import redis.asyncio
from msgspec import Struct
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from hotsku.shard_url import ShardUrl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hotsku.shard.wire import Argument, Pipe

CLIENT_TIMEOUT_S = 5.0


class Tls(Struct, frozen=True):
    """The files of a TLS connection; without `ca_certs` the system's authorities are trusted."""

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    check_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """For a bare connection."""
        context = ssl.create_default_context(cafile=self.ca_certs)
        context.check_hostname = self.check_hostname
        if self.certfile is not None:
            context.load_cert_chain(self.certfile, self.keyfile)
        return context

    def client_options(self) -> "Mapping[str, str | bool | None]":
        """For redis-py's clients."""
        return {
            "ssl": True,
            "ssl_ca_certs": self.ca_certs,
            "ssl_certfile": self.certfile,
            "ssl_keyfile": self.keyfile,
            "ssl_check_hostname": self.check_hostname,
        }


class Address(Struct, frozen=True):
    """One server's address. `path` is a unix socket; without it, `host` and `port` are TCP."""

    path: str | None = None
    host: str = "127.0.0.1"
    port: int = 6379
    username: str | None = None
    password: str | None = None
    tls: Tls | None = None

    @property
    def name(self) -> str:
        """For people."""
        return self.path or f"{self.host}:{self.port}"

    async def open(self, factory: "Callable[[], Pipe]") -> "tuple[asyncio.BaseTransport, Pipe]":
        """Open a transport for a bare connection."""
        loop = asyncio.get_running_loop()
        if self.path is not None:
            return await loop.create_unix_connection(factory, self.path)
        context = None if self.tls is None else self.tls.context()
        return await loop.create_connection(factory, self.host, self.port, ssl=context)

    def greeting(self) -> "list[tuple[Argument, ...]]":
        """The commands that a bare connection starts with."""
        if self.password is None:
            return []
        return [("AUTH", self.username or "default", self.password)]

    def client(self, timeout_s: float = CLIENT_TIMEOUT_S) -> redis.asyncio.Redis:
        """A full client for everything but the functions. It never retries: a timed-out call may have happened.

        Args:
            timeout_s: how long it waits for a connection, and for a reply.
        """
        where = {"unix_socket_path": self.path} if self.path is not None else {"host": self.host, "port": self.port}
        timeouts = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
        client = redis.asyncio.Redis(**where, **timeouts, **self.client_options())  # type: ignore[arg-type]  # of many types
        client.connection_pool.connection_kwargs["socket_connect_timeout"] = timeout_s  # Redis does so for TCP alone
        return client

    def client_options(self) -> "dict[str, object]":
        """What redis-py's clients are told but for where the server is."""
        tls = {} if self.tls is None else self.tls.client_options()
        return {"username": self.username, "password": self.password, "retry": never_again(), **tls}


def never_again() -> Retry:
    """redis-py's clients send a command again by themselves, ten times, unless they are told so."""
    return Retry(NoBackoff(), 0)


def addresses(url: ShardUrl) -> list[Address]:
    """The addresses that a shard URL names."""
    if url.kind == "server" and url.path:
        return [Address(path=url.path)]
    tls = None
    if url.tls:
        tls = Tls(
            ca_certs=url.options.get("ssl_ca_certs"),
            certfile=url.options.get("ssl_certfile"),
            keyfile=url.options.get("ssl_keyfile"),
            check_hostname=url.options.get("ssl_check_hostname", "true") == "true",
        )
    return [Address(None, host, port, url.username, url.password, tls) for host, port in url.hosts]
