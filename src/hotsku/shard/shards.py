"""The servers that a `shard_url` names, opened: where the slots are, what the servers promise, and their library."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TypeAlias

import redis.asyncio
from msgspec.structs import replace
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import RedisError

from hotsku.errors import BackendUnavailable, HotSKUError, InvalidSettings
from hotsku.log import get_logger
from hotsku.ports import Lost
from hotsku.settings import Settings
from hotsku.shard import library
from hotsku.shard.address import CLIENT_TIMEOUT_S, Address, addresses
from hotsku.shard.cluster import ClusterTopology, cluster_client
from hotsku.shard.facts import Facts, read_facts
from hotsku.shard.keys import Keys
from hotsku.shard.nodes import AnyMaster, Nodes, OneNode
from hotsku.shard.router import Router
from hotsku.shard.sentinel import SentinelTopology, sentinels
from hotsku.shard.shard import WireShard
from hotsku.shard.topology import OneServer, Topology
from hotsku.shard.wire import Copies, ReplyError, Wire
from hotsku.shard_url import ShardUrl, parse_shard_url

Client: TypeAlias = "redis.asyncio.Redis | RedisCluster"

# Copies answer within this share of a call's timeout, or the call has failed.
_COPIES_SHARE = 0.5
_REFRESH_INTERVAL_S = 2.0

_log = get_logger("shards")


class Shards:
    """One shard set. `client` is redis-py's, for everything but the functions."""

    def __init__(self, settings: Settings, kind: str, topology: Topology, client: Client, nodes: Nodes) -> None:
        """Made by `open_shards`."""
        self.topology = topology
        self.client = client
        self.nodes = nodes
        self._settings = settings
        self._kind = kind
        self._prepared: set[Address] = set()

    def shard(self, keys: Keys) -> WireShard:
        """Connections of its own to the servers; the caller closes it."""
        return WireShard(self.router(), keys)

    def router(self) -> Router:
        """The same without the functions."""
        return Router(self.topology, self._timeout_s, self.copies_of)

    @property
    def clustered(self) -> bool:
        """Whether slots are spread over several servers, so that commands may name keys of one slot alone."""
        return self._kind == "cluster"

    def partition_durability(self) -> str:
        """What a partition that begins now can count on: see `PartitionRow.durability`."""
        if self._settings.durability == "fast":
            return "fast"
        most = max((len(self.topology.replicas(master)) for master in self.topology.masters()), default=0)
        if most == 0 and self._kind not in ("sentinel", "cluster"):
            return "durable"
        acks = self._settings.replica_acks
        return "replicated" if acks is None or acks >= most else "fast"

    def copies_of(self, server: Address) -> Copies | None:
        """What a sale at this server waits for before it is acknowledged."""
        replicas = self._settings.replica_acks
        if replicas is None:
            replicas = len(self.topology.replicas(server)) if self._settings.durability == "durable" else 0
        if not replicas:
            return None
        return Copies(replicas, int(self._timeout_s * _COPIES_SHARE * 1000))

    async def prepare(self) -> None:
        """Load the function library into every master that has none: those at the start, and those that join.

        Raises:
            InvalidSettings: one has another version of it.
            BackendUnavailable: one cannot be reached.
        """
        masters = self.topology.masters()
        # One that went may come back empty.
        self._prepared = self._prepared & set(masters) - self.topology.bare
        self.topology.bare.clear()
        errors: list[HotSKUError] = []
        for master in masters:
            if master not in self._prepared:
                try:
                    async with self._admin(master) as client:
                        await library.load_where_absent(client)
                except (InvalidSettings, BackendUnavailable) as error:
                    errors.append(error)  # the others are prepared all the same
                else:
                    self._prepared.add(master)
        if errors:
            raise errors[0]

    async def replace_library(self) -> None:
        """Load this version of the library into every master that has another one. Their partitions are fenced until
        their memory is proven."""
        for master in self.topology.masters():
            async with self._admin(master) as client:
                if not await library.is_current(client):
                    await library.replace(client)

    async def servers(self) -> list[tuple[Address, Facts | BackendUnavailable]]:
        """Every master and its replicas, with what each says of itself, or why it says nothing."""
        found: list[tuple[Address, Facts | BackendUnavailable]] = []
        for master in self.topology.masters():
            for server in (master, *self.topology.replicas(master)):
                try:
                    found.append((server, await self._facts(server)))
                except BackendUnavailable as error:
                    found.append((server, error))
        return found

    async def check(self) -> None:
        """Check that every server keeps what the settings promise, and say what that is.

        Raises:
            InvalidSettings: one does not.
            BackendUnavailable: a master cannot be reached.
        """
        for master in self.topology.masters():
            facts = await self._facts(master)
            self._check_one(master, facts)
            if isinstance(self.topology, OneServer):
                replicas = [replace(master, path=None, host=host, port=port) for host, port in facts.replicas]
                self.topology.has(replicas)
            for replica in self.topology.replicas(master):
                # One that is away is waited for by no sale; one that is there must keep what it is given.
                with suppress(BackendUnavailable):
                    self._check_one(replica, await self._facts(replica))
            self._say(master, facts)

    @property
    def _timeout_s(self) -> float:
        return self._settings.shard_timeout_ms / 1000

    @asynccontextmanager
    async def _admin(self, server: Address) -> AsyncIterator[redis.asyncio.Redis]:
        client = server.client(_client_timeout_s(self._timeout_s))
        try:
            yield client
        except (RedisError, OSError) as error:
            raise BackendUnavailable(f"the shard {server.name} cannot be reached: {error}") from error
        finally:
            await client.aclose()

    def _check_one(self, server: Address, facts: Facts) -> None:
        for name, value in facts.lacks(self._settings.durability).items():
            raise InvalidSettings(
                f"durability: {self._settings.durability} needs {name} {value} on {server.name}, "
                f"which has {facts.settings.get(name)}"
            )

    def _say(self, master: Address, facts: Facts) -> None:
        copies = self.copies_of(master)
        _log.info(
            "a shard",
            server=master.name,
            appendfsync=facts.settings.get("appendfsync"),
            replicas=len(self.topology.replicas(master)),
            min_replicas_to_write=facts.settings.get("min-replicas-to-write"),
            acknowledged_after=" ".join(str(word) for word in copies.command()) if copies else "its own write",
        )

    async def _facts(self, server: Address) -> Facts:
        wire = Wire(server.open, server.greeting(), self._timeout_s)
        try:
            return await read_facts(wire.call)
        except (Lost, ReplyError) as error:
            raise BackendUnavailable(f"the shard {server.name} does not say what it keeps: {error}") from error
        finally:
            wire.close()


