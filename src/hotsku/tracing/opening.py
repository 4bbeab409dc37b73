"""Switches tracing on, where the settings ask for it."""

from collections.abc import Iterator
from contextlib import contextmanager

from hotsku.ports import NO_SPANS, Spans
from hotsku.settings import Settings


def spans_of(settings: Settings) -> Spans:
    """The spans of this process: on the tracer provider that the process has, if it has one."""
    if not settings.otel:
        return NO_SPANS
    from hotsku.tracing.spans import OtelSpans

    return OtelSpans()


@contextmanager
def exporting(settings: Settings) -> Iterator[None]:
    """Inside, export the spans of this process as the `OTEL_*` variables say: for processes that are ours alone. A
    program that we are a part of has a tracer provider of its own.

    Raises:
        InvalidSettings: the variables ask for what there is not.
    """
    if not settings.otel:
        yield
        return
    from hotsku.tracing.provider import provided

    with provided():
        yield
