"""What a server says of itself: its settings, its role and its replicas; and whether that is durable."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias, cast

from msgspec import Struct

from hotsku.shard.wire import Reply

Send: TypeAlias = Callable[..., Awaitable[Reply]]

# Without these no mode holds: a server without an append-only file forgets everything, one that evicts forgets orders.
_ALWAYS = {"appendonly": "yes", "maxmemory-policy": "noeviction"}
_DURABLE = {"appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
# Redis cuts only what is torn off its file, and replays the first half of a script whose second half is gone. Valkey
# cuts off the whole script.
_DURABLE_REDIS = {"aof-load-truncated": "no"}
_ASKED = (*_ALWAYS, *_DURABLE, *_DURABLE_REDIS, "min-replicas-to-write")


class Facts(Struct, frozen=True, kw_only=True):
    """One server. `replicas` are (host, port) of those that are connected to it."""

    settings: dict[str, str]
    valkey: bool
    master: bool
    replicas: list[tuple[str, int]]

    @property
    def every_write_synced(self) -> bool:
        """Does every write that it acknowledges survive its crash, as a whole?"""
        return not self.lacks("durable")

    def lacks(self, durability: str) -> dict[str, str]:
        """The settings that the mode needs and the server does not have."""
        wanted = dict(_ALWAYS)
        if durability == "durable":
            wanted |= _DURABLE if self.valkey else _DURABLE | _DURABLE_REDIS
        return {name: value for name, value in wanted.items() if self.settings.get(name) != value}


async def read_facts(send: Send) -> Facts:
    """Ask a server.

    Args:
        send: sends it a command.

    Raises:
        Lost, BackendUnavailable: it does not answer, or may not be asked this.
    """
    flat = cast(list[bytes], await send("CONFIG", "GET", *_ASKED))
    settings = {flat[i].decode(): flat[i + 1].decode() for i in range(0, len(flat), 2)}
    info = cast(bytes, await send("INFO", "server"))
    role = cast(list[Reply], await send("ROLE"))
    master = role[0] == b"master"
    replicas = cast("list[list[bytes]]", role[2]) if master else []
    return Facts(
        settings=settings,
        valkey=b"valkey_version:" in info,
        master=master,
        replicas=[(host.decode(), int(port)) for host, port, _ in replicas],
    )


@asynccontextmanager
async def syncing_every_write(send: Send) -> AsyncIterator[None]:
    """Inside, every write to a server is on disk before its reply, whatever its fsync policy is otherwise."""
    policy = cast(list[bytes], await send("CONFIG", "GET", "appendfsync"))[1]
    if policy == b"always":
        yield
        return
    await send("CONFIG", "SET", "appendfsync", "always")
    try:
        yield
    finally:
        await send("CONFIG", "SET", "appendfsync", policy)
