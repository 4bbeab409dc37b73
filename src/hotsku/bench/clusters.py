"""Clusters of the benchmark's own, on loopback, and the HotSKU stacks on them."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from hotsku.app import connect
from hotsku.bench.servers import Shop, own_settings
from hotsku.settings import Settings
from hotsku.shard.cluster_launcher import ClusterFolder
from hotsku.shard.cluster_node import ClusterNode
from hotsku.shard.cluster_spec import ClusterSpec
from hotsku.stack import open_stack


@asynccontextmanager
async def open_cluster_shop(
    settings: Settings, folder: Path, masters: int, replicas: int = 0
) -> AsyncIterator[tuple[Shop, ClusterFolder]]:
    """A stack with these settings on a durable cluster of its own, in a folder within `folder`.

    Args:
        replicas: of each master; sales wait for them.
    """
    spec = ClusterSpec(masters=masters, replicas=replicas)
    async with ClusterFolder(folder / secrets.token_hex(3), spec) as cluster:
        own = own_settings(settings, cluster.url, cluster.path)
        async with open_stack(own) as stack, connect(own, workers=False) as stock:
            yield Shop(own, stack, stock, _pids(cluster.nodes[:masters]), _pids(cluster.nodes[masters:])), cluster


def _pids(nodes: Sequence[ClusterNode]) -> list[int]:
    return [node.pid for node in nodes if node.pid is not None]
