"""The `Spans` port on OpenTelemetry's API. Its facts are attributes `hotsku.<name>`."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import trace

VERSION = version("hotsku")
_PREFIX = "hotsku."

Fact = str | int | bool


def our_tracer() -> trace.Tracer:
    """Our tracer, of the tracer provider that the process has now, or will have."""
    return trace.get_tracer("hotsku", VERSION)


class OtelSpan:
    """A span under way."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def tell(self, **facts: Fact) -> None:
        self._span.set_attributes(_attributes(facts))


class OtelSpans:
    """Spans inside of spans are their children."""

    def __init__(self) -> None:
        self._tracer = our_tracer()

    @contextmanager
    def span(self, name: str, **facts: Fact) -> Iterator[OtelSpan]:
        with self._tracer.start_as_current_span(name, attributes=_attributes(facts)) as span:
            yield OtelSpan(span)


def _attributes(facts: dict[str, Fact]) -> dict[str, Fact]:
    return {_PREFIX + name: value for name, value in facts.items()}
