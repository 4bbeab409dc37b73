"""Tells of changes that the ledger has, or may have, while not all that follows from them could be done.

Whoever heard that nothing was done would make the change once more under another name, and have it twice.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from hotsku.errors import BackendUnavailable, OutcomeUnknown
from hotsku.managing.reaching import NOT_READY
from hotsku.ports import Unsure


@contextmanager
def making(change: str) -> Iterator[None]:
    """The ledger is asked for a change.

    Args:
        change: names it, for people.

    Raises:
        OutcomeUnknown: the ledger may have it.
    """
    try:
        yield
    except Unsure as error:
        raise OutcomeUnknown(f"{change} may or may not have been made; the same call again is safe: {error}") from error


@contextmanager
def following(change: str) -> Iterator[None]:
    """The ledger has a change, and what follows from it is done.

    Args:
        change: names it, for people.

    Raises:
        OutcomeUnknown: a back end is away, so that its caller cannot be told how it went on.
    """
    try:
        yield
    except (BackendUnavailable, *NOT_READY) as error:
        why = str(error) or "a shard's memory is not the one that was armed"
        raise OutcomeUnknown(f"{change} is in the ledger, and may have to be finished; call again: {why}") from error
