"""Databases for tests of the ledger: each a new one on a server that runs here, or a file."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import Connection, Engine, create_engine, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from hotsku.ledger import SqlLedger, migrate_ledger, open_ledger
from hotsku.ledger.tables import metadata
from tests.support.ledger import StillClock

Kind = Literal["sqlite", "postgresql", "mariadb", "mysql"]

_URLS: Mapping[str, str | None] = {
    "postgresql": os.environ.get("HOTSKU_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test"),
    "mariadb": os.environ.get("HOTSKU_TEST_MARIADB_URL", "mariadb://root@127.0.0.1:3306/test"),
    # Nobody has one by default.
    "mysql": os.environ.get("HOTSKU_TEST_MYSQL_URL"),
}
KINDS: tuple[Kind, ...] = ("sqlite", "postgresql", "mariadb", *(("mysql",) if _URLS["mysql"] else ()))
SERVERS = tuple(kind for kind in KINDS if kind != "sqlite")
_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "mariadb": "mysql+pymysql",
    "mysql": "mysql+pymysql",
}


class Database:
    """A database of a test's own.

    Attributes:
        url: as the settings name it.
    """

    def __init__(self, kind: Kind, url: str) -> None:
        self.kind = kind
        self.url = url

    def open(self, readers: int = 2) -> SqlLedger:
        """The ledger in it, migrated."""
        if self.kind != "sqlite":
            self.migrate()
        return self.open_only(readers)

    def open_only(self, readers: int = 2) -> SqlLedger:
        """The ledger in it."""
        return open_ledger(self.url, clock=StillClock(), token_hex=secrets.token_hex, readers=readers)

    def migrate(self, *, post: bool = False) -> str:
        """What `hotsku migrate` does."""
        return migrate_ledger(self.url, clock=StillClock(), token_hex=secrets.token_hex, post=post)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection of another program, that commits at the end."""
        engine = plain_engine(make_url(self.url), self.kind)
        try:
            with engine.begin() as connection:
                if self.kind == "sqlite":
                    connection.execute(text("PRAGMA foreign_keys = ON"))
                yield connection
        finally:
            engine.dispose()

    def execute(self, statement: str, **values: object) -> tuple[object, ...]:
        """Run a statement, as another program would, with "partition" quoted. Returns the first row, if any."""
        quoted = statement.replace('"', "`") if self.kind in ("mysql", "mariadb") else statement
        with self.connection() as connection:
            result = connection.execute(text(quoted), values)
            row = result.first() if result.returns_rows else None
        return () if row is None else tuple(row)

    def corrupt(self, statement: str) -> None:
        """Run a statement that foreign keys would not allow."""
        off = {"postgresql": "SET session_replication_role = replica", "sqlite": "PRAGMA foreign_keys = OFF"}
        with self.connection() as connection:
            connection.execute(text(off.get(self.kind, "SET SESSION foreign_key_checks = 0")))
            connection.execute(text(statement))

    def clear(self) -> None:
        """Remove all rows but the ledger's own; numbers begin at 1 again."""
        names = [table.name for table in metadata.tables.values() if table.name != "ledger"]
        with self.connection() as connection:
            if self.kind == "postgresql":
                connection.execute(text(f"TRUNCATE {', '.join(names)} RESTART IDENTITY"))
                return
            connection.execute(text("SET SESSION foreign_key_checks = 0"))
            for name in names:
                connection.execute(text(f"DELETE FROM {name}"))
            for name in ("items", "partitions", "parked"):
                connection.execute(text(f"ALTER TABLE {name} AUTO_INCREMENT = 1"))

    def tables(self) -> set[str]:
        """The names of its tables."""
        with self.connection() as connection:
            return set(inspect(connection).get_table_names())


@contextmanager
def new_database(kind: Kind, folder: Path) -> Iterator[Database]:
    """An empty database, removed at the end. The test is skipped where its server does not answer.

    Args:
        folder: where the file of a SQLite database is to be.
    """
    if kind == "sqlite":
        yield Database(kind, f"sqlite:///{folder}/ledger.db")
        return
    reason = why_not(kind)
    if reason:
        pytest.skip(reason)
    name = f"hotsku_test_{secrets.token_hex(5)}"
    admin(kind, f"CREATE DATABASE {name}")
    try:
        yield Database(kind, server_url(kind).set(database=name).render_as_string(hide_password=False))
    finally:
        admin(kind, f"DROP DATABASE {name} WITH (FORCE)" if kind == "postgresql" else f"DROP DATABASE {name}")


def server_url(kind: Kind) -> URL:
    """The URL of the server, as tests are told it."""
    return make_url(_URLS[kind] or "")


def admin(kind: Kind, statement: str) -> tuple[object, ...]:
    """Run a statement on the server, outside any transaction. Returns the first row, if any."""
    engine = plain_engine(server_url(kind), kind).execution_options(isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            result = connection.execute(text(statement))
            row = result.first() if result.returns_rows else None
            return () if row is None else tuple(row)
    finally:
        engine.dispose()


@cache
def why_not(kind: Kind) -> str | None:
    """Why there is no such database here, or None."""
    if kind == "sqlite":
        return None
    try:
        admin(kind, "SELECT 1")
    except SQLAlchemyError as error:
        return f"{kind} does not answer: {' '.join(str(error).split())[:200]}"
    return None


def plain_engine(url: URL, kind: Kind) -> Engine:
    """An engine as another program would make it."""
    return create_engine(url.set(drivername=_DRIVERS[kind]), poolclass=NullPool)


def rows_at(url: str, query: str, **values: object) -> list[tuple[Any, ...]]:
    """What another program reads from the ledger at a URL of the settings."""
    parsed = make_url(url)
    engine = create_engine(parsed.set(drivername=_DRIVERS[parsed.drivername]), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query), values)]
    finally:
        engine.dispose()
