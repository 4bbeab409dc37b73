"""Both clients of the gateway behind one face, so that a test is written once for both."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hotsku.client import BlockingClient, Client

TWINS = ("asyncio", "blocking")


class Twin:
    """A client whose methods are awaited, whichever it is."""

    def __init__(self, client: Client | BlockingClient) -> None:
        self._client = client

    async def __call__(self, method: str, *arguments: object, **named: object) -> Any:
        """Call the method of this name."""
        call = getattr(self._client, method)
        if isinstance(self._client, Client):
            return await call(*arguments, **named)
        return await asyncio.to_thread(call, *arguments, **named)


@asynccontextmanager
async def twin(kind: str, url: str, **settings: Any) -> AsyncIterator[Twin]:
    """A client of the kind, at the URL."""
    if kind == "asyncio":
        async with Client(url, **settings) as client:
            yield Twin(client)
    else:
        with BlockingClient(url, **settings) as blocking:
            yield Twin(blocking)
