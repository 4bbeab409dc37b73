"""PostgreSQL as a shop would run it, through psycopg 3.

- `fsync` and `synchronous_commit` as the server has them (on, by default); READ COMMITTED, the default.
- Statements are prepared on each connection at their first use.
- The hot table keeps half of each page free and has no index on what changes, so that updates stay in it (HOT).
- Where one statement can do it all, one does: the row is then locked for no round trip.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import LiteralString, cast

import psycopg

from hotsku.errors import BackendUnavailable
from hotsku.strategies.databases.base import Again, Database, Duplicate, Row, Value
from hotsku.strategies.databases.named import percent_style

CONNECTIONS = 16


class PostgresqlDialect:
    """How PostgreSQL is written to."""

    name = "postgresql"
    one_statement = True
    for_update = "FOR UPDATE"
    skip_locked = "FOR UPDATE SKIP LOCKED"
    insert = ("INSERT", "ON CONFLICT DO NOTHING")

    def tables(self, prefix: str) -> list[str]:
        return [
            f"""CREATE TABLE IF NOT EXISTS {prefix}items (
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sku varchar(64) COLLATE "C" NOT NULL UNIQUE,
                total bigint NOT NULL, stock bigint NOT NULL CHECK (stock >= 0), version bigint NOT NULL DEFAULT 0,
                drained bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50)""",
            f"""CREATE TABLE IF NOT EXISTS {prefix}orders (
                item_id bigint NOT NULL, buyer_id varchar(64) COLLATE "C" NOT NULL,
                order_id varchar(64) COLLATE "C" NOT NULL, quantity bigint NOT NULL, state smallint NOT NULL,
                created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (item_id, buyer_id, order_id))""",
            f"""CREATE TABLE IF NOT EXISTS {prefix}units (
                item_id bigint NOT NULL, no bigint NOT NULL, state smallint NOT NULL,
                PRIMARY KEY (item_id, no))""",
            f"CREATE INDEX IF NOT EXISTS {prefix}units_free ON {prefix}units (item_id, no) WHERE state = 0",
        ]

    def add_units(self, prefix: str) -> str:
        return (
            f"INSERT INTO {prefix}units (item_id, no, state) "
            "SELECT :item, no, 0 FROM generate_series(1, :total) AS no ON CONFLICT DO NOTHING"
        )


def open_postgresql(url: str, connections: int = CONNECTIONS) -> Database:
    """The database at `url`, as libpq takes it: `postgresql://user@host/database`."""
    return Database(PostgresqlDialect(), lambda: _PostgresqlSession(url), connections)


class _PostgresqlSession:
    def __init__(self, url: str) -> None:
        with _plain_faults():
            self._connection = psycopg.connect(url, autocommit=True, prepare_threshold=0)
            self._cursor = self._connection.cursor()

    def execute(self, sql: str, values: Mapping[str, Value]) -> int:
        with _plain_faults():
            return self._cursor.execute(_ours(sql), values).rowcount

    def execute_many(self, sql: str, rows: Sequence[Mapping[str, Value]]) -> None:
        with _plain_faults():
            self._cursor.executemany(_ours(sql), rows)

    def rows(self, sql: str, values: Mapping[str, Value]) -> list[Row]:
        with _plain_faults():
            return [tuple(map(int, row)) for row in self._cursor.execute(_ours(sql), values).fetchall()]

    def begin(self) -> None:
        self.execute("BEGIN", {})

    def commit(self) -> None:
        if self._open:
            self.execute("COMMIT", {})

    def rollback(self) -> None:
        if self._open:
            with suppress(psycopg.Error):
                self._cursor.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()

    @property
    def _open(self) -> bool:
        return self._connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE


def _ours(sql: str) -> LiteralString:
    """Names of tables are ours, all else is a value: nothing of a user's is ever in the statement."""
    return cast("LiteralString", percent_style(sql))  # type: ignore[redundant-cast]  # to mypy they are one type


@contextmanager
def _plain_faults() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.UniqueViolation as error:
        raise Duplicate(str(error)) from error
    except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
        raise Again from error
    except psycopg.Error as error:
        raise BackendUnavailable(f"PostgreSQL: {' '.join(str(error).split())}") from error
