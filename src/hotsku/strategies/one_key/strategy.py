"""Rung 3: query and deduct in Redis, in one script on one item's keys; SQL follows."""

import asyncio
from contextlib import suppress
from importlib.resources import files

import redis.asyncio
from redis.exceptions import RedisError

from hotsku.domain.routing import order_field
from hotsku.errors import BackendUnavailable, Overloaded
from hotsku.strategies.base import Answer, Count, check_sale, refusal, replay
from hotsku.strategies.databases.base import Database
from hotsku.strategies.locks.guarded import Guarded
from hotsku.strategies.one_key.drain import Drain, first_of
from hotsku.strategies.one_key.keys import ItemKeys, item_keys

_DRAIN_EVERY_S = 0.1
_SCAN = 10_000


class OneKey(Guarded):
    """Decides in Redis, and writes details to SQL in the background.

    The script looks at the order's record, takes the stock, writes the record and appends the detail, at once. One item
    is one slot of one server, so it scales up but never out, and each request is a call of its own. What Redis
    acknowledges before it is on disk dies with it: how much is its `appendfsync`, and then SQL's stock is not to be
    sold from, for it does not know what was sold. So an item whose keys are gone sells nothing.
    """

    def __init__(self, database: Database, prefix: str, client: redis.asyncio.Redis) -> None:
        super().__init__(database, prefix)
        self._client = client
        scripts = files("hotsku.strategies.one_key")
        self._deduct_script = client.register_script(scripts.joinpath("deduct.lua").read_text("utf-8"))
        self._release_script = client.register_script(scripts.joinpath("release.lua").read_text("utf-8"))
        self._drain = Drain(database, prefix, client)
        self._keys: dict[str, ItemKeys] = {}
        self._writer: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def open(self) -> None:
        """Make the tables, and start the background writer."""
        await super().open()
        self._writer = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Write what waits, and disconnect."""
        if self._writer is not None:
            self._closing.set()
            await self._writer
            await self.flush()
        await super().close()
        await self._client.aclose()

    async def erase(self) -> None:
        """Drop the tables and the keys."""
        keys = [key async for key in self._client.scan_iter(match=f"{self._prefix}:*", count=_SCAN)]
        if keys:
            await self._client.delete(*keys)
        self._keys.clear()
        await super().erase()

    async def create(self, sku: str, total: int) -> None:
        """Put an item on sale: in Redis first, so that an item that SQL has was once there."""
        keys = item_keys(self._prefix, sku)
        if await self._known(sku):
            await super().create(sku, total)  # the same again, or a conflict
        else:
            await self._client.set(keys.stock, total, nx=True)
            await super().create(sku, total)
        self._keys[sku] = keys

    async def deduct(self, sku: str, quantity: int, order_id: str, buyer_id: str) -> Answer:
        """Sell to an order."""
        sale = check_sale(sku, quantity, order_id, buyer_id)
        keys = await self._keys_of(sku)
        reply = await self._deduct_script(keys=keys.all, args=[order_field(order_id, buyer_id), quantity])
        answer, detail = first_of(reply)
        if answer == "accepted":
            return Answer.ACCEPTED
        if answer == "replayed":
            return replay(sale, int(detail[2:]), released=detail.startswith("r"))
        if answer == "refused":
            return refusal(int(detail))
        raise BackendUnavailable(f"Redis has lost the item {sku!r}: rebuild its stock before it sells on")

    async def release(self, sku: str, order_id: str, buyer_id: str) -> bool:
        """Give an order's units back."""
        keys = await self._keys_of(sku)
        return bool(await self._release_script(keys=keys.all, args=[order_field(order_id, buyer_id)]))

    async def count(self, sku: str) -> Count:
        """What Redis says is left; the orders of SQL, and the details that are on their way there."""
        await self._keys_of(sku)
        await self.flush()
        ledger = await super().count(sku)
        left = await self._client.get(self._keys[sku].stock)
        return Count(ledger.sold, int(left or 0))

    async def flush(self) -> None:
        """Write every detail that waits."""
        for sku, keys in list(self._keys.items()):
            item = await self._item(sku)
            while await self._drain.drain(item, keys):
                pass

    async def _write(self) -> None:
        # Not by cancellation: the Redis client may swallow one that comes while it looks at a connection.
        while not self._closing.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _DRAIN_EVERY_S)
            with suppress(BackendUnavailable, Overloaded, RedisError):  # what could not be written waits in the stream
                await self.flush()

    async def _keys_of(self, sku: str) -> ItemKeys:
        keys = self._keys.get(sku)
        if keys is None:
            await self._item(sku)  # raises where there is none
            keys = self._keys[sku] = item_keys(self._prefix, sku)
        return keys

    async def _known(self, sku: str) -> bool:
        query = f"SELECT id FROM {self._prefix}items WHERE sku = :sku"
        return bool(await self._database.statements(lambda session: session.rows(query, {"sku": sku})))
