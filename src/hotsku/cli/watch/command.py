"""`hotsku watch`: items, or one item's partitions, live."""

import asyncio
from contextlib import suppress
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from hotsku.cli import exits
from hotsku.cli.output import Output
from hotsku.cli.running import AsJson, Config, ctrl_c, with_stock
from hotsku.cli.tables import items_table, partitions_table
from hotsku.engine.inventory import Inventory
from hotsku.engine.views import ItemView, PartitionView
from hotsku.errors import BackendUnavailable

_EVERY_S = 0.5
_MOST_ITEMS = 40


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog=exits.HELP)(watch)


def watch(
    sku: Annotated[str | None, typer.Argument(help="Its partitions; by default all items.", show_default=False)] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """Watch stock, live, until Ctrl-C (exit status 130). With --json: one look, and done."""
    output = Output(as_json)

    async def work(stock: Inventory) -> int:
        items, partitions = await _look(stock, sku)
        if as_json:
            output.answer({"items": items, "partitions": partitions}, lambda _: None)
            return exits.Exit.DONE
        async with ctrl_c() as pressed:
            await _watch(stock, sku, view(items, partitions), output, pressed)
        return exits.Exit.INTERRUPTED

    return with_stock(config, output, work)


async def _watch(
    stock: Inventory, sku: str | None, first: RenderableType, output: Output, pressed: asyncio.Event
) -> None:
    with Live(first, auto_refresh=False, transient=False) as live:
        while not pressed.is_set():
            try:
                live.update(view(*await _look(stock, sku)), refresh=True)
            except BackendUnavailable as error:  # it may heal while we watch
                live.update(Text(f"unavailable: {error}"), refresh=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(pressed.wait(), _EVERY_S)


async def _look(stock: Inventory, sku: str | None) -> tuple[list[ItemView], list[PartitionView]]:
    if sku is None:
        return await stock.items(limit=_MOST_ITEMS), []
    return [await stock.item(sku)], await stock.partitions(sku)


def view(items: list[ItemView], partitions: list[PartitionView]) -> RenderableType:
    """What is on the screen: the items, and the partitions of the one that is watched."""
    if not partitions:
        return items_table(items, f"items ({len(items)})")
    lag = sum(partition.lag for partition in partitions)
    title = f"partitions: {len(partitions)}, the ledger is {lag:,} events behind"
    return Group(items_table(items), partitions_table(partitions, title))
