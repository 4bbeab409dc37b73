"""`hotsku doctor`."""

import typer
from rich.console import Console

from hotsku.cli import exits
from hotsku.cli.output import Output
from hotsku.cli.running import AsJson, Config, run, settings_of
from hotsku.doctor import Finding, examine
from hotsku.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog=exits.HELP)(doctor)


def doctor(as_json: AsJson = False, config: Config = None) -> int:
    """Say whether a sale can start tonight: look at every server, the ledger, the broker, the partitions, the audit."""
    output = Output(as_json)
    findings = run(_examined(settings_of(config, output)))
    ok = all(finding.ok for finding in findings)
    output.answer({"ok": ok, "findings": findings}, lambda console: _show(console, findings))
    return exits.Exit.DONE if ok else exits.Exit.NO


async def _examined(settings: Settings) -> list[Finding]:
    return [finding async for finding in examine(settings)]


def _show(console: Console, findings: list[Finding]) -> None:
    for finding in findings:
        mark = "[green]ok [/green]" if finding.ok else "[red]no [/red]"
        console.print(f"{mark} [bold]{finding.what}[/bold]: ", end="", highlight=False)
        console.print(finding.says, markup=False, highlight=False)
