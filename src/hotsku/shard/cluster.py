"""The topology of a Valkey or Redis Cluster, as redis-py's cluster client reads it (CLUSTER NODES)."""

from collections import Counter, defaultdict
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
    hostname: str
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
        self._copies: dict[Address, int] = {}

    def owner(self, slot: int) -> Address | None:
        return self._owners.get(slot)

    def masters(self) -> list[Address]:
        return list(self._replicas)

    def replicas(self, master: Address) -> list[Address]:
        return self._replicas.get(master, [])

    def copies(self, master: Address) -> int:
        return self._copies.get(master, 0)

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
            # One answer for both, owners and replicas: between two, slots may move.
            nodes = cast("Mapping[str, _Node]", await self._client.cluster_nodes())
        except (RedisError, RedisClusterException, OSError) as error:
            raise BackendUnavailable(f"no node of the cluster can be reached: {error}") from error
        found = {node["node_id"]: self._address(name, node) for name, node in nodes.items()}
        replicas = _living_replicas(nodes)
        followers = Counter(node["master_id"] for node in nodes.values())
        self._owners, self._replicas, self._copies = {}, {}, {}
        for node in sorted(nodes.values(), key=_first_slot):
            if node["slots"]:
                master = found[node["node_id"]]
                self._replicas[master] = [found[replica] for replica in replicas[node["node_id"]]]
                self._copies[master] = followers[node["node_id"]]
                for low, *high in node["slots"]:
                    self._owners.update(dict.fromkeys(range(int(low), int((high or [low])[-1]) + 1), master))

    def _address(self, name: str, node: "_Node") -> Address:
        """By its name where the cluster tells clients names (`cluster-preferred-endpoint-type`), else by its number."""
        host, _, port = name.rpartition(":")
        named = node["hostname"] and f"{node['hostname']}:{port}" in self._client.nodes_manager.nodes_cache
        return self.at(node["hostname"] if named else host.strip("[]"), int(port))

    def at(self, host: str, port: int) -> Address:
        """A node's address, with the cluster's login."""
        return replace(self._login, host=host, port=port)


def _living_replicas(nodes: "Mapping[str, _Node]") -> defaultdict[str, list[str]]:
    """The ids of each master's replicas that the cluster does not hold for dead.

    CLUSTER SLOTS lists a replica only when the asked node has heard how far it is, which on a new cluster takes
    seconds; it may be promoted before that. One that is merely suspected (`fail?`) counts: others may see it well.
    """
    by_master: defaultdict[str, list[str]] = defaultdict(list)
    for node in nodes.values():
        if not {"fail", "noaddr", "handshake"} & set(node["flags"].split(",")):
            by_master[node["master_id"]].append(node["node_id"])
    return by_master


def _first_slot(node: _Node) -> int:
    return int(node["slots"][0][0]) if node["slots"] else -1
