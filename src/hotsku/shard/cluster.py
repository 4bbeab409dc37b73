"""The topology of a Valkey or Redis Cluster, as redis-py's cluster client reads it (CLUSTER SLOTS, CLUSTER NODES)."""

from collections import defaultdict
from collections.abc import Mapping
from typing import TypedDict, cast

from msgspec.structs import replace
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from hotsku.errors import BackendUnavailable
from hotsku.shard.address import Address
from hotsku.shard.topology import Topology


class _Node(TypedDict):
    """A line of CLUSTER NODES."""

    node_id: str
    flags: str
    master_id: str
    slots: list[list[str]]


# A node that is gone must not hold up the look at the others for long.
_CONNECT_TIMEOUT_S = 1.0


def cluster_client(nodes: list[Address], timeout_s: float) -> RedisCluster:
    """A client for everything but the functions. It follows redirections; what may have happened is not sent again."""
    return RedisCluster(
        startup_nodes=[ClusterNode(node.host, node.port) for node in nodes],
        require_full_coverage=False,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        socket_timeout=timeout_s,
        **nodes[0].client_options(),  # type: ignore[arg-type]  # of many types
    )


class ClusterTopology(Topology):
    """Where a cluster's slots are."""

    def __init__(self, client: RedisCluster, login: Address) -> None:
        """
        Args:
            client: initialized by `refresh`; the caller closes it.
            login: any node's address: all have the same user, password and TLS.
        """
        super().__init__()
        self._client = client
        self._login = login
        self._owners: dict[int, Address] = {}
        self._replicas: dict[Address, list[Address]] = {}  # by master, in the order of their slots

    def owner(self, slot: int) -> Address | None:
        return self._owners.get(slot)

    def masters(self) -> list[Address]:
        return list(self._replicas)

    def replicas(self, master: Address) -> list[Address]:
        return self._replicas.get(master, [])

    def group(self, slot: int) -> int:
        return slot

    def moved(self, slot: int, address: Address) -> None:
        self._owners[slot] = address
        self.doubt()

    async def refresh(self) -> None:
        try:
            if self._replicas:
                await self._client.nodes_manager.initialize()
            else:
                await self._client.initialize()  # the first time it learns the commands, too
            nodes = cast("Mapping[str, _Node]", await self._client.cluster_nodes())
        except (RedisError, RedisClusterException, OSError) as error:
            raise BackendUnavailable(f"no node of the cluster can be reached: {error}") from error
        slots = self._client.nodes_manager.slots_cache
        self._owners = {slot: self.at(owner[0].host, int(owner[0].port)) for slot, owner in sorted(slots.items())}
        living = _replicas_by_slot(nodes)
        self._replicas = {}
        for slot, master in self._owners.items():
            if slot in living:
                self._replicas[master] = [self.at(*each) for each in living[slot]]
            else:
                self._replicas.setdefault(master, [])

    def at(self, host: str, port: int) -> Address:
        """A node's address, with the cluster's login."""
        return replace(self._login, host=host, port=port)


def _replicas_by_slot(nodes: "Mapping[str, _Node]") -> dict[int, list[tuple[str, int]]]:
    """The replicas of each master that the cluster does not hold for dead, by one of the master's slots.

    CLUSTER SLOTS lists a replica only when the asked node has heard how far it is, which on a new cluster takes
    seconds; it may be promoted before that. One that is merely suspected (`fail?`) counts: others may see it well.
    """
    by_master: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for address, node in nodes.items():
        if not {"fail", "noaddr", "handshake"} & set(node["flags"].split(",")):
            by_master[node["master_id"]].append(_host_and_port(address))
    return {int(node["slots"][0][0]): by_master[node["node_id"]] for node in nodes.values() if node["slots"]}


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
