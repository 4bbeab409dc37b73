"""`hotsku capacity`: what a sale needs, and its rush on one shard played through."""

from typing import Annotated

import typer
from msgspec import Struct
from msgspec.structs import asdict, replace
from rich.console import Console

from hotsku.cli import exits
from hotsku.cli.capacity.simulation import SETTLED_S, Answers, Simulated, Simulation
from hotsku.cli.output import Output
from hotsku.cli.running import AsJson
from hotsku.cli.tables import table
from hotsku.domain.capacity import MEASURED_BY, Constants, Sale, Sizing
from hotsku.domain.queueing import Steady
from hotsku.domain.sizing import loads, size
from hotsku.domain.spread import fullest

# The shard's sales and as many noes are played: no fewer than a steady state needs, no more than takes some seconds.
_LEAST_PLAYED, _LEAST_CYCLES, _MOST_PLAYED = 20_000, 40, 500_000
# How far the formulas may be off, before we say that they do not hold. Queues that are nearly full are hard to foresee.
_CPU_OFF, _P50_OFF, _P99_OFF = 0.1, 1.6, 2.0

# What a constant may be.
_LEAST, _MOST = {"sync_ms": 0.0, "travel_ms": 0.0, "replica_ms": 0.0, "gateway_call_us": 0.0}, {"load": 0.95}
_TINY, _HUGE = 1e-6, 1e9


class Report(Struct, frozen=True, kw_only=True):
    """The command's answer. `simulated` is of the fullest shard; `model_holds` whether it went as the model says."""

    sale: Sale
    constants: Constants
    needs: Sizing
    simulated: Simulated | None = None
    model_holds: bool | None = None


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog=exits.HELP)(capacity)


def capacity(
    buyers: Annotated[int, typer.Option(help="How many come.", min=1, max=10**11)] = 100_000_000,
    stock: Annotated[int, typer.Option(help="Units on sale.", min=1, max=10**9)] = 1_000_000,
    seconds: Annotated[float, typer.Option(help="Within which they all come, evenly.", min=0.001, max=1e7)] = 60.0,
    quantity: Annotated[int, typer.Option(help="Units that each wants.", min=1, max=10**9)] = 1,
    retries: Annotated[float, typer.Option(help="Share of the requests that is sent again.", min=0, max=10)] = 0.05,
    partitions: Annotated[int | None, typer.Option(help="Of the item; otherwise chosen.", min=1, max=1024)] = None,
    constant: Annotated[
        list[str] | None, typer.Option(help="NAME=NUMBER, another constant than the one shown.", metavar="NAME=NUMBER")
    ] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Also play the rush through on one shard.")] = False,
    seed: Annotated[int, typer.Option(help="Of the simulation.", min=0)] = 1,
    as_json: AsJson = False,
) -> int:
    """Say how many shards, gateways and partitions a sale needs, and what the rest of it takes.

    It computes from constants that were measured on a small machine; measure yours, and give them with --constant.
    Exit status 1: more is asked than can be done, or the simulation went otherwise than the model says.
    """
    output = Output(as_json)
    sale = Sale(buyers=buyers, stock=stock, seconds=seconds, quantity=quantity, retries=retries)
    if sale.orders == 0:
        raise exits.UsageError(f"stock must be at least the quantity of one order, {quantity}, not {stock}")
    constants = _constants(constant or [])
    report = Report(sale=sale, constants=constants, needs=size(sale, constants, partitions))
    if simulate and not report.needs.warnings:
        output.say("hotsku: playing the rush on one shard")
        report = _simulated(report, seed)
    output.answer(report, lambda console: _show(console, report))
    return exits.Exit.NO if report.needs.warnings or report.model_holds is False else exits.Exit.DONE


def _constants(given: list[str]) -> Constants:
    values: dict[str, float] = {}
    for each in given:
        name, _, text = each.partition("=")
        if name not in Constants.__struct_fields__:
            raise exits.UsageError(f"constant must be one of {', '.join(MEASURED_BY)}, not {ascii(name)[:40]}")
        values[name] = _number(name, text)
    return replace(Constants(), **values)


