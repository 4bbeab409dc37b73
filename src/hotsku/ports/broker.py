"""The message queue."""

from collections.abc import AsyncGenerator
from typing import Protocol

from hotsku.domain.events import PartitionRef


class Delivery(Protocol):
    """One message that a consumer has received."""

    @property
    def body(self) -> bytes: ...

    async def ack(self) -> None: ...


class Broker(Protocol):
    """The message queue: at least once, and nothing depends on it keeping what it got."""

    async def publish(self, ref: PartitionRef, body: bytes) -> None: ...
    def consume(self) -> AsyncGenerator[Delivery, None]: ...
    async def close(self) -> None: ...