@asynccontextmanager
async def open_shards(settings: Settings, address_of: Callable[[], Address] | None = None) -> AsyncIterator[Shards]:
    """Open the shard set.

    Args:
        address_of: where an embedded server is now.

    Raises:
        BackendUnavailable: it cannot be reached.
    """
    url = parse_shard_url(settings.shard_url)
    async with AsyncExitStack() as exits:
        topology, client, nodes = _open(url, settings.shard_timeout_ms / 1000, address_of, exits)
        exits.push_async_callback(topology.close)
        await topology.refresh()
        if not isinstance(topology, OneServer):
            refreshing = asyncio.create_task(_keep_fresh(topology), name="topology-refresh")
            exits.push_async_callback(_end, refreshing)
        yield Shards(settings, url.kind, topology, client, nodes)


def _open(
    url: ShardUrl, timeout_s: float, address_of: Callable[[], Address] | None, exits: AsyncExitStack
) -> tuple[Topology, Client, Nodes]:
    if address_of is None:
        named = addresses(url)
        if url.kind == "cluster":
            cluster = cluster_client(named, timeout_s)
            exits.push_async_callback(cluster.aclose)
            topology = ClusterTopology(cluster, named[0])
            masters = AnyMaster(topology, _client_timeout_s(timeout_s))
            exits.push_async_callback(masters.close)
            return topology, cluster, masters
        if url.kind == "sentinel":
            watchers = sentinels(url, named[0], _client_timeout_s(timeout_s))
            exits.push_async_callback(_close_all, watchers.sentinels)
            master = watchers.master_for(url.master)
            exits.push_async_callback(master.aclose)
            return SentinelTopology(watchers, url.master, named[0]), master, OneNode(master)
        first = named[0]
        address_of = lambda: first  # noqa: E731  # as short as it is
    client = address_of().client(_client_timeout_s(timeout_s))
    exits.push_async_callback(client.aclose)
    return OneServer(address_of), client, OneNode(client)


async def _keep_fresh(topology: Topology) -> None:
    """Servers come and go without anybody meeting an old topology: a replica, for example."""
    while True:
        await asyncio.sleep(_REFRESH_INTERVAL_S)
        topology.doubt()


def _client_timeout_s(timeout_s: float) -> float:
    """For redis-py's clients, which nobody waits for with a buyer at hand: never less than they had by default."""
    return max(CLIENT_TIMEOUT_S, timeout_s)


async def _close_all(clients: list[redis.asyncio.Redis]) -> None:
    for client in clients:
        await client.aclose()


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
