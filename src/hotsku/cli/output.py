"""Where a command's words go: the answer to stdout, everything else to stderr."""

import sys
from collections.abc import Callable

import msgspec
from rich.console import Console

# Tables that go to a pipe or a file are not squeezed into 80 columns.
_PIPE_WIDTH = 120


class Output:
    """A command's two voices.

    Args:
        as_json: the answer is one JSON object on one line; otherwise it is for people.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.words = _console(stderr=True)

    def say(self, text: str) -> None:
        """A line of words, on stderr."""
        self.words.print(text, markup=False, highlight=False, soft_wrap=True)

    def answer(self, answer: object, show: Callable[[Console], None]) -> None:
        """The command's answer.

        Args:
            answer: what becomes the JSON object.
            show: writes the same for people.
        """
        if self.as_json:
            sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
            sys.stdout.flush()
        else:
            show(_console(stderr=False))


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _PIPE_WIDTH)
