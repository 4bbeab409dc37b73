"""A database for strategies: plain SQL on a driver's own connections, in threads, one connection each.

Drivers are used bare: what a library above them costs would count against the rung that is measured.
"""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from hotsku.errors import BackendUnavailable, Overloaded

T = TypeVar("T")
Value = str | int | None
Row = tuple[int, ...]

_ATTEMPTS = 200
_LONGEST_PAUSE_S = 0.02


class Again(Exception):
    """The database gave the transaction up (a deadlock, a lock that another one holds): begin it anew."""


class Duplicate(Exception):
    """A unique key refused a row."""


class Session(Protocol):
    """One connection. SQL names its values as `:name`, and every column that is read is an integer.

    Raises `Again`, `Duplicate`, or `BackendUnavailable` (then the session is over).
    """

    def execute(self, sql: str, values: Mapping[str, Value]) -> int:
        """Run a statement. Returns how many rows it changed."""
        ...

    def execute_many(self, sql: str, rows: Sequence[Mapping[str, Value]]) -> None:
        """Run a statement for each of the rows, in bulk as the driver does it best."""
        ...

    def rows(self, sql: str, values: Mapping[str, Value]) -> list[Row]:
        """Run a query."""
        ...

    def begin(self) -> None: ...
    def commit(self) -> None: ...
    def rollback(self) -> None:
        """End the transaction, and undo it. Without one: nothing happens."""
        ...

    def close(self) -> None: ...


class Dialect(Protocol):
    """How one kind of database is written to. All members are SQL."""

    @property
    def name(self) -> str: ...
    @property
    def one_statement(self) -> bool:
        """Whether a statement may change two tables: `WITH taken AS (UPDATE … RETURNING …) INSERT …`."""
        ...

    @property
    def for_update(self) -> str: ...
    @property
    def skip_locked(self) -> str | None:
        """What takes only rows that nobody has locked; None where the database has no such thing."""
        ...

    @property
    def insert(self) -> tuple[str, str]:
        """What stands before and behind an insertion that leaves out what is there."""
        ...

    def tables(self, prefix: str) -> list[str]: ...
    def add_units(self, prefix: str) -> str:
        """One row for each of the units 1 to `:total` of the item `:item`; none again where they are there."""
        ...


class Database:
    """A pool of threads with a connection each.

    Args:
        dialect: how it is written to.
        connect: opens a connection; called in the thread that will use it.
        connections: how many; on one hot row more of them only queue in the database.
    """

    def __init__(self, dialect: Dialect, connect: Callable[[], Session], connections: int) -> None:
        self.dialect = dialect
        self._connect = connect
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix=f"strategy-{dialect.name}")
        self._own = threading.local()
        self._sessions: set[Session] = set()

    async def transaction(self, work: Callable[[Session], T]) -> T:
        """Run `work` as one transaction, anew where the database gives it up. It commits unless `work` rolls it back.

        Raises:
            BackendUnavailable: the database cannot be reached.
            Overloaded: it gave the transaction up again and again.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, work, True)

    async def statements(self, work: Callable[[Session], T]) -> T:
        """Run `work` with each of its statements a transaction of its own; all of `work` anew as above."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, work, False)

    async def close(self) -> None:
        """Finish what was begun, and disconnect."""
        await asyncio.to_thread(self._threads.shutdown)
        for session in self._sessions:
            session.close()
        self._sessions.clear()

    def _run(self, work: Callable[[Session], T], together: bool) -> T:
        for attempt in range(_ATTEMPTS):
            try:
                return self._attempt(self._session(), work, together)
            except Again:
                time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, 0.0005 * 2**attempt)))
        raise Overloaded(f"{self.dialect.name} gave the transaction up {_ATTEMPTS} times; try again")

    def _attempt(self, session: Session, work: Callable[[Session], T], together: bool) -> T:
        try:
            if together:
                session.begin()
            result = work(session)
            session.commit()
        except BackendUnavailable:
            self._drop(session)
            raise
        except BaseException:
            session.rollback()
            raise
        return result

    def _session(self) -> Session:
        session: Session | None = getattr(self._own, "session", None)
        if session is None:
            session = self._own.session = self._connect()
            self._sessions.add(session)
        return session

    def _drop(self, session: Session) -> None:
        self._own.session = None
        self._sessions.discard(session)
        session.close()
