"""Makes a cluster of new, empty nodes: by the commands that `redis-cli --cluster create` sends as well."""

import asyncio
from collections.abc import Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from hotsku.errors import BackendUnavailable
from hotsku.shard.cluster_node import HOST, ClusterNode
from hotsku.shard.cluster_spec import slots_of
from hotsku.shard.cluster_view import Health, call, clients, look, until, until_agreed


async def form(nodes: Sequence[ClusterNode], masters: int, timeout_s: float) -> dict[ClusterNode, Health]:
    """Give the first `masters` nodes the slots, evenly, and make the others their replicas, in turn.

    Returns:
        how each node sees itself, once all is well.

    Raises:
        BackendUnavailable: a node refuses, or they are not ready in time.
    """
    try:
        async with clients(nodes) as opened:
            asked = list(opened.values())
            await asyncio.gather(*(_give_slots(asked[number], number, masters) for number in range(masters)))
            await _introduce(nodes, asked, timeout_s)
            ids = [str(await call(client, "CLUSTER MYID")) for client in asked[:masters]]
            replicas = enumerate(asked[masters:])
            await asyncio.gather(*(call(c, "CLUSTER REPLICATE", ids[n % masters]) for n, c in replicas))
    except (RedisError, OSError) as error:
        raise BackendUnavailable(f"the cluster cannot be formed: {error}") from None
    return await until_agreed(nodes, timeout_s)


async def _give_slots(client: "Redis", number: int, masters: int) -> None:
    # Epochs that differ from the start; otherwise the nodes would first have to settle who has which.
    await call(client, "CLUSTER SET-CONFIG-EPOCH", number + 1)
    await call(client, "CLUSTER ADDSLOTSRANGE", *slots_of(number, masters))


async def _introduce(nodes: Sequence[ClusterNode], asked: Sequence["Redis"], timeout_s: float) -> None:
    """Let every node meet all that come after it: gossip would do the rest, but takes seconds."""
    for number, client in enumerate(asked):
        for other in nodes[number + 1 :]:
            await call(client, "CLUSTER MEET", HOST, other.port)

    async def lacking() -> str:
        for node, client in zip(nodes, asked, strict=True):
            known = sum(other.well for other in await look(client))
            if known != len(nodes):
                return f"{node.address} knows {known} of {len(nodes)} nodes"
        return ""

    await until(lacking, timeout_s)
