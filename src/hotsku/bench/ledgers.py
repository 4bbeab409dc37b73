"""Ledgers of the benchmark's own on every kind of database, and the quickest plain bulk insert into each."""

import asyncio
import secrets
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg
import pymysql
from psycopg import sql

from hotsku.clock import SystemClock
from hotsku.ledger import migrate_ledger
from hotsku.ledger.sqlite import WRITER_PRAGMAS

# item, partition, incarnation, seq, buyer, order
Detail = tuple[int, int, int, int, str, str]

_COLUMNS = ("item_id", "partition", "incarnation", "seq", "buyer_id", "order_id", "quantity", "state", "created_at")
_REST = (1, "confirmed", 1_700_000_000_000)
_LINE = "%d\t%d\t%d\t%d\t%s\t%s\t1\tconfirmed\t1700000000000\n"
_LITERALS = "(%d,%d,%d,%d,'%s','%s',1,'confirmed',1700000000000)"
# More would not be quicker, and a server may take no longer statement.
_ROWS_A_STATEMENT = 5_000


class PlainInsert(Protocol):
    """Inserts details in one transaction, and moves no figures."""

    def __call__(self, rows: Sequence[Detail]) -> None: ...


@asynccontextmanager
async def new_ledger(server_url: str) -> AsyncIterator[str]:
    """The URL of a new, migrated database on a server, which is removed at the end."""
    name = f"hotsku_bench_{secrets.token_hex(4)}"
    url = urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    await asyncio.to_thread(_administer, server_url, f"CREATE DATABASE {name}")
    try:
        await asyncio.to_thread(migrate_ledger, url, clock=SystemClock(), token_hex=secrets.token_hex)
        yield url
    finally:
        await asyncio.to_thread(_administer, server_url, f"DROP DATABASE {name}")


def plain_insert(ledger_url: str, folder: Path) -> "AbstractContextManager[PlainInsert]":
    """The quickest insert that the driver has to offer: COPY, LOAD DATA LOCAL where the server allows it, or else one
    INSERT with many rows, `executemany`; with the settings of the ledger's own connections.

    Args:
        folder: where a file may be made.
    """
    if ledger_url.startswith("sqlite:"):
        return _sqlite(ledger_url.removeprefix("sqlite:///"))
    return _postgresql(ledger_url) if ledger_url.startswith("postgres") else _mysql(ledger_url, folder)


@contextmanager
def _sqlite(path: str) -> Iterator[PlainInsert]:
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    statement = f"INSERT INTO deductions ({names}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608  # our own
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for setting in ("journal_mode = WAL", "synchronous = FULL", *WRITER_PRAGMAS):
            connection.execute(f"PRAGMA {setting}")

        def insert(rows: Sequence[Detail]) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(statement, ((*row, *_REST) for row in rows))
            connection.execute("COMMIT")

        yield insert


@contextmanager
def _postgresql(url: str) -> Iterator[PlainInsert]:
    names = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
    statement = sql.SQL("COPY deductions ({}) FROM STDIN").format(names)
    with closing(psycopg.connect(url)) as connection:

        def insert(rows: Sequence[Detail]) -> None:
            with connection.cursor().copy(statement) as copy:
                copy.write(_lines(rows))
            connection.commit()

        yield insert


@contextmanager
def _mysql(url: str, folder: Path) -> Iterator[PlainInsert]:
    names = ", ".join(f"`{name}`" for name in _COLUMNS)
    file = folder / f"{secrets.token_hex(4)}.tsv"
    with closing(_connect_mysql(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@local_infile")
        (loads,) = cursor.fetchone() or (0,)

        def load(rows: Sequence[Detail]) -> None:
            file.write_text(_lines(rows), "ascii")
            cursor.execute(f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE deductions ({names})")
            connection.commit()

        def insert(rows: Sequence[Detail]) -> None:
            for start in range(0, len(rows), _ROWS_A_STATEMENT):
                values = ",".join(map(_LITERALS.__mod__, rows[start : start + _ROWS_A_STATEMENT]))
                cursor.execute(f"INSERT INTO deductions ({names}) VALUES {values}")  # noqa: S608  # our own
            connection.commit()

        yield load if loads else insert


def _lines(rows: Sequence[Detail]) -> str:
    return "".join(map(_LINE.__mod__, rows))


def _administer(url: str, statement: str) -> None:
    if url.startswith("postgres"):
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute(statement.encode())
        return
    with closing(_connect_mysql(url)) as mysql, mysql.cursor() as cursor:
        cursor.execute(statement)


def _connect_mysql(url: str) -> "pymysql.Connection[pymysql.cursors.Cursor]":
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or "root"),
        password=unquote(parts.password or ""),
        database=parts.path.lstrip("/"),
        charset="utf8mb4",
        local_infile=True,
    )
