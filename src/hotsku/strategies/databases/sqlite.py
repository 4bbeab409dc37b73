"""SQLite as a shop would run it: WAL, every commit on disk, one connection that does everything.

SQLite has one writer at a time whatever one does, and threads that wait for its lock poll. So one connection in one
thread is the fastest fair setting: transactions queue in this process, and begin with the write lock in hand.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hotsku.errors import BackendUnavailable
from hotsku.strategies.databases.base import Again, Database, Duplicate, Row, Value

CONNECTIONS = 1
_BUSY_TIMEOUT_S = 5.0


class SqliteDialect:
    """How SQLite is written to."""

    name = "sqlite"
    one_statement = False
    for_update = ""  # a transaction has the whole database locked
    skip_locked = None
    insert = ("INSERT", "ON CONFLICT DO NOTHING")

    def tables(self, prefix: str) -> list[str]:
        return [
            f"""CREATE TABLE IF NOT EXISTS {prefix}items (
                id INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE, total INTEGER NOT NULL,
                stock INTEGER NOT NULL CHECK (stock >= 0), version INTEGER NOT NULL DEFAULT 0,
                drained INTEGER NOT NULL DEFAULT 0)""",
            f"""CREATE TABLE IF NOT EXISTS {prefix}orders (
                item_id INTEGER NOT NULL, buyer_id TEXT NOT NULL, order_id TEXT NOT NULL, quantity INTEGER NOT NULL,
                state INTEGER NOT NULL, created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
                PRIMARY KEY (item_id, buyer_id, order_id)) WITHOUT ROWID""",
        ]

    def add_units(self, prefix: str) -> str:
        raise NotImplementedError("SQLite has no SKIP LOCKED")


def open_sqlite(path: Path) -> Database:
    """The database in the file at `path`; its folder must exist."""
    return Database(SqliteDialect(), lambda: _SqliteSession(path), CONNECTIONS)


class _SqliteSession:
    def __init__(self, path: Path) -> None:
        with _plain_faults():
            # Made and used in one thread, but closed by another; transactions begin where we say.
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")

    def execute(self, sql: str, values: Mapping[str, Value]) -> int:
        with _plain_faults():
            return self._connection.execute(sql, values).rowcount

    def execute_many(self, sql: str, rows: Sequence[Mapping[str, Value]]) -> None:
        with _plain_faults():
            self._connection.executemany(sql, rows)

    def rows(self, sql: str, values: Mapping[str, Value]) -> list[Row]:
        with _plain_faults():
            return self._connection.execute(sql, values).fetchall()

    def begin(self) -> None:
        with _plain_faults():
            self._connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        with _plain_faults():
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")

    def rollback(self) -> None:
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


@contextmanager
def _plain_faults() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise Duplicate(str(error)) from error
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Again from error
        raise BackendUnavailable(f"SQLite: {error}") from error
