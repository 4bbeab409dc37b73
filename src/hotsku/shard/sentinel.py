"""The topology of a master that sentinels watch over: one server, which changes at a failover."""

from msgspec.structs import replace
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from hotsku.errors import BackendUnavailable
from hotsku.shard.address import Address
from hotsku.shard.topology import Topology
from hotsku.shard_url import ShardUrl

_SENTINEL_TIMEOUT_S = 1.0


def sentinels(url: ShardUrl, login: Address, timeout_s: float) -> Sentinel:
    """redis-py's client of the sentinels. Its masters' clients never send again what may have happened.

    Args:
        timeout_s: how long a master's client waits for a connection, and for a reply.
    """
    tls = {} if login.tls is None else dict(login.tls.client_options())
    asking = {
        "username": url.options.get("sentinel_username"),
        "password": url.options.get("sentinel_password"),
        "socket_timeout": _SENTINEL_TIMEOUT_S,
        "socket_connect_timeout": _SENTINEL_TIMEOUT_S,
        **tls,
    }
    timeouts = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    return Sentinel(  # type: ignore[no-untyped-call]
        list(url.hosts), sentinel_kwargs=asking, **timeouts, **login.client_options()
    )


class SentinelTopology(Topology):
    """Where the master is."""

    def __init__(self, client: Sentinel, name: str, login: Address) -> None:
        """
        Args:
            name: the master's, in the sentinels.
            login: user, password and TLS of the master, whichever server it is.
        """
        super().__init__()
        self._client = client
        self._name = name
        self._login = login
        self._master: Address | None = None
        self._replicas: list[Address] = []

    def owner(self, slot: int) -> Address | None:
        return self._master

    def masters(self) -> list[Address]:
        return [] if self._master is None else [self._master]

    def replicas(self, master: Address) -> list[Address]:
        return self._replicas

    async def refresh(self) -> None:
        try:
            host, port = await self._client.discover_master(self._name)
            replicas = await self._known_replicas()
        except (RedisError, OSError) as error:
            raise BackendUnavailable(f"the sentinels name no master {self._name!r}: {error}") from error
        self._master = self._at(host, port)
        self._replicas = [self._at(*each) for each in replicas if each != (host, port)]

    async def _known_replicas(self) -> list[tuple[object, object]]:
        """All that the sentinels know of, also those that seem dead: on the smaller side of a broken network the other
        side's new master seems dead, and a sale that waits for it is not acknowledged."""
        asked = self._client.sentinels[0]  # the one that has just named the master
        return [(each["ip"], each["port"]) for each in await asked.sentinel_slaves(self._name)]

    def _at(self, host: object, port: object) -> Address:
        return replace(self._login, host=str(host), port=int(str(port)))
