"""A server process: `python -m hotsku.http.process`.

It is told everything in one line of JSON on stdin, says "ready" on stdout, and ends on SIGTERM or when stdin is closed:
also when whoever started it was killed.
"""

import asyncio
import logging
import signal
import sys

import msgspec
import uvloop
from msgspec import Struct

from hotsku.errors import HotSKUError, InvalidSettings
from hotsku.http.server import ServerOptions, serve
from hotsku.log import log_json
from hotsku.settings import Settings
from hotsku.tracing.opening import exporting

READY = b"ready\n"
BAD_SETTINGS = 2
UNAVAILABLE = 3


class Orders(Struct, frozen=True):
    """The line that it is told."""

    settings: dict[str, object]
    options: ServerOptions


async def _main() -> None:
    stop, started = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    orders = msgspec.json.decode(await reader.readline(), type=Orders)
    waits = [asyncio.create_task(_hang_up(reader, stop)), asyncio.create_task(_say_ready(started))]
    try:
        settings = Settings(None, **orders.settings)
        with exporting(settings):
            await serve(settings, orders.options, stop, started)
    finally:
        for wait in waits:
            wait.cancel()


async def _hang_up(reader: asyncio.StreamReader, stop: asyncio.Event) -> None:
    await reader.read()
    stop.set()


async def _say_ready(started: asyncio.Event) -> None:
    await started.wait()
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()


def main() -> int:
    """Serve. Returns the exit status; an error is one line on stderr."""
    log_json(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of every client that speaks no HTTP
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us hears the Ctrl-C, and hangs up
    try:
        uvloop.run(_main())
    except HotSKUError as error:
        print(f"hotsku: error: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return BAD_SETTINGS if isinstance(error, InvalidSettings) else UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
