"""The workers that `demo` and `replay` bring along where the shard is a server: `python -m hotsku.cli.own_workers`.

They are a process of their own, for they would slow the sale down in ours. It is told the settings on stdin, and ends
in order when that is closed: also when whoever started it was killed.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import uvloop

from hotsku.app import run_worker, unwatched
from hotsku.cli.exits import explain
from hotsku.errors import BackendUnavailable
from hotsku.settings import Settings
from hotsku.worker_counts import counts_file, leaving_counts

_END_PATIENCE_S = 60.0
# What it may be told beside the settings: the folder where it leaves its counts.
COUNTS_FOLDER = "counts_folder"


@asynccontextmanager
async def own_workers(settings: Settings) -> AsyncIterator[None]:
    """Run workers beside us. An embedded folder has a worker process already: there it does nothing."""
    if settings.embedded_folder is not None:
        yield
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "hotsku.cli.own_workers",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        if process.stdin is not None:
            process.stdin.write(settings.model_dump_json(exclude_none=True).encode() + b"\n")
        yield
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_END_PATIENCE_S):
            status = await process.wait()
    except TimeoutError:
        process.kill()
        status = await process.wait()
    if status != 0:
        raise BackendUnavailable(f"the workers ended with status {status}")


async def _work() -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    values: dict[str, object] = msgspec.json.decode(await reader.readline(), type=dict[str, object])
    stop = asyncio.Event()
    hanging_up = asyncio.create_task(_set_at_end(reader, stop))
    folder = values.pop(COUNTS_FOLDER, None)
    watch = leaving_counts(counts_file(Path(str(folder)))) if folder is not None else unwatched
    await run_worker(Settings(None, **values), stop=stop, watch=watch)
    hanging_up.cancel()


async def _set_at_end(reader: asyncio.StreamReader, stop: asyncio.Event) -> None:
    await reader.read()
    stop.set()


def main() -> int:
    """Work until stdin ends. Returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us hears the Ctrl-C, and hangs up
    try:
        uvloop.run(_work())
    except Exception as error:
        line, status = explain(error)
        print(f"hotsku: error: the workers: {line}", file=sys.stderr)
        return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
