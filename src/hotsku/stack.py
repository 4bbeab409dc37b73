"""Opens the back ends that the settings name: the shard, the ledger, the broker, the signals."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import redis.asyncio
from msgspec import Struct
from redis.exceptions import RedisError

from hotsku.broker.streams import StreamsBroker
from hotsku.clock import SystemClock
from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.ledger.ledger import SqlLedger, open_ledger
from hotsku.ports import Clock
from hotsku.settings import Settings
from hotsku.shard import library
from hotsku.shard.address import Address, parse_address
from hotsku.shard.keys import Keys
from hotsku.shard.shard import WireShard
from hotsku.shard.signals import ValkeySignals
from hotsku.shard.wire import Pipe, Wire

TOPIC_SLICES = 4
# Longer than a batch's deadline on the shard, so that a call given up on is one that does nothing any more.
_CALL_TIMEOUT_S = 3.0

AddressOf = Callable[[], Address]


class Stack(Struct, frozen=True):
    """The back ends, opened."""

    settings: Settings
    clock: Clock
    ledger: SqlLedger
    client: redis.asyncio.Redis
    signals: ValkeySignals
    keys: Keys
    address_of: AddressOf

    def shard(self) -> WireShard:
        """A connection of its own to the shard; the caller closes it."""

        async def open_wherever_it_is_now(factory: Callable[[], Pipe]) -> tuple[asyncio.BaseTransport, Pipe]:
            return await self.address_of().open(factory)  # an embedded server's socket may move when it restarts

        return WireShard(Wire(open_wherever_it_is_now, self.address_of().greeting(), _CALL_TIMEOUT_S), self.keys)

    def broker(self) -> StreamsBroker:
        """The message queue."""
        slices = [self.keys.topic_slice(number) for number in range(TOPIC_SLICES)]
        return StreamsBroker(self.client, slices, self.clock, secrets.token_hex(8))


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
    address_of = shard_address(settings, socket_of)
    async with AsyncExitStack() as exits:
        ledger = await asyncio.to_thread(open_ledger, settings.ledger_url, clock=clock, token_hex=secrets.token_hex)
        exits.push_async_callback(ledger.close)
        client = address_of().client()
        exits.push_async_callback(client.aclose)
        keys = Keys(settings.namespace, ledger.ledger_id)
        try:
            await library.load_where_absent(client)
            await _claim(client, keys)
            await _check_durability(client, settings)
        except (RedisError, OSError) as error:
            raise BackendUnavailable(f"the shard cannot be reached: {error}") from error
        signals = ValkeySignals(client, keys)
        await signals.start()
        exits.push_async_callback(signals.close)
        yield Stack(settings, clock, ledger, client, signals, keys, address_of)


def shard_address(settings: Settings, socket_of: Callable[[], Path] | None) -> AddressOf:
    """Tells where the shard is now: an embedded server's socket may move when it restarts."""
    if socket_of is not None:
        return lambda: Address(path=str(socket_of()))
    address = parse_address(settings.shard_url)
    return lambda: address


async def _claim(client: redis.asyncio.Redis, keys: Keys) -> None:
    """One ledger, one shard set: a second ledger in the same namespace is refused."""
    await client.set(keys.owner, keys.ledger_id, nx=True)
    found = await client.get(keys.owner)
    owner = found.decode() if isinstance(found, bytes) else found
    if owner != keys.ledger_id:
        raise InvalidSettings(
            f"namespace: {keys.namespace!r} on this shard belongs to another ledger ({owner}); "
            "choose another namespace or the ledger that it belongs to"
        )


async def _check_durability(client: redis.asyncio.Redis, settings: Settings) -> None:
    wanted = {"appendonly": "yes", "maxmemory-policy": "noeviction"}
    if settings.durability == "durable":
        wanted |= {"appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
        if "valkey_version" not in await client.info("server"):
            wanted["aof-load-truncated"] = "no"  # Redis 7.0 replays half a script from a torn file
    found = await client.config_get(*wanted)
    for name, value in wanted.items():
        if found.get(name) != value:
            raise InvalidSettings(
                f"durability: {settings.durability} needs {name} {value} on the shard, which has {found.get(name)}"
            )
