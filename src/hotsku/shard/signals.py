"""Signals over Valkey's publish and subscribe: at most once, never waited for, msgpack on three channels."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

import msgspec
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from hotsku.backoff import Backoff, end_if_cancelled
from hotsku.log import get_logger
from hotsku.ports import Needs, News, Work
from hotsku.shard.keys import Keys
from hotsku.shard.nodes import Nodes

_FAULTS = (RedisError, OSError)  # a TimeoutError is an OSError

# Signals that wait to be sent. Above it the oldest go first: whoever sends one repeats it while it is true.
_MOST_QUEUED = 1_000

# A connection that is silent for so long is asked for a sign of life, and given up after as long again.
_PING_AFTER_S = 2.0

_encode = msgspec.msgpack.Encoder().encode
_log = get_logger("signals")

T = TypeVar("T", Needs, News, Work)


class _Channel(Generic[T]):
    """One channel: its name, the type of its signals, and who listens."""

    def __init__(self, name: str, kind: type[T]) -> None:
        self.name = name
        self._decode: Callable[[bytes], T] = msgspec.msgpack.Decoder(kind).decode
        self.handlers: list[Callable[[T], None]] = []

    def hand_out(self, body: bytes) -> None:
        try:
            signal = self._decode(body)
        except msgspec.MsgspecError as error:
            _log.warning("a malformed signal was ignored", channel=self.name, error=str(error))
            return
        for handler in self.handlers:
            try:
                handler(signal)
            except Exception:  # one listener's fault is not the others'
                _log.exception("a signal's handler failed", channel=self.name)


class ValkeySignals:
    """The `Signals` port. `start` it inside an event loop; `publish` and `subscribe` work before that, too."""

    def __init__(self, nodes: Nodes, keys: Keys) -> None:
        """
        Args:
            nodes: their clients answer in bytes and never retry by themselves; the caller closes them.
        """
        self._nodes = nodes
        self._needs = _Channel(keys.channel("needs"), Needs)
        self._news = _Channel(keys.channel("news"), News)
        self._work = _Channel(keys.channel("work"), Work)
        self._queue: deque[tuple[str, bytes]] = deque(maxlen=_MOST_QUEUED)
        self._queued = asyncio.Event()
        self._listening = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None

    def publish(self, signal: Needs | News | Work) -> None:
        """Queue a signal; it is sent soon, or lost."""
        self._queue.append((self._channel_of(signal), _encode(signal)))
        self._queued.set()

    def subscribe(
        self,
        *,
        needs: Callable[[Needs], None] | None = None,
        news: Callable[[News], None] | None = None,
        work: Callable[[Work], None] | None = None,
    ) -> None:
        """Call these with each signal from now on, also with those that this process publishes."""
        before = self._wanted()
        if needs is not None:
            self._needs.handlers.append(needs)
        if news is not None:
            self._news.handlers.append(news)
        if work is not None:
            self._work.handlers.append(work)
        if self._listener is not None and self._wanted().keys() != before.keys():
            self._listener.cancel()
            self._listener = self._start_listening()

    async def start(self) -> None:
        """Begin to send and to listen. A server that is away is tried again, for ever."""
        self._sender = asyncio.create_task(self._send_queued(), name="signals-send")
        self._listener = self._start_listening()

    async def listening(self) -> None:
        """Wait until the subscriptions stand."""
        await self._listening.wait()

    async def close(self) -> None:
        """Send what is queued if that is possible at once, and end."""
        tasks = [task for task in (self._sender, self._listener) if task is not None]
        self._sender = self._listener = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(*_FAULTS, TimeoutError):
            async with asyncio.timeout(0.5):
                await self._send(self._drain())

    def _channel_of(self, signal: Needs | News | Work) -> str:
        match signal:
            case Needs():
                return self._needs.name
            case News():
                return self._news.name
            case Work():
                return self._work.name

    def _wanted(self) -> "dict[str, Callable[[bytes], None]]":
        channels = (self._needs, self._news, self._work)
        return {channel.name: channel.hand_out for channel in channels if channel.handlers}

    def _drain(self) -> list[tuple[str, bytes]]:
        queued = list(self._queue)
        self._queue.clear()
        self._queued.clear()
        return queued

    async def _send(self, signals: list[tuple[str, bytes]]) -> None:
        if not signals:
            return
        pipe = self._nodes.current().pipeline(transaction=False)
        for name, body in signals:
            pipe.publish(name, body)
        await pipe.execute()

    async def _send_queued(self) -> None:
        backoff = Backoff()
        while True:
            end_if_cancelled()
            await self._queued.wait()
            try:
                await self._send(self._drain())
                backoff.reset()
            except _FAULTS as error:
                _log.debug("signals were dropped", error=str(error))
                self._nodes.give_up()
                await backoff.pause()

    def _start_listening(self) -> "asyncio.Task[None]":
        self._listening.clear()
        return asyncio.create_task(self._listen(), name="signals-listen")

    async def _listen(self) -> None:
        wanted = self._wanted()
        if not wanted:
            self._listening.set()
            return
        backoff = Backoff()
        while True:
            try:
                async with self._nodes.current().pubsub() as subscription:
                    await subscription.subscribe(*wanted)
                    end_if_cancelled()
                    await self._hear(subscription, wanted, backoff)
            except _FAULTS as error:
                _log.debug("the subscription broke", error=str(error))
            self._listening.clear()
            self._nodes.give_up()
            await backoff.pause()

    async def _hear(self, subscription: PubSub, wanted: "dict[str, Callable[[bytes], None]]", backoff: Backoff) -> None:
        """Hand out what comes until the connection breaks, or the server does not even answer a ping."""
        pinged = False
        while True:
            message = await subscription.get_message(timeout=_PING_AFTER_S)
            end_if_cancelled()
            if message is None:
                if pinged:
                    raise TimeoutError("the server is silent")
                pinged = True
                await subscription.ping()
                continue
            pinged = False
            if message["type"] == "message":
                wanted[message["channel"].decode()](message["data"])
            elif message["type"] == "subscribe" and message["data"] == len(wanted):
                self._listening.set()
                backoff.reset()
