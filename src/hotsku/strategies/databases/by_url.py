"""A database by its URL. A driver is imported only where it is asked for: they are an extra."""

from pathlib import Path

from hotsku.errors import InvalidSettings
from hotsku.strategies.databases.base import Database

URLS = "sqlite:///PATH, postgresql://USER@HOST/DATABASE or mariadb://USER@HOST/DATABASE"


def open_database(url: str, connections: int | None = None) -> Database:
    """The database at `url`; it connects when it is first used.

    Args:
        connections: at most so many (SQLite has one in any case); None: the database's usual number.

    Raises:
        InvalidSettings: it is of no known kind, or its driver is not installed.
    """
    scheme = url.partition("://")[0]
    try:
        if scheme == "sqlite":
            from hotsku.strategies.databases.sqlite import open_sqlite

            return open_sqlite(Path(url.removeprefix("sqlite:///")))
        if scheme in ("postgresql", "postgres"):
            from hotsku.strategies.databases.postgresql import CONNECTIONS as POSTGRESQL
            from hotsku.strategies.databases.postgresql import open_postgresql

            return open_postgresql(url, connections or POSTGRESQL)
        if scheme in ("mariadb", "mysql"):
            from hotsku.strategies.databases.mariadb import CONNECTIONS as MARIADB
            from hotsku.strategies.databases.mariadb import open_mariadb

            return open_mariadb(url, connections or MARIADB)
    except ModuleNotFoundError as error:
        raise InvalidSettings(f"database url: {error.name} is not installed; pip install 'hotsku[bench]'") from None
    raise InvalidSettings(f"database url must be {URLS}")
