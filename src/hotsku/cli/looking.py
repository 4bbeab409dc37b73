"""`hotsku partitions` and `hotsku audit`."""

from typing import Annotated

import typer

from hotsku.cli import exits
from hotsku.cli.audit_table import print_audit
from hotsku.cli.output import Output
from hotsku.cli.running import AsJson, Config, Sku, with_stock
from hotsku.cli.tables import partitions_table
from hotsku.engine.inventory import Inventory


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog=exits.HELP)(partitions)
    app.command(epilog=exits.HELP)(audit)


def partitions(sku: Sku, as_json: AsJson = False, config: Config = None) -> int:
    """Show an item's partitions: their buckets, their state, and how far the ledger is."""
    output = Output(as_json)

    async def work(stock: Inventory) -> int:
        views = await stock.partitions(sku)
        output.answer(
            {"sku": sku, "partitions": views},
            lambda console: console.print(partitions_table(views, f"{sku}: partitions")),
        )
        return exits.Exit.DONE

    return with_stock(config, output, work)


def audit(
    sku: Annotated[str | None, typer.Argument(help="Only this item; by default all.", show_default=False)] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """Check every equation of conservation, and show both sides. Safe while a sale runs."""
    output = Output(as_json)

    async def work(stock: Inventory) -> int:
        report = await stock.audit(sku)
        output.answer(report, lambda console: print_audit(report, console))
        return exits.Exit.DONE if report.ok else exits.Exit.NO

    return with_stock(config, output, work)
