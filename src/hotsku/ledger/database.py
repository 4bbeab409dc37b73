"""Runs transactions: on the right thread, tried again while another process holds the lock, faults made plain."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from hotsku.errors import BackendUnavailable, ConservationBroken, InvalidSettings
from hotsku.ledger import sqlite
from hotsku.ledger.migrate import ledger_id, migrate
from hotsku.ledger.threads import Threads, Urgency

T = TypeVar("T")

_ATTEMPTS = 4


class LostRace(Exception):
    """A guarded update met other figures than the transaction had read. It is rolled back and tried again."""


class Database:
    """The connections to one ledger: one that writes, a few that read."""

    def __init__(self, url: URL, readers: int) -> None:
        self._where = str(sqlite.database_path(url))
        self._writer = sqlite.make_writer(url)
        self._reader = sqlite.make_reader(url, readers)
        self._threads = Threads(readers)

    def migrate(self, now_ms: int, token_hex: Callable[[int], str]) -> str:
        """Bring the schema up to date and return the ledger's id. Blocks; safe when several processes do it at once.

        Raises:
            InvalidSettings: the file cannot be opened or written, or is no SQLite database.
        """
        try:
            # Looking first lets a command that only reads start beside a busy writer.
            known = self._run(self._reader, ledger_id)
            return known or self._run(self._writer, lambda connection: migrate(connection, now_ms, token_hex))
        except _Unusable as error:
            raise InvalidSettings(
                f"ledger_url: {self._where}: {error}; name a SQLite file in a folder that can be written"
            ) from error

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction that sees one snapshot."""
        return await self._threads.read(lambda: self._run(self._reader, work))

    async def write(self, urgency: Urgency, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction: all of it is committed, or nothing. It may run more than once."""
        return await self._threads.write(urgency, lambda: self._run(self._writer, work))

    def close(self) -> None:
        """Finish what was begun, and close. Blocks."""
        self._threads.close()
        self._writer.dispose()
        self._reader.dispose()

    def _run(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        def attempt() -> T:
            with engine.begin() as connection:
                return work(connection)

        retrying = Retrying(
            retry=retry_if_exception(_may_help),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential_jitter(multiplier=0.02, max=1.0),
            reraise=True,
        )
        with self._plain_faults():
            return retrying(attempt)

    @contextmanager
    def _plain_faults(self) -> Iterator[None]:
        try:
            yield
        except LostRace as error:
            raise BackendUnavailable("the ledger's figures kept changing under a transaction; try again") from error
        except IntegrityError as error:
            raise ConservationBroken(f"the ledger refused a change and rolled it back: {error.orig}") from error
        except OverflowError as error:
            raise ConservationBroken("the ledger refused a change and rolled it back: a number is too large") from error
        except DBAPIError as error:
            fault = _Unusable if sqlite.is_unusable(error) else BackendUnavailable
            raise fault(f"the ledger {self._where} is unavailable: {error.orig}") from error


class _Unusable(BackendUnavailable):
    """The file itself is the trouble; waiting does not help."""


def _may_help(error: BaseException) -> bool:
    return isinstance(error, LostRace) or sqlite.is_busy(error)
