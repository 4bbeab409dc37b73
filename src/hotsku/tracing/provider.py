"""The tracer provider of a process that is ours alone, made of the `OTEL_*` variables that every SDK knows."""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

from hotsku.errors import InvalidSettings
from hotsku.tracing.spans import VERSION

_SERVICE = "hotsku"
_EXPORTERS = "opentelemetry_traces_exporter"
_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
# A collector that is away must not keep a process from its end.
_LAST_EXPORT_S = 5.0


@contextmanager
def provided() -> Iterator[None]:
    """Inside, the process has a tracer provider: the one that somebody has set up before, or else ours, which exports
    what it still has at the end.

    Raises:
        InvalidSettings: the variables ask for what there is not.
    """
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield  # `opentelemetry-instrument` was here
        return
    provider = _provider()
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        # Of a thread's own: it has no timeout but that of each export.
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(_LAST_EXPORT_S)


def _provider() -> TracerProvider:
    # While a collector is away each export says so once; its every retry need not. And no client may fill the log with
    # nonsense in its `tracestate`.
    for logger in ("opentelemetry.exporter", "opentelemetry.trace.span"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    try:
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        for name in (os.environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(","):
            if name.strip() != "none":
                provider.add_span_processor(BatchSpanProcessor(_exporter(name.strip())))
    except ValueError as error:
        raise InvalidSettings(f"the OTEL_* variables must be as the SDK wants them: {error}") from error
    return provider


def _resource() -> Resource:
    found = Resource.create({SERVICE_VERSION: VERSION})
    named = not str(found.attributes[SERVICE_NAME]).startswith("unknown_service")
    return found if named else found.merge(Resource({SERVICE_NAME: _SERVICE}))


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter(out=sys.stderr)  # stdout is for answers
    known = _PROTOCOLS.get(_protocol(), _protocol()) if name == "otlp" else name
    for found in entry_points(group=_EXPORTERS, name=known):
        made: SpanExporter = found.load()()
        return made
    there = sorted({"none", "otlp", *(found.name for found in entry_points(group=_EXPORTERS))})
    asked = f"otlp over {_protocol()}" if name == "otlp" else ascii(name)
    raise InvalidSettings(
        f"OTEL_TRACES_EXPORTER must be exporters that are installed ({', '.join(there)}), not {asked}"
    )


def _protocol() -> str:
    return (
        os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
