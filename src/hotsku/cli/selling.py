"""`hotsku deduct`."""

from typing import Annotated

import typer

from hotsku.cli import exits
from hotsku.cli.orders import Buyer, facts, sentence
from hotsku.cli.output import Output
from hotsku.cli.running import AsJson, Config, Sku, with_stock
from hotsku.domain.deduction import Outcome
from hotsku.engine.inventory import Inventory


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog=exits.HELP)(deduct)


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
        told = facts(deduction)
        output.answer(told, lambda console: console.print(sentence(deduction), markup=False, highlight=False))
        return exits.Exit.DONE if deduction.outcome is Outcome.ACCEPTED else exits.Exit.NO

    return with_stock(config, output, work)
