"""What brokers with servers of their own have in common."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Coroutine
from typing import Generic, TypeVar

from hotsku.broker.link import DEADLINE_S, Link, close_quietly
from hotsku.broker.session import Session, deliveries
from hotsku.broker.topic import Topic
from hotsku.broker_url import BrokerUrl
from hotsku.ports import Clock, Delivery

C = TypeVar("C")


class RemoteBroker(ABC, Generic[C]):
    """The `Broker` port but for `publish`. One connection publishes, and every `consume` has its own."""

    def __init__(self, url: BrokerUrl, topic: Topic, clock: Clock, *, deadline_s: float = DEADLINE_S) -> None:
        """
        Args:
            deadline_s: seconds that `publish` takes at most.
        """
        self._url = url
        self._topic = topic
        self._clock = clock
        self._deadline_s = deadline_s
        self._link = Link(self._open, self._close, deadline_s)

    async def start(self) -> None:
        """Connect, and make what is absent. Raises whatever the library does."""
        await self._link.open()

    def consume(self) -> AsyncGenerator[Delivery, None]:
        """Every message of the slices that this consumer has got, for ever. Outlives every loss at the broker."""
        return deliveries(self._session)

    async def close(self) -> None:
        """Close the connection that publishes; a consumer ends with its `consume`."""
        await self._link.close()

    async def _open(self) -> C:
        connection = await self._connect()
        try:
            await self._declare(connection)
        except BaseException:
            await close_quietly(self._close(connection))
            raise
        return connection

    @abstractmethod
    def _session(self) -> Session: ...

    @abstractmethod
    async def _connect(self) -> C: ...

    @abstractmethod
    async def _declare(self, connection: C) -> None: ...

    @abstractmethod
    def _close(self, connection: C) -> Coroutine[object, object, None]: ...
