"""A progress bar on stderr, where that is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hotsku.cli.output import Output


@contextmanager
def progress_bar(output: Output, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far long work is. Call what it gives with how much of `total` is done."""
    bar = Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        console=output.words,
        disable=not output.words.is_terminal,
    )
    with bar:
        task = bar.add_task(what, total=total, rate="")

        def done(count: int) -> None:
            seconds = bar.tasks[0].elapsed or 0.0
            bar.update(task, completed=count, rate=f"{count / seconds:,.0f}/s" if seconds else "")

        yield done
