"""The tutorial way: an asyncio Redis client, one Lua call a request, 64 callers, nothing on disk, no idempotency.

It is given every advantage that costs correctness: the script only looks at the stock and takes one unit. Like all
sides it runs on uvloop with hiredis' parser.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio

from hotsku.bench.callers import closed_loop
from hotsku.bench.cpu import CpuMeter
from hotsku.bench.report import Measured
from hotsku.bench.rounds import Plan, Side
from hotsku.bench.servers import running_server
from hotsku.strategies.base import Answer

CALLERS = 64
_STOCK = 1 << 50
_SCRIPT = """
local stock = tonumber(redis.call('GET', KEYS[1]))
if stock < tonumber(ARGV[1]) then return -1 end
return redis.call('DECRBY', KEYS[1], ARGV[1])
"""


@asynccontextmanager
async def tutorial_side(plan: Plan, folder: Path) -> AsyncIterator[Side]:
    """The side, with its server."""
    async with running_server(folder, on_disk=False) as server:
        pool = redis.asyncio.BlockingConnectionPool(
            connection_class=redis.asyncio.UnixDomainSocketConnection,
            path=str(server.spec.socket),
            max_connections=CALLERS,
            timeout=None,
        )
        client = redis.asyncio.Redis.from_pool(pool)
        script = client.register_script(_SCRIPT)
        await client.set("stock", _STOCK)

        async def call(_: int) -> Answer:
            left = await script(keys=["stock"], args=[1])
            return Answer.ACCEPTED if left >= 0 else Answer.SOLD_OUT

        async def side() -> Measured:
            meter = CpuMeter([server.pid])
            return meter.stop(await closed_loop(plan.clock, call, CALLERS, plan.seconds))

        await call(0)
        try:
            yield side
        finally:
            await client.aclose()
