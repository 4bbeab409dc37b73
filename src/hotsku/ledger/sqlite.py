"""SQLite: how its connections are made, and the statements that only it writes so.

A server database becomes an addition by a module that offers the same names.
"""

import sqlite3
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from hotsku.errors import InvalidSettings

BUSY_TIMEOUT_MS = 5_000

# Detail rows straight from the message's JSON: SQLite reads it without Python's lock, so a busy Python thread beside it
# does not slow it down. What is no valid detail, and what has another row already, is left out; the caller counts.
#
# Ids with a NUL are left out by the JSON itself: `json_extract` would cut them off there.
INSERT_DEDUCTIONS = text(r"""
    INSERT INTO deductions
        (item_id, "partition", incarnation, seq, buyer_id, order_id, quantity, state, created_at)
    SELECT :item_id, :partition, :incarnation, seq, buyer_id, order_id, quantity, :state, at
    FROM (
        SELECT json_extract(value, '$.seq') AS seq,
               json_extract(value, '$.kind') AS kind,
               coalesce(json_extract(value, '$.buyer_id'), '') AS buyer_id,
               coalesce(json_extract(value, '$.order_id'), '') AS order_id,
               json_extract(value, '$.quantity') AS quantity,
               json_extract(value, '$.at') AS at
        FROM json_each(:events)
        WHERE instr(value, '\u0000') = 0
    )
    WHERE seq > :watermark AND kind = 'deducted'
      AND quantity BETWEEN 1 AND 1000000000 AND at BETWEEN 0 AND 100000000000000
      AND length(order_id) BETWEEN 1 AND 64 AND order_id NOT GLOB '*[^-A-Za-z0-9._:@+=]*'
      AND length(buyer_id) <= 64 AND buyer_id NOT GLOB '*[^-A-Za-z0-9._:@+=]*'
    ORDER BY seq
    ON CONFLICT (item_id, buyer_id, order_id) DO NOTHING
""")

# The deductions of a message that got no row, and whether their order has one: then another seq has sold it.
MISSING_DEDUCTIONS = text(r"""
    SELECT seq, whole AND EXISTS (
        SELECT 1 FROM deductions AS sold
        WHERE sold.item_id = :item_id AND sold.buyer_id = missing.buyer_id AND sold.order_id = missing.order_id
    )
    FROM (
        SELECT json_extract(value, '$.seq') AS seq,
               coalesce(json_extract(value, '$.buyer_id'), '') AS buyer_id,
               coalesce(json_extract(value, '$.order_id'), '') AS order_id,
               instr(value, '\u0000') = 0 AS whole
        FROM json_each(:events)
        WHERE json_extract(value, '$.kind') = 'deducted'
    ) AS missing
    WHERE seq > :watermark AND NOT EXISTS (
        SELECT 1 FROM deductions AS own
        WHERE own.item_id = :item_id AND own."partition" = :partition AND own.incarnation = :incarnation
          AND own.seq = missing.seq
    )
""")

INSERT_PARTITIONS = text("""
    INSERT INTO partitions
        (item_id, "partition", incarnation, state, durability, lease_no, granted, applied, returned, watermark)
    SELECT :item_id, value, 1, 'new', :durability, 0, 0, 0, 0, 0
    FROM json_each(:numbers) ORDER BY value
""")

INSERT_LEASES = text("""
    INSERT INTO leases (item_id, "partition", incarnation, no, quantity, created_at)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
           json_extract(value, '$[3]'), json_extract(value, '$[4]'), :created_at
    FROM json_each(:leases)
""")

GRANT_TO_PARTITIONS = text("""
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


def database_path(url: URL) -> Path:
    """The file that `url` names; its folder is made.

    Raises:
        InvalidSettings: it names none, or the folder cannot be made.
    """
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


def make_writer(url: URL) -> Engine:
    """One connection, whose transactions hold the write lock from their first moment."""
    engine = create_engine(url, pool_size=1, max_overflow=0)
    _set_up(engine, "BEGIN IMMEDIATE")
    return engine


def make_reader(url: URL, connections: int) -> Engine:
    """A few connections, each of whose transactions sees one snapshot."""
    engine = create_engine(url, pool_size=connections, max_overflow=0)
    _set_up(engine, "BEGIN")
    return engine


def is_busy(error: BaseException) -> bool:
    """Whether the database was locked by another process, so that trying again may help."""
    return isinstance(error, OperationalError) and _code(error) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_unusable(error: DBAPIError) -> bool:
    """Whether the file cannot be opened, cannot be written, or is no database."""
    return _code(error) & 0xFF in (
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
    )


def _code(error: DBAPIError) -> int:
    return getattr(error.orig, "sqlite_errorcode", 0) or 0


def _set_up(engine: Engine, begin: str) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        # The driver would begin transactions by its own rules, and late; `on_begin` does it instead.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)
