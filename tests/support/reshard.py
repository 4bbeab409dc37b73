"""Moves slots from one master to another, in the two ways that there are."""

from collections.abc import Iterable, Mapping
from typing import cast

from redis.asyncio import Redis

from hotsku.shard.cluster_node import HOST, ClusterNode
from hotsku.shard.cluster_view import call, clients, until
from hotsku.shard.probe import Login

_TIMEOUT_MS = 60_000
_PATIENCE_S = 90.0
_KEYS_A_CALL = 100


async def classic(
    slots: Iterable[int],
    source: ClusterNode,
    target: ClusterNode,
    ids: Mapping[ClusterNode, str],
    login: Login | None = None,
) -> None:
    """Slot by slot and key by key. Meanwhile the source answers ASK for the keys that it has no longer.

    Args:
        ids: of all masters.
    """
    async with clients(list(ids)) as opened:
        for slot in slots:
            await _set(opened[target], slot, "IMPORTING", ids[source])
            await _set(opened[source], slot, "MIGRATING", ids[target])
            await _move_keys(opened[source], slot, target.port, login)
            # The target first: if we died in between, it would have to tell the others.
            for node in sorted(ids, key=lambda node: (node is not target, node is not source)):
                await _set(opened[node], slot, "NODE", ids[target])


async def _set(node: "Redis", slot: int, word: str, whose: str) -> None:
    """Again where the node's replicas were not heard in time, as after a while in which all stood still."""

    async def lacking() -> str:
        await call(node, "CLUSTER SETSLOT", slot, word, whose)
        return ""

    await until(lacking, _PATIENCE_S)


async def _move_keys(source: "Redis", slot: int, port: int, login: Login | None) -> None:
    who = ("AUTH2", *login) if login else ()
    while keys := cast(list[str], await call(source, "CLUSTER GETKEYSINSLOT", slot, _KEYS_A_CALL)):
        await call(source, "MIGRATE", HOST, port, "", 0, _TIMEOUT_MS, *who, "KEYS", *keys)


async def atomic(first: int, last: int, source: ClusterNode, target_id: str) -> None:
    """A range at once: the target gets a copy, follows the writes, and takes over in one step."""
    async with source.client() as client:
        await call(client, "CLUSTER MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", target_id)

        async def lacking() -> str:
            newest = await newest_migration(client)
            assert newest["state"] not in ("failed", "cancelled"), newest
            return "" if newest["state"] == "success" else f"the migration is {newest['state']}"

        await until(lacking, _PATIENCE_S)


async def newest_migration(client: "Redis") -> dict[str, str]:
    """How the last migration of a node's slots stands."""
    newest, *_ = cast(list[dict[str, str]], await call(client, "CLUSTER GETSLOTMIGRATIONS"))
    return newest
