"""How a command runs: its common options, its stack, and what Ctrl-C does."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer
import uvloop

from hotsku.app import connect
from hotsku.cli.output import Output
from hotsku.engine.inventory import Inventory
from hotsku.settings import Settings, load_settings

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on one line; words go to stderr.")]
Config = Annotated[Path | None, typer.Option("--config", help="A TOML file with settings.", metavar="FILE")]
Sku = Annotated[str, typer.Argument(help="The item.", show_default=False)]


def run(work: Coroutine[None, None, T]) -> T:
    """Run a command's work on a fast event loop. Ctrl-C cancels it."""
    return uvloop.run(work)


def settings_of(config: Path | None, output: Output) -> Settings:
    """The settings; says on stderr which stack they name."""
    settings = load_settings(config)
    output.say(f"hotsku: {settings.stack}")
    return settings


def with_stock(config: Path | None, output: Output, work: Callable[[Inventory], Awaitable[int]]) -> int:
    """Connect to the configured stack and do `work`. Returns its exit status."""
    settings = settings_of(config, output)

    async def connected() -> int:
        async with connect(settings) as stock:
            return await work(stock)

    return run(connected())


@asynccontextmanager
async def ctrl_c() -> AsyncIterator[asyncio.Event]:
    """Within it, the first Ctrl-C sets the event, for an orderly end; the second cancels."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    pressed = asyncio.Event()

    def on_signal() -> None:
        if pressed.is_set() and task is not None:
            task.cancel()
        pressed.set()

    loop.add_signal_handler(signal.SIGINT, on_signal)
    try:
        yield pressed
    finally:
        loop.remove_signal_handler(signal.SIGINT)
