"""`hotsku`: the commands put together, and the one place where errors become a line and an exit status."""

import os
import sys
from collections.abc import Sequence

import typer

from hotsku.bench import command as bench
from hotsku.cli import cluster, doctor, exits, house, items, looking, orders, selling, serve
from hotsku.cli.capacity import command as capacity
from hotsku.cli.demo import command as demo
from hotsku.cli.replay import command as replay
from hotsku.cli.watch import command as watch

app = typer.Typer(
    name="hotsku",
    help=f"Sells one hot item to a million buyers, every unit exactly once.\n\n{exits.HELP}",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

for _register in (demo, replay, selling, orders, items, looking, watch, bench, serve, house, doctor, cluster, capacity):
    _register.register(app)


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line. Returns the exit status; an error is one line on stderr."""
    try:
        status = typer.main.get_command(app)(args=list(arguments), prog_name="hotsku", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our answer has gone. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.Exit.NO
    except BaseException as error:
        if isinstance(error, SystemExit | GeneratorExit):
            raise
        line, status = exits.explain(error)
        print(f"hotsku: error: {line}", file=sys.stderr)
    return int(status or exits.Exit.DONE)


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
