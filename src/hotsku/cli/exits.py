"""Exit statuses, and how an error becomes one line and one of them."""

import asyncio
from enum import IntEnum

import typer

from hotsku.errors import (
    BackendUnavailable,
    HotSKUError,
    IdempotencyConflict,
    InvalidRequest,
    InvalidSettings,
    OutcomeUnknown,
    Overloaded,
    UnknownItem,
)

HELP = (
    "Exit status: 0 done; 1 the answer is no (refused, not found, an unknown item, a conflict with what was there, a "
    "failed audit); 2 usage or settings; 3 a back end is unavailable or overloaded, or an outcome is unknown (the same "
    "order again is safe); 130 interrupted."
)


class Exit(IntEnum):
    """What a command ends with."""

    DONE = 0
    NO = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


class UsageError(HotSKUError):
    """The command line asks for something that cannot be done as it stands."""


_STATUSES: tuple[tuple[type[HotSKUError], Exit], ...] = (
    (InvalidSettings, Exit.USAGE),
    (InvalidRequest, Exit.USAGE),
    (UsageError, Exit.USAGE),
    (UnknownItem, Exit.NO),
    (IdempotencyConflict, Exit.NO),
    (BackendUnavailable, Exit.UNAVAILABLE),
    (Overloaded, Exit.UNAVAILABLE),
    (OutcomeUnknown, Exit.UNAVAILABLE),
)


def explain(error: BaseException) -> tuple[str, Exit]:
    """The error in one line, and the exit status that it means."""
    if isinstance(error, BaseExceptionGroup):
        return explain(_worst(error))
    if isinstance(error, KeyboardInterrupt | asyncio.CancelledError | typer.Abort):
        return "interrupted", Exit.INTERRUPTED
    if isinstance(error, typer.TyperException):
        return one_line(f"{error.format_message().rstrip('.')}; see --help"), Exit.USAGE
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return one_line(str(error)), status
    if isinstance(error, HotSKUError):
        return one_line(str(error)), Exit.NO
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return one_line(f"{error.strerror or error}{where}"), Exit.UNAVAILABLE
    return one_line(f"this is a bug in hotsku: {type(error).__name__}: {error}"), Exit.UNAVAILABLE


def one_line(text: str) -> str:
    """`text` with its line breaks, and what else a terminal would act on, taken out."""
    joined = " ".join(text.split())
    return "".join(character if character.isprintable() else "?" for character in joined)


def _worst(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of errors that came together, the one that says most: a fault of ours before a mere interruption."""
    return max(group.exceptions, key=lambda error: isinstance(error, Exception))
