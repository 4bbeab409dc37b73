"""Streams as the broker, on one server or on a cluster, as the stack wires them."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hotsku.broker.cluster_streams import ClusterStreamsBroker
from hotsku.broker.streams import StreamsBroker
from hotsku.domain.placement import POINTS
from hotsku.ports import Clock
from hotsku.shard.address import Address, addresses
from hotsku.shard.cluster import ClusterTopology, cluster_client
from hotsku.shard.keys import Keys
from hotsku.shard.router import Router
from hotsku.shard_url import parse_shard_url

_SLICES = 4
_TIMEOUT_S = 2.0
# Longer than a machine stands still now and then: what was given up may arrive all the same, and then comes twice.
_PATIENCE_S = 60.0


class OneServerStreams(StreamsBroker):
    """One that can be deleted."""

    async def delete(self) -> None:
        await self._client.delete(*self._slices)


class ClusterStreams(ClusterStreamsBroker):
    """One that can be deleted."""

    async def delete(self) -> None:
        for each in self._slices:
            await self._slots.send(each.slot, "DEL", each.name)


@asynccontextmanager
async def open_streams(url: str, ledger_id: str, clock: Clock) -> AsyncIterator[OneServerStreams | ClusterStreams]:
    """The streams of a ledger on the servers of a `shard_url`, with connections of their own."""
    keys, parsed, reader_id = Keys("hs", ledger_id), parse_shard_url(url), secrets.token_hex(4)
    if parsed.kind == "cluster":
        async with open_router(url) as router:
            names = [keys.topic_slice(number, POINTS) for number in range(POINTS)]
            yield ClusterStreams(router, names, clock, reader_id)
        return
    client = Address(path="/" + parsed.path.lstrip("/")).client(_PATIENCE_S)
    try:
        names = [keys.topic_slice(number, _SLICES) for number in range(_SLICES)]
        yield OneServerStreams(client, names, clock, reader_id)
    finally:
        await client.aclose()


@asynccontextmanager
async def open_router(url: str) -> AsyncIterator[Router]:
    """A router over the cluster of a `shard_url`."""
    nodes = addresses(parse_shard_url(url))
    client = cluster_client(nodes, _TIMEOUT_S)
    topology = ClusterTopology(client, nodes[0])
    try:
        await topology.refresh()
        router = Router(topology, _PATIENCE_S)
        yield router
        router.close()
    finally:
        await topology.close()
        await client.aclose()
