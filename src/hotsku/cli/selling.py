"""`hotsku deduct` and `hotsku order show`."""

from typing import Annotated

import typer

from hotsku.cli import exits
from hotsku.cli.output import Output
from hotsku.cli.running import AsJson, Config, Sku, with_stock
from hotsku.domain.deduction import Deduction, Outcome
from hotsku.engine.inventory import Inventory

_order = typer.Typer(help="Look at orders.", rich_markup_mode=None)

Buyer = Annotated[str, typer.Option(help="Who buys.", metavar="ID")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog=exits.HELP)(deduct)
    app.add_typer(_order, name="order")


def deduct(
    sku: Sku,
    order: Annotated[str | None, typer.Option(help="The order; by default a new one.", metavar="ID")] = None,
    buyer: Buyer = "",
    quantity: Annotated[int, typer.Option(help="Units.")] = 1,
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """Sell units of an item to an order. The same order again is never sold twice: it hears its first answer."""
    output = Output(as_json)

    async def work(stock: Inventory) -> int:
        deduction = await stock.deduct(sku, quantity, order_id=order, buyer_id=buyer)
        output.answer(deduction, lambda console: console.print(sentence(deduction), markup=False, highlight=False))
        return _status(deduction)

    return with_stock(config, output, work)


@_order.command("show", epilog=exits.HELP)
def show(
    sku: Sku,
    order: Annotated[str, typer.Argument(help="The order.", show_default=False)],
    buyer: Buyer = "",
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """Say what became of an order."""
    output = Output(as_json)

    async def work(stock: Inventory) -> int:
        deduction = await stock.order(sku, order, buyer)
        output.answer(deduction, lambda console: console.print(sentence(deduction), markup=False, highlight=False))
        return _status(deduction)

    return with_stock(config, output, work)


def sentence(deduction: Deduction) -> str:
    """A deduction in words."""
    order = f"order {deduction.order_id}" + (f" of buyer {deduction.buyer_id}" if deduction.buyer_id else "")
    if deduction.outcome is Outcome.ACCEPTED:
        earlier = " (by an earlier attempt)" if deduction.replayed else ""
        return f"accepted: {deduction.quantity} of {deduction.sku} to {order}, {deduction.state}{earlier}"
    if deduction.outcome is Outcome.NOT_FOUND:
        hint = "" if deduction.buyer_id else "; was it made with a buyer? then name it with --buyer"
        return f"not found: {deduction.sku} has no {order}{hint}"
    left = "" if deduction.available is None else f", {deduction.available} left"
    return f"{deduction.outcome.replace('_', ' ')}: {deduction.quantity} of {deduction.sku} to {order}{left}"


def _status(deduction: Deduction) -> int:
    return exits.Exit.DONE if deduction.outcome is Outcome.ACCEPTED else exits.Exit.NO
