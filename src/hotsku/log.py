"""Structured logs through the standard library, so that the program around us decides what is shown, and where.

A library that prints by itself ends up in somebody's JSON output. Without any configuration, warnings and errors go to
stderr, as with every other library.
"""

import logging
import sys

import structlog
from structlog.stdlib import BoundLogger, ProcessorFormatter


def _add_trace(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Name the span that is current. Where nobody has imported OpenTelemetry, none can be."""
    api = sys.modules.get("opentelemetry.trace")
    if api is not None:
        current = api.get_current_span().get_span_context()
        if current.is_valid:
            event["trace_id"] = f"{current.trace_id:032x}"
            event["span_id"] = f"{current.span_id:016x}"
    return event


_SHARED: list[structlog.typing.Processor] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    _add_trace,
]


def get_logger(name: str) -> BoundLogger:
    """A logger named `hotsku.<name>` whose records carry their facts as `key=value`, or as JSON (`log_json`)."""
    logger: BoundLogger = structlog.wrap_logger(
        logging.getLogger(f"hotsku.{name}"),
        processors=[structlog.stdlib.filter_by_level, *_SHARED, _for_any_handler],
        wrapper_class=BoundLogger,
        context_class=dict,
    )
    return logger


def log_json(level: int) -> None:
    """Have this process log to stderr from `level` on, one JSON object a line: for processes that are ours alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        ProcessorFormatter(
            processors=[ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
            foreign_pre_chain=_SHARED,
        )
    )
    logging.basicConfig(level=level, handlers=[handler])


class _Facts(dict[str, object]):
    """An event and its facts, as text for handlers that know nothing of structlog."""

    def __str__(self) -> str:
        facts = " ".join(f"{key}={value!r}" for key, value in self.items() if key not in _TAKEN)
        return f"{self.get('event', '')} {facts}".rstrip()


_TAKEN = frozenset({"event", "level", "logger", "timestamp"})


def _for_any_handler(
    logger: logging.Logger, name: str, event: structlog.typing.EventDict
) -> tuple[tuple[_Facts], dict[str, dict[str, object]]]:
    return (_Facts(event),), {"extra": {"_logger": logger, "_name": name}}
