"""One question to a Valkey or Redis server on a unix socket: who are you, and are you ready?"""

import asyncio
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

Login = tuple[str, str]
"""A user's name and password."""


class ServerInfo(Struct, frozen=True):
    """A server as it describes itself. `run_id` is new with every start; a `loading` server answers no commands yet."""

    run_id: str
    pid: int
    loading: bool


def admin_client(socket: Path, login: Login | None = None) -> "Redis":
    """A client for a few administrative commands; it never retries, it waits as long as it
    is let, and answers are text."""
    username, password = login or (None, None)
    client = Redis(
        unix_socket_path=str(socket),
        username=username,
        password=password,
        decode_responses=True,
        single_connection_client=True,
        socket_timeout=None,
        retry=Retry(NoBackoff(), 0),
    )
    client.connection_pool.connection_kwargs["socket_connect_timeout"] = None  # Redis hands it on for TCP alone
    return client


async def probe(socket: Path, timeout_s: float = 1.0, *, login: Login | None = None) -> ServerInfo | None:
    """Ask the server at `socket`; None where nobody answers within `timeout_s` seconds."""
    try:
        async with asyncio.timeout(timeout_s), admin_client(socket, login) as client:
            info = await client.info("server", "persistence")
    except (RedisError, OSError, TimeoutError):
        return None
    return ServerInfo(run_id=str(info["run_id"]), pid=int(info["process_id"]), loading=bool(int(info["loading"])))


async def appendfsync(socket: Path, timeout_s: float = 5.0) -> str:
    """The server's `appendfsync` setting: "always", "everysec" or "no".

    Raises:
        RedisError, OSError, TimeoutError: the server does not answer.
    """
    async with asyncio.timeout(timeout_s), admin_client(socket) as client:
        settings = await client.config_get("appendfsync")
    return str(settings["appendfsync"])


async def shut_down(socket: Path, timeout_s: float = 10.0) -> None:
    """Ask the server to sync its files and to end. It may still run when this returns; silence is fine."""
    with suppress(RedisError, OSError, TimeoutError):
        async with asyncio.timeout(timeout_s), admin_client(socket) as client:
            await client.shutdown(nosave=True)
