"""Both clients where an answer comes byte by byte, and would take for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from msgspec import Struct
from tests.support.twins import TWINS, twin

from hotsku import BackendUnavailable, OutcomeUnknown

pytestmark = pytest.mark.anyio

_BETWEEN_S = 0.05
_PATIENCE_S = 60
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n"


class _Dripping(Struct):
    """A server whose answers never end. `heard` counts the requests."""

    url: str = ""
    heard: int = 0


@asynccontextmanager
async def _dripping(at_once: bytes) -> AsyncIterator[_Dripping]:
    """A server that answers with this, and then with a space every now and then."""
    dripping, stopped, serving = _Dripping(), asyncio.Event(), set[asyncio.Future[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        done = asyncio.get_running_loop().create_future()
        serving.add(done)
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            dripping.heard += 1
            writer.write(at_once)
            while not stopped.is_set():
                writer.write(b" ")
                await writer.drain()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), _BETWEEN_S)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        done.set_result(None)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    dripping.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield dripping
    finally:
        stopped.set()
        server.close()
        await asyncio.gather(*serving)


@pytest.mark.parametrize("at_once", [_HEAD + b"\r\n", _HEAD + b"x-more:"], ids=["body", "head"])
@pytest.mark.parametrize("kind", TWINS)
async def test_an_answer_that_drips_is_late(kind: str, at_once: bytes) -> None:
    """The client ends at its budget's end, and nobody knows what became of the order."""
    async with _dripping(at_once) as server, twin(kind, server.url, budget_s=1.5, attempt_s=0.7) as stock:
        with pytest.raises((OutcomeUnknown, BackendUnavailable)) as raised:
            await asyncio.wait_for(stock("deduct", "sku", 1, order_id="o-1"), _PATIENCE_S)
        assert not server.heard or isinstance(raised.value, OutcomeUnknown)
