"""Rung 2: a cache beside the database. Looking at the stock costs the database nothing; every sale still does."""

from typing import cast

import redis.asyncio

from hotsku.strategies.base import Answer, Sale, check_sale, refusal
from hotsku.strategies.databases.base import Database, Row, Session
from hotsku.strategies.locks.guarded import Guarded

# What a cached figure may be wrong by ends with it.
_CACHE_MS = 5000

# Sales of one moment reach the cache in any order: an older figure never overwrites a newer one.
_REFRESH = """
local cached = redis.call('GET', KEYS[1])
if cached and tonumber(string.match(cached, '^%d+')) >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[2], 'PX', ARGV[3])
return 1
"""


class CacheAside(Guarded):
    """Reads the stock from Redis, deducts in SQL by guarded updates, and refreshes the cache after each change.

    The cache spares the database the crowd that comes after the last unit: who finds too little there is only looked up
    among the orders. The write path is as slow as rung 1, and a read of the row and a call to Redis slower. The two
    drift: until a refresh has come, and after one that a crash swallowed for up to 5 s, the cache says too much (then
    SQL refuses) or, after a release, too little.
    """

    def __init__(self, database: Database, prefix: str, client: redis.asyncio.Redis) -> None:
        super().__init__(database, prefix)
        self._client = client
        self._write_cache = client.register_script(_REFRESH)
        self._read = f"SELECT version, stock FROM {prefix}items WHERE id = :item"

    async def close(self) -> None:
        """Disconnect from both."""
        await super().close()
        await self._client.aclose()

    async def erase(self) -> None:
        """Drop the tables and the cache."""
        await super().erase()
        keys = [key async for key in self._client.scan_iter(match=f"{self._prefix}:stock:*")]
        if keys:
            await self._client.delete(*keys)

    async def deduct(self, sku: str, quantity: int, order_id: str, buyer_id: str) -> Answer:
        """Sell to an order."""
        sale = check_sale(sku, quantity, order_id, buyer_id)
        item = await self._item(sku)
        left = await self._cached(item)
        if left is not None and left < quantity:
            earlier = await self._database.statements(lambda session: self._earlier(session, item, sale))
            return earlier or refusal(left)
        return await self._sell(item, sale)

    async def release(self, sku: str, order_id: str, buyer_id: str) -> bool:
        """Give an order's units back."""
        released = await super().release(sku, order_id, buyer_id)
        if released:
            await self._refresh(await self._item(sku))
        return released

    async def _sell(self, item: int, sale: Sale) -> Answer:
        answer = await super()._sell(item, sale)
        await self._refresh(item)
        return answer

    async def _cached(self, item: int) -> int | None:
        cached = await self._client.get(self._key(item))
        return None if cached is None else int(cast(bytes, cached).partition(b":")[2])

    async def _refresh(self, item: int) -> int:
        def read(session: Session) -> Row:
            return session.rows(self._read, {"item": item})[0]

        version, left = await self._database.statements(read)
        await self._write_cache(keys=[self._key(item)], args=[version, left, _CACHE_MS])
        return left

    def _key(self, item: int) -> str:
        return f"{self._prefix}:stock:{item}"
