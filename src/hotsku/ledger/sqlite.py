"""SQLite: how its connections are made, and the statements that only it writes so."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from hotsku.errors import ConservationBroken, InvalidSettings
from hotsku.ledger import json_rows
from hotsku.ledger.dialect import Fault, GrantRow, Run
from hotsku.ledger.tables import parked

BUSY_TIMEOUT_MS = 5_000

# Buyers come in no order, so that a message's rows lie on thousands of pages of the unique index. With SQLite's 2 MiB
# it would read and write each of them several times; and a statement over many rows keeps the pages that it changes
# once more, to be able to undo it, by default in a file.
WRITER_PRAGMAS = ("cache_size = -65536", "temp_store = MEMORY")

# One statement for the rows of a message: SQLite reads JSON without Python's lock, so a busy Python thread beside it
# does not slow it down, as it does `executemany`. Arrays, for it looks an object's fields up one by one.
_INSERT_SALES = text("""
    INSERT INTO deductions
        (item_id, "partition", incarnation, seq, buyer_id, order_id, quantity, state, created_at)
    SELECT :item_id, :partition, :incarnation, json_extract(value, '$[0]'), json_extract(value, '$[1]'),
           json_extract(value, '$[2]'), json_extract(value, '$[3]'), :state, json_extract(value, '$[4]')
    FROM json_each(:rows)
    WHERE true
    ON CONFLICT (item_id, buyer_id, order_id) DO NOTHING
""")

_GRANT = text("""
    UPDATE partitions SET lease_no = lease_no + n, granted = granted + units
    FROM (
        SELECT json_extract(value, '$[0]') AS at_item, json_extract(value, '$[1]') AS at_partition,
               json_extract(value, '$[2]') AS at_incarnation, json_extract(value, '$[3]') AS after_no,
               json_extract(value, '$[4]') AS n, json_extract(value, '$[5]') AS units
        FROM json_each(:grants)
    )
    WHERE item_id = at_item AND "partition" = at_partition AND incarnation = at_incarnation
      AND lease_no = after_no AND state = 'open'
""")

_AGAIN = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_UNUSABLE = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
)


class SqliteDialect:
    """Implements `hotsku.ledger.dialect.Dialect` for a file, whose folder is made.

    Raises:
        InvalidSettings: `url` names no file, or the folder cannot be made.
    """

    advice = "name a SQLite file in a folder that can be written"
    migrates_itself = True
    writers = None

    def __init__(self, url: URL) -> None:
        self._url = url
        self.where = str(_path(url))

    def writer(self) -> Engine:
        """One connection, whose transactions hold the write lock from their first moment."""
        engine = create_engine(self._url, pool_size=1, max_overflow=0)
        _set_up(engine, "BEGIN IMMEDIATE", *WRITER_PRAGMAS)
        return engine

    def reader(self, connections: int) -> Engine:
        """A few connections; WAL gives each transaction its snapshot."""
        engine = create_engine(self._url, pool_size=connections, max_overflow=0)
        _set_up(engine, "BEGIN")
        return engine

    def migrator(self) -> Engine:
        """Connections without foreign keys: a table that others name may be made anew."""
        engine = create_engine(self._url, poolclass=NullPool)
        _set_up(engine, "BEGIN IMMEDIATE", "foreign_keys = OFF")
        return engine

    def check_server(self, connection: Connection) -> None:
        """The library is Python's own; there is nothing to look at."""

    @contextmanager
    def migrating_alone(self, connection: Connection) -> Iterator[None]:
        """The migrator's transaction has the write lock; in the end, all foreign keys must hold."""
        yield
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise ConservationBroken(f"the ledger has a row in {broken[0]} that names nothing in {broken[2]}")

    def fault(self, error: DBAPIError) -> Fault:
        """By SQLite's own result codes."""
        if isinstance(error.orig, sqlite3.IntegrityError):
            return Fault.BROKEN  # one process writes at a time: a duplicate is no race
        code = (getattr(error.orig, "sqlite_errorcode", 0) or 0) & 0xFF
        if code in _AGAIN:
            return Fault.AGAIN
        return Fault.UNUSABLE if code in _UNUSABLE else Fault.OTHER

    def insert_sales(self, connection: Connection, runs: Sequence[Run]) -> int:
        """Insert them from JSON, a statement for each run."""
        return sum(json_rows.insert_sales(connection, _INSERT_SALES, run) for run in runs)

    def grant(self, connection: Connection, grants: Sequence[GrantRow]) -> int:
        """Update from JSON."""
        return json_rows.grant(connection, _GRANT, grants)

    def json_table(self, columns: Mapping[str, type]) -> str:
        """With `json_each`; types are the values' own."""
        fields = ", ".join(f"json_extract(value, '$.{name}') AS \"{name}\"" for name in columns)
        return f"(SELECT {fields} FROM json_each(:rows)) AS e"  # noqa: S608  # names of ours

    def update_from(self, table: str, source: str, condition: str, columns: Sequence[str]) -> str:
        """With UPDATE FROM."""
        sets = ", ".join(f"{name} = e.{name}" for name in columns)
        return f"UPDATE {table} SET {sets} FROM {source} WHERE {condition}"  # noqa: S608  # names of ours

    def join_to(self, source: str, table: str, condition: str) -> str:
        """CROSS JOIN keeps the order: SQLite would rather look at every row of the item."""
        return f"{source} CROSS JOIN {table} ON {condition}"

    def insert_parked(self, connection: Connection, values: dict[str, object]) -> None:
        """With ON CONFLICT."""
        connection.execute(insert(parked).values(values).on_conflict_do_nothing(index_elements=["digest"]))


def _path(url: URL) -> Path:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise InvalidSettings("ledger_url must name a file: sqlite:///relative/path or sqlite:////absolute/path")
    path = Path(url.database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSettings(
            f"ledger_url: cannot make the folder {path.parent} ({error.strerror}); name one that can be written"
        ) from error
    return path


def _set_up(engine: Engine, begin: str, *pragmas: str) -> None:
    settings = (f"busy_timeout = {BUSY_TIMEOUT_MS}", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        # The driver would begin transactions by its own rules, and late; `on_begin` does it instead.
        connection.isolation_level = None
        cursor = connection.cursor()
        for setting in (*settings, *pragmas):
            cursor.execute(f"PRAGMA {setting}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)
