"""A connection's transport as uvicorn's cycles of request and response have it."""

import asyncio
from collections.abc import Callable


class CycleTransport(asyncio.Transport):
    """A cycle closes it behind the last answer of its connection; whether the client still sends, only the connection
    knows."""

    def __init__(self, transport: asyncio.Transport, hang_up: Callable[[], None]) -> None:
        """
        Args:
            hang_up: ends the connection.
        """
        super().__init__()
        self._transport = transport
        self._hang_up = hang_up

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._hang_up()
