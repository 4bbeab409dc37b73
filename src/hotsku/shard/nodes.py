"""Where signals go through: any one server, for a cluster carries what is published at one node to all."""

from typing import Protocol

import redis.asyncio

from hotsku.shard.address import Address
from hotsku.shard.topology import Topology


class Nodes(Protocol):
    """Gives a client, and another one when that fails."""

    def current(self) -> redis.asyncio.Redis:
        """The client to use now."""
        ...

    def give_up(self) -> None:
        """The current one does not work."""
        ...


class OneNode:
    """There is no other: its client connects again by itself."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    def current(self) -> redis.asyncio.Redis:
        return self._client

    def give_up(self) -> None:
        """Nothing to change."""


class AnyMaster:
    """A cluster's masters in turn."""

    def __init__(self, topology: Topology, timeout_s: float) -> None:
        self._topology = topology
        self._timeout_s = timeout_s
        self._turn = 0
        self._clients: dict[Address, redis.asyncio.Redis] = {}

    def current(self) -> redis.asyncio.Redis:
        masters = self._topology.masters() or list(self._clients)
        address = masters[self._turn % len(masters)]
        if address not in self._clients:
            self._clients[address] = address.client(self._timeout_s)
        return self._clients[address]

    def give_up(self) -> None:
        self._turn += 1
        self._topology.doubt()

    async def close(self) -> None:
        """Close every client."""
        for client in self._clients.values():
            await client.aclose()
