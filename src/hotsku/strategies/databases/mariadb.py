"""MariaDB as a shop would run it, through PyMySQL.

- InnoDB with `innodb_flush_log_at_trx_commit` as the server has it (1, by default): every commit is on disk.
- READ COMMITTED: no gap locks, and a statement sees what was committed before it.
- The orders' key is the table's own order (clustered), so one insertion touches one index.
- PyMySQL has no server-side preparation; the statements are point look-ups by primary key, whose parsing is not what
  limits a hot row.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import unquote, urlsplit

import pymysql
from pymysql.constants import ER

from hotsku.errors import BackendUnavailable
from hotsku.strategies.databases.base import Again, Database, Duplicate, Row, Value
from hotsku.strategies.databases.named import percent_style

CONNECTIONS = 16
_PORT = 3306
_ID = "varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL"


class MariadbDialect:
    """How MariaDB is written to."""

    name = "mariadb"
    one_statement = False
    for_update = "FOR UPDATE"
    skip_locked = "FOR UPDATE SKIP LOCKED"
    insert = ("INSERT IGNORE", "")

    def tables(self, prefix: str) -> list[str]:
        return [
            f"""CREATE TABLE IF NOT EXISTS {prefix}items (
                id bigint AUTO_INCREMENT PRIMARY KEY, sku {_ID} UNIQUE, total bigint NOT NULL,
                stock bigint NOT NULL CHECK (stock >= 0), version bigint NOT NULL DEFAULT 0,
                drained bigint NOT NULL DEFAULT 0) ENGINE = InnoDB""",
            f"""CREATE TABLE IF NOT EXISTS {prefix}orders (
                item_id bigint NOT NULL, buyer_id {_ID}, order_id {_ID}, quantity bigint NOT NULL,
                state smallint NOT NULL, created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
                PRIMARY KEY (item_id, buyer_id, order_id)) ENGINE = InnoDB""",
            f"""CREATE TABLE IF NOT EXISTS {prefix}units (
                item_id bigint NOT NULL, no bigint NOT NULL, state smallint NOT NULL, PRIMARY KEY (item_id, no),
                KEY free (item_id, state, no)) ENGINE = InnoDB""",
        ]

    def add_units(self, prefix: str) -> str:
        return (
            f"INSERT IGNORE INTO {prefix}units (item_id, no, state) "
            "WITH RECURSIVE numbers AS (SELECT 1 AS no UNION ALL SELECT no + 1 FROM numbers WHERE no < :total) "
            "SELECT :item, no, 0 FROM numbers"
        )


def open_mariadb(url: str, connections: int = CONNECTIONS) -> Database:
    """The database at `url`: `mariadb://user:password@host:port/database`."""
    return Database(MariadbDialect(), lambda: _MariadbSession(url), connections)


class _MariadbSession:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        with _plain_faults():
            self._connection = pymysql.connect(
                host=parts.hostname or "127.0.0.1",
                port=parts.port or _PORT,
                user=unquote(parts.username or "root"),
                password=unquote(parts.password or ""),
                database=parts.path.lstrip("/"),
                charset="utf8mb4",
                autocommit=True,
                init_command="SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            )
            self._cursor = self._connection.cursor()
            self._cursor.execute("SET SESSION max_recursive_iterations = 1000000000")  # one for each unit of an item
        self._open = False

    def execute(self, sql: str, values: Mapping[str, Value]) -> int:
        with _plain_faults():
            return self._cursor.execute(percent_style(sql), dict(values))

    def execute_many(self, sql: str, rows: Sequence[Mapping[str, Value]]) -> None:
        with _plain_faults():
            self._cursor.executemany(percent_style(sql), [dict(row) for row in rows])

    def rows(self, sql: str, values: Mapping[str, Value]) -> list[Row]:
        with _plain_faults():
            self._cursor.execute(percent_style(sql), dict(values))
            return [tuple(map(int, row)) for row in self._cursor.fetchall()]

    def begin(self) -> None:
        self.execute("START TRANSACTION", {})
        self._open = True

    def commit(self) -> None:
        if self._open:
            self.execute("COMMIT", {})
            self._open = False

    def rollback(self) -> None:
        if self._open:
            self._open = False
            with suppress(pymysql.Error):
                self._cursor.execute("ROLLBACK")

    def close(self) -> None:
        with suppress(pymysql.Error):
            self._connection.close()


@contextmanager
def _plain_faults() -> Iterator[None]:
    try:
        yield
    except pymysql.Error as error:
        number = error.args[0] if error.args else 0
        if number in (ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT):
            raise Again from error
        if number == ER.DUP_ENTRY:
            raise Duplicate(str(error)) from error
        raise BackendUnavailable(f"MariaDB: {' '.join(str(error).split())}") from error
