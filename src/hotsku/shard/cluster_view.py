"""How the nodes of a cluster see it, and waiting until they agree and all is well."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from hotsku.domain.placement import SLOTS
from hotsku.errors import BackendUnavailable
from hotsku.shard.cluster_node import ClusterNode

_POLL_S = 0.02
_BAD_FLAGS = frozenset(("fail", "fail?", "handshake", "noaddr"))


class Seen(Struct, frozen=True):
    """A node, as some node of the cluster sees it. `master_id` is empty for a master; `slots` are (first, last)."""

    id: str
    port: int
    master_id: str
    slots: tuple[tuple[int, int], ...]
    well: bool


class Health(Struct, frozen=True):
    """A node, as it sees itself and its cluster. `lacks` says what is not well, and is empty where all is."""

    id: str
    seen: tuple[Seen, ...]
    lacks: str


@asynccontextmanager
async def clients(nodes: Sequence[ClusterNode]) -> AsyncIterator[dict[ClusterNode, "Redis"]]:
    """A client of each node."""
    async with AsyncExitStack() as stack:
        yield {node: await stack.enter_async_context(node.client()) for node in nodes}


async def call(client: "Redis", command: str, *arguments: str | int) -> object:
    """Send an administrative command that the client has no typed method for; text comes back as `str`.

    Raises:
        RedisError, OSError: the node refuses it, or does not answer.
    """
    answer: object = await client.execute_command(command, *arguments)  # type: ignore[no-untyped-call]
    return answer


async def look(client: "Redis") -> tuple[Seen, ...]:
    """How a node sees the cluster, in the order of the ports.

    Raises:
        RedisError, OSError: it does not answer.
    """
    raw = cast(Mapping[str, Mapping[str, object]], await call(client, "CLUSTER NODES"))
    return tuple(sorted((_seen(address, node) for address, node in raw.items()), key=lambda node: node.port))


async def ask(client: "Redis") -> Health:
    """How a node is, and how it sees the cluster.

    Raises:
        RedisError, OSError: it does not answer.
    """
    own_id = str(await call(client, "CLUSTER MYID"))
    cluster = cast(Mapping[str, str], await call(client, "CLUSTER INFO"))
    replication = cast(Mapping[str, object], await client.info("replication"))
    seen = await look(client)
    return Health(own_id, seen, _lacks(own_id, cluster, replication, seen))


async def until_agreed(
    nodes: Sequence[ClusterNode], timeout_s: float, also: Callable[[Health], str] = lambda node: ""
) -> dict[ClusterNode, Health]:
    """Wait until every node of a cluster is well, its replicas are connected, and all see the same.

    Args:
        also: what else a node may lack, as a few words; empty where it lacks nothing.

    Returns:
        how each node sees itself.

    Raises:
        BackendUnavailable: not in time; says what was lacking.
    """
    found: dict[ClusterNode, Health] = {}

    async with clients(nodes) as opened:

        async def lacking() -> str:
            found.clear()
            for node, client in opened.items():
                found[node] = await ask(client)
                lacks = found[node].lacks or also(found[node])
                if lacks:
                    return f"{node.address} {lacks}"
            views = {node.seen for node in found.values()}
            if len(views) > 1 or {node.id for node in found.values()} != {node.id for node in views.pop()}:
                return "the nodes do not see the same cluster yet"
            return ""

        await until(lacking, timeout_s)
    return found


async def until(lacking: Callable[[], Awaitable[str]], timeout_s: float) -> None:
    """Ask again and again until nothing is lacking; a node that does not answer is.

    Raises:
        BackendUnavailable: not within `timeout_s` seconds.
    """
    last = "it was not asked"
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    last = await lacking()
                except (RedisError, OSError) as error:
                    last = f"{type(error).__name__}: {error}"
                if not last:
                    return
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise BackendUnavailable(f"the cluster was not ready in {timeout_s:g} s: {last}") from None


def _seen(address: str, node: Mapping[str, object]) -> Seen:
    flags = frozenset(str(node["flags"]).split(","))
    master_id = str(node["master_id"]).replace("-", "")
    return Seen(
        id=str(node["node_id"]),
        port=int(address.rpartition(":")[2]),
        master_id=master_id,
        slots=tuple((int(slots[0]), int(slots[-1])) for slots in _lists(node["slots"])),
        well=not flags & _BAD_FLAGS,
    )


def _lists(value: object) -> list[list[str]]:
    return value if isinstance(value, list) else []


def _lacks(own_id: str, cluster: Mapping[str, str], replication: Mapping[str, object], seen: tuple[Seen, ...]) -> str:
    if cluster["cluster_state"] != "ok":
        return f"says that the cluster's state is {cluster['cluster_state']}"
    if int(cluster["cluster_slots_ok"]) != SLOTS:
        return f"sees only {cluster['cluster_slots_ok']} slots served"
    lost = [node.port for node in seen if not node.well]
    if lost:
        return f"does not reach {lost[0]}"
    if replication["role"] == "slave":
        return "" if replication["master_link_status"] == "up" else "has no link to its master"
    replicas = sum(node.master_id == own_id for node in seen)
    online = sum(
        isinstance(value, dict) and value.get("state") == "online"
        for name, value in replication.items()
        if name.removeprefix("slave").isdigit()
    )
    return "" if online == replicas else f"has {online} of {replicas} replicas connected"
