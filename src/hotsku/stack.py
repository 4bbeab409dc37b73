"""Opens the back ends that the settings name: the shard, the ledger, the broker, the signals."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import redis.asyncio
from msgspec import Struct
from redis.exceptions import RedisError

from hotsku.broker.cluster_streams import ClusterStreamsBroker
from hotsku.broker.opening import open_broker
from hotsku.broker.streams import StreamsBroker
from hotsku.broker.topic import Topic
from hotsku.clock import SystemClock
from hotsku.domain.placement import POINTS
from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.ledger.ledger import SqlLedger, open_ledger
from hotsku.ports import NO_SPANS, Broker, Clock, Spans
from hotsku.settings import Settings
from hotsku.shard.address import Address
from hotsku.shard.keys import Keys
from hotsku.shard.shard import WireShard
from hotsku.shard.shards import Client, Shards, open_shards
from hotsku.shard.signals import ValkeySignals
from hotsku.tracing.opening import spans_of

# On one server a few slices of the topic do; on a cluster each point has its own, on the shard of its partitions.
TOPIC_SLICES = 4


class Stack(Struct, frozen=True):
    """The back ends, opened."""

    settings: Settings
    clock: Clock
    ledger: SqlLedger
    shards: Shards
    signals: ValkeySignals
    keys: Keys
    spans: Spans = NO_SPANS

    def shard(self) -> WireShard:
        """Connections of its own to the shards; the caller closes it."""
        if self.settings.otel:
            from hotsku.tracing.shard import TracedShard

            return TracedShard(self.shards.router(), self.keys)
        return self.shards.shard(self.keys)

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[Broker]:
        """The message queue, connected.

        Raises:
            InvalidSettings: it refuses us, or lacks what is needed.
            BackendUnavailable: it cannot be reached.
        """
        if self.settings.broker_url != "streams":
            topic = Topic(self.settings.namespace, self.ledger.ledger_id)
            async with open_broker(self.settings.broker_url, topic, self.clock) as broker:
                yield broker
            return
        count = POINTS if self.shards.clustered else TOPIC_SLICES
        slices = [self.keys.topic_slice(number, count) for number in range(count)]
        reader_id = secrets.token_hex(8)
        if isinstance(self.shards.client, redis.asyncio.Redis):
            yield StreamsBroker(self.shards.client, slices, self.clock, reader_id)
            return
        router = self.shards.router()
        try:
            yield ClusterStreamsBroker(router, slices, self.clock, reader_id)
        finally:
            router.close()


@asynccontextmanager
async def open_stack(settings: Settings, socket_of: Callable[[], Path] | None = None) -> AsyncIterator[Stack]:
    """Open the back ends and check that they keep what the settings promise.

    Args:
        socket_of: where an embedded server listens now; None where the shard is at a URL.

    Raises:
        InvalidSettings: a back end is not what the settings say.
        BackendUnavailable: one cannot be reached.
    """
    clock = SystemClock()
    async with AsyncExitStack() as exits:
        ledger = await asyncio.to_thread(open_ledger, settings.ledger_url, clock=clock, token_hex=secrets.token_hex)
        exits.push_async_callback(ledger.close)
        shards = await exits.enter_async_context(open_shards(settings, _address_of(socket_of)))
        keys = Keys(settings.namespace, ledger.ledger_id)
        try:
            await shards.check()  # first: nothing is left behind on a server that is refused
            await shards.prepare()
            await _claim(shards.client, keys)
        except (RedisError, OSError) as error:
            raise BackendUnavailable(f"the shard cannot be reached: {error}") from error
        signals = ValkeySignals(shards.nodes, keys)
        await signals.start()
        exits.push_async_callback(signals.close)
        yield Stack(settings, clock, ledger, shards, signals, keys, spans_of(settings))


@asynccontextmanager
async def open_admin(settings: Settings, socket_of: Callable[[], Path] | None = None) -> AsyncIterator[Shards]:
    """The shards alone, as they are: nothing is loaded or checked.

    Raises:
        BackendUnavailable: none can be reached.
    """
    async with open_shards(settings, _address_of(socket_of)) as shards:
        yield shards


def _address_of(socket_of: Callable[[], Path] | None) -> Callable[[], Address] | None:
    return None if socket_of is None else lambda: Address(path=str(socket_of()))


async def _claim(client: Client, keys: Keys) -> None:
    """One ledger, one shard set: a second ledger in the same namespace is refused."""
    await client.set(keys.owner, keys.ledger_id, nx=True)
    found = await client.get(keys.owner)
    owner = found.decode() if isinstance(found, bytes) else found
    if owner != keys.ledger_id:
        raise InvalidSettings(
            f"namespace: {keys.namespace!r} on this shard belongs to another ledger ({owner}); "
            "choose another namespace or the ledger that it belongs to"
        )
