"""Runs transactions: on the right thread, tried again where that may help, faults made plain."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_random_exponential

from hotsku.errors import BackendUnavailable, ConservationBroken, InvalidSettings
from hotsku.ledger.dialect import Dialect, Fault
from hotsku.ledger.faults import LostRace
from hotsku.ledger.migrate import ledger_id, migrate
from hotsku.ledger.threads import Threads, Urgency
from hotsku.ports import Unsure

T = TypeVar("T")

# What a transaction does. The second argument is None, or what an earlier attempt would have returned whose COMMIT got
# no answer: its changes may be there already.
Work = Callable[[Connection, T | None], T]

_ATTEMPTS = 8
# No attempt begins later than this after the first one.
_PATIENCE_S = 10
_SHOWN = 300


class Database:
    """The connections to one ledger: some that write, a few that read."""

    def __init__(self, dialect: Dialect, readers: int) -> None:
        self.dialect = dialect
        self._writer = dialect.writer()
        self._reader = dialect.reader(readers)
        self._threads = Threads(readers, dialect.writers)

    def open(self, now_ms: int, token_hex: Callable[[int], str]) -> str:
        """Look whether the ledger can be used, and return its id. One that migrates itself is migrated. Blocks.

        Raises:
            InvalidSettings: it cannot be opened or written, or must be migrated first.
            BackendUnavailable: it cannot be reached, or a newer version has taken away what this one needs.
        """
        with self._plain_settings():
            # Looking first lets a command that only reads start beside a busy writer.
            known = self._run(self._reader, self._look)
        if known is None and not self.dialect.migrates_itself:
            raise InvalidSettings(f"ledger_url: {self.dialect.where} has no schema of this version; run hotsku migrate")
        return known or self.migrate(now_ms, token_hex, post=True)

    def migrate(self, now_ms: int, token_hex: Callable[[int], str], *, post: bool) -> str:
        """Bring the schema up to date and return the ledger's id. Blocks; several processes may do it at once.

        Args:
            post: also make the migrations that only older code is in the way of.

        Raises:
            InvalidSettings: it cannot be opened or changed.
        """
        migrator = self.dialect.migrator()

        def work(connection: Connection, _: str | None) -> str:
            self.dialect.check_server(connection)
            with self.dialect.migrating_alone(connection):
                return migrate(connection, now_ms, token_hex, post=post)

        try:
            with self._plain_settings():
                return self._run(migrator, work)
        finally:
            migrator.dispose()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction that sees one snapshot."""
        return await self._threads.read(lambda: self._run(self._reader, lambda connection, _: work(connection)))

    async def write(self, urgency: Urgency, work: Work[T], of: Hashable = None) -> T:
        """Run `work` in one transaction: all of it is committed, or nothing. It may run more than once.

        Args:
            of: what it is about; this process makes one write about it at a time. Others have processes of their own.

        Raises:
            Unsure: nobody knows which of the two.
        """

        def run() -> T:
            unsure: list[T] = []
            try:
                return self._run(self._writer, work, unsure)
            except BackendUnavailable as error:
                if unsure:
                    raise Unsure(str(error)) from error
                raise

        return await self._threads.write(urgency, run, of)

    def close(self) -> None:
        """Finish what was begun, and close. Blocks."""
        self._threads.close()
        self._writer.dispose()
        self._reader.dispose()

    def _look(self, connection: Connection, _: str | None) -> str | None:
        self.dialect.check_server(connection)
        return ledger_id(connection)

    def _run(self, engine: Engine, work: Work[T], unsure: list[T] | None = None) -> T:
        """Run `work` until it is committed, or trying again would not help.

        Args:
            unsure: gets what attempts would have returned whose COMMIT got no answer.
        """
        unsure = [] if unsure is None else unsure

        def attempt() -> T:
            with engine.connect() as connection:
                transaction = connection.begin()
                try:
                    result = work(connection, unsure[-1] if unsure else None)
                except BaseException:
                    with suppress(SQLAlchemyError):  # of a connection that broke, the server undoes all by itself
                        transaction.rollback()
                    raise
                try:
                    transaction.commit()
                except BaseException:
                    unsure.append(result)
                    raise
                return result

        retrying = Retrying(
            retry=retry_if_exception(self._may_help),
            stop=stop_after_attempt(_ATTEMPTS) | stop_after_delay(_PATIENCE_S),
            wait=wait_random_exponential(multiplier=0.01, max=1.0),
            reraise=True,
        )
        with self._plain_faults():
            return retrying(attempt)

    def _may_help(self, error: BaseException) -> bool:
        again = (Fault.AGAIN, Fault.LOST, Fault.DUPLICATE)
        return isinstance(error, LostRace) or (isinstance(error, DBAPIError) and self.dialect.fault(error) in again)

    @contextmanager
    def _plain_faults(self) -> Iterator[None]:
        try:
            yield
        except LostRace as error:
            raise BackendUnavailable("the ledger's figures kept changing under a transaction; try again") from error
        except OverflowError as error:
            raise ConservationBroken("the ledger refused a change and rolled it back: a number is too large") from error
        except OSError as error:  # a file of certificates or keys
            raise _Unusable(f"the ledger {self.dialect.where} cannot be connected to: {error}") from error
        except DBAPIError as error:
            error.statement = error.statement and error.statement[:_SHOWN]  # a message's rows would fill a log
            words = " ".join(str(error.orig).split())
            fault = self.dialect.fault(error)
            if fault in (Fault.BROKEN, Fault.DUPLICATE):
                raise ConservationBroken(f"the ledger refused a change and rolled it back: {words}") from error
            kind = _Unusable if fault is Fault.UNUSABLE else BackendUnavailable
            raise kind(f"the ledger {self.dialect.where} is unavailable: {words}") from error

    @contextmanager
    def _plain_settings(self) -> Iterator[None]:
        try:
            yield
        except _Unusable as error:
            raise InvalidSettings(f"ledger_url: {error}; {self.dialect.advice}") from error


class _Unusable(BackendUnavailable):
    """The database itself is the trouble; waiting does not help."""
