"""Traces: what takes how long, told to whoever wants to know."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Span(Protocol):
    """Work under way."""

    def tell(self, **facts: str | int | bool) -> None:
        """Say more of it, in the words of the project."""
        ...


class Spans(Protocol):
    """Tells of work; costs next to nothing where nobody listens."""

    def span(self, name: str, **facts: str | int | bool) -> AbstractContextManager[Span]:
        """Tell of what is done inside: who does it and what, and what it is about. An exception is told, too."""
        ...


class _NoSpan:
    def tell(self, **facts: str | int | bool) -> None:
        pass


class _NoSpans:
    def span(self, name: str, **facts: str | int | bool) -> AbstractContextManager[Span]:
        return _NOTHING


_NOTHING = nullcontext(_NoSpan())
# Nobody listens.
NO_SPANS: Spans = _NoSpans()