def _number(name: str, text: str) -> float:
    least, most = _LEAST.get(name, _TINY), _MOST.get(name, _HUGE)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value <= most:
        raise exits.UsageError(f"constant {name} must be a number from {least:g} to {most:g}, not {ascii(text)[:40]}")
    return value


def _simulated(report: Report, seed: int) -> Report:
    sale, needs = report.sale, report.needs
    sales, noes = loads(sale, report.constants, needs.shards, needs.partitions, needs.gateways)
    share = fullest(needs.partitions, needs.shards) / needs.partitions
    in_cycles = sales.per_s * needs.sales.cycle_ms / 1000 * _LEAST_CYCLES
    played = min(_MOST_PLAYED, max(_LEAST_PLAYED, round(in_cycles), round(sale.orders * share)))
    simulated = Simulation(sales, noes, played, seed).run(2 * played / sales.per_s + SETTLED_S)
    holds = _near(needs.sales, simulated.sales) and _near(needs.noes, simulated.noes)
    return replace(report, simulated=simulated, model_holds=holds)


def _near(foreseen: Steady, seen: Answers) -> bool:
    return (
        abs(foreseen.cpu - seen.cpu) <= _CPU_OFF
        and 1 / _P50_OFF <= foreseen.p50_ms / seen.p50_ms <= _P50_OFF
        and 1 / _P99_OFF <= foreseen.p99_ms / seen.p99_ms <= _P99_OFF
    )


def _show(console: Console, report: Report) -> None:
    needs = report.needs
    made = table("what the sale needs", "", "", left=1)
    made.show_header = False
    waiting, kept = needs.memory_mib
    rows = {
        "requests a second": f"{needs.requests_per_s:,.0f}",
        "sold after": f"{needs.sold_s:,.2f} s",
        "shards (masters)": f"{needs.shards}",
        "partitions of the item": f"{needs.partitions}",
        "gateway processes, a core each": f"{needs.gateways}",
        "a lease of each partition before the sale": f"{needs.first_lease:,}, then {needs.second_lease:,}",
        "rounds of leases for the rest": f"{needs.lease_rounds} in {needs.lease_s:.2f} s",
        "memory of a shard for the orders": f"{waiting:,.1f} MiB, {kept:,.1f} MiB once the ledger has them",
        "the broker has all details after": f"{needs.broker_s:,.1f} s",
        "the ledger has all details after": f"{needs.ledger_s:,.1f} s",
        "most cores are": needs.bottleneck,
    }
    for name, value in rows.items():
        made.add_row(name, value)
    console.print(made)
    console.print(_shard_table(report))
    console.print(_constants_table(report.constants))
    for warning in needs.warnings:
        console.print(f"  {warning}", highlight=False, markup=False)
    if report.model_holds is not None:
        console.print("  the simulation went as the model says" if report.model_holds else "  the model does not hold")


def _shard_table(report: Report) -> object:
    made = table("the fullest shard", "", "CPU", "orders/call", "p50 ms", "p99 ms", left=1)
    rows: dict[str, Steady | Answers] = {"sales": report.needs.sales, "noes": report.needs.noes}
    if report.simulated:
        rows |= {"sales, simulated": report.simulated.sales, "noes, simulated": report.simulated.noes}
    for name in sorted(rows, reverse=True):
        row = rows[name]
        made.add_row(name, f"{row.cpu:.0%}", f"{row.orders_a_call:,.1f}", f"{row.p50_ms:,.1f}", f"{row.p99_ms:,.1f}")
    return made


def _constants_table(constants: Constants) -> object:
    made = table("constants", "", "measured by", "", left=2)
    for name, value in asdict(constants).items():
        made.add_row(name, MEASURED_BY[name], f"{value:,g}")
    return made
