"""Whether the back ends answer, each by its name. Nothing is told of where they are: anybody may ask."""

import asyncio
from collections.abc import Awaitable

from hotsku.errors import HotSKUError
from hotsku.http.shard_numbers import ShardNumbers
from hotsku.ports import Ledger, Lost, Shard

_TIMEOUT_S = 2.0


async def readiness(ledger: Ledger, shard: Shard) -> dict[str, str]:
    """For each back end that selling needs "ok", or what is wrong with it.

    The broker is not among them: while it is away events wait on their shards, and sales go on.
    """
    places = ShardNumbers(shard).places()
    names = [f"shard {number}" for number in places] if len(places) > 1 else ["shard"]
    checks = [_state(ledger.items(None, 1)), *(_state(shard.now_ms(ref)) for ref in places.values())]
    return dict(zip(["ledger", *names], await asyncio.gather(*checks), strict=True))


async def _state(check: Awaitable[object]) -> str:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await check
    except TimeoutError:
        return "does not answer in time"
    except (HotSKUError, Lost):
        return "away"
    return "ok"
