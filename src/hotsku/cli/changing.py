"""`hotsku item restock | pause | resume | close`."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from hotsku.cli import exits
from hotsku.cli.output import Output
from hotsku.cli.running import AsJson, Config, Sku, with_stock
from hotsku.cli.tables import show_item
from hotsku.engine.inventory import Inventory
from hotsku.managing import StateChange

_SAID = {"open": "on sale", "paused": "paused", "closed": "closed"}


def register(group: typer.Typer) -> None:
    """Add the commands to the group of items."""
    for command in (restock, pause, resume, close):
        group.command(epilog=exits.HELP)(command)


def restock(
    sku: Sku,
    quantity: Annotated[int, typer.Option(help="Units that come; negative: that go.", show_default=False)],
    adjustment: Annotated[
        str | None,
        typer.Option(help="Names it: the same again does nothing more. By default a new one.", metavar="ID"),
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """Add units to an item, or take some away, but never what is sold or held."""
    output = Output(as_json)
    adjustment_id = adjustment or secrets.token_hex(8)

    async def work(stock: Inventory) -> int:
        output.say(f"hotsku: restock {adjustment_id}")
        view = await stock.restock(sku, quantity, adjustment_id)
        output.answer(view, lambda console: show_item(console, view))
        return exits.Exit.DONE

    return with_stock(config, output, work)


def pause(sku: Sku, as_json: AsJson = False, config: Config = None) -> int:
    """Sell nothing more until it is resumed; orders that were accepted go on."""
    return _change(as_json, config, lambda stock: stock.pause(sku))


def resume(sku: Sku, as_json: AsJson = False, config: Config = None) -> int:
    """Sell a paused item again."""
    return _change(as_json, config, lambda stock: stock.resume(sku))


def close(sku: Sku, as_json: AsJson = False, config: Config = None) -> int:
    """End the sale for good, and take all that is unsold back. Done again, it finishes what could not be done."""
    return _change(as_json, config, lambda stock: stock.close_item(sku))


def _change(as_json: bool, config: Config, call: Callable[[Inventory], Awaitable[StateChange]]) -> int:
    output = Output(as_json)

    async def work(stock: Inventory) -> int:
        change = await call(stock)
        output.answer(change, lambda console: console.print(told(change), markup=False, highlight=False))
        return exits.Exit.UNAVAILABLE if change.unreachable or change.outstanding else exits.Exit.DONE

    return with_stock(config, output, work)


def told(change: StateChange) -> str:
    """A change of an item's state in words."""
    words = f"{change.sku} is {_SAID[change.state]}"
    if change.unreachable:
        names = ", ".join(map(str, change.unreachable))
        words += f"; not reached, and told when they are back: partitions {names}"
    if change.outstanding:
        words += f"; {change.outstanding:,} units are not back in the pool yet, and come by themselves"
    return words
