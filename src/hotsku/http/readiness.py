"""Whether the back ends answer, each by its name. Nothing is told of where they are: anybody may ask."""

import asyncio
from collections.abc import Awaitable

from hotsku.domain.events import PartitionRef
from hotsku.domain.placement import POINTS
from hotsku.errors import HotSKUError
from hotsku.ports import Ledger, Lost, Shard

_TIMEOUT_S = 2.0


async def readiness(ledger: Ledger, shard: Shard) -> dict[str, str]:
    """For each back end that selling needs "ok", or what is wrong with it.

    The broker is not among them: while it is away events wait on their shards, and sales go on.
    """
    servers = _one_ref_a_server(shard)
    checks = [_state(ledger.items(None, 1)), *(_state(shard.now_ms(ref)) for ref in servers.values())]
    return dict(zip(["ledger", *servers], await asyncio.gather(*checks), strict=True))


def _one_ref_a_server(shard: Shard) -> dict[str, PartitionRef]:
    """A partition's place on each server, by a name that tells nothing of the server."""
    refs: dict[str, PartitionRef] = {}
    for number in range(POINTS):
        ref = PartitionRef(0, number)
        refs.setdefault(shard.name_of(ref), ref)
    names = [f"shard {number}" for number in range(1, len(refs) + 1)] if len(refs) > 1 else ["shard"]
    return dict(zip(names, refs.values(), strict=True))


async def _state(check: Awaitable[object]) -> str:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await check
    except TimeoutError:
        return "does not answer in time"
    except (HotSKUError, Lost):
        return "away"
    return "ok"
