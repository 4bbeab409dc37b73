"""MySQL and MariaDB: how their connections are made, and the statements that only they write so.

Both are spoken to as `mysql`, whichever the URL says: the server tells which of the two it is. They differ in the name
of the collation (`types`), in what limits a statement's time, and in that only MariaDB can be told to skip its CHECKs.

Measured (medians of 14 alternating rounds, 5,000 details a message, one commit each, two cores), details/s on MariaDB
10.11 and MySQL 9.7: one INSERT with 5,000 rows of literals 111,000 and 55,000; `JSON_TABLE` over the message 75,000 and
52,000, of which the driver takes 15 ms a message to quote the JSON; PyMySQL's `executemany`, which quotes every value,
21,000 and 9,000. Ids are checked to be of characters that need no quoting before they become literals.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import pymysql
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.dialects.mysql import insert
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from hotsku.domain.deduction import OrderState
from hotsku.domain.sales import Sale
from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.ledger import json_rows
from hotsku.ledger.details import sold_orders
from hotsku.ledger.dialect import SERVER_WRITERS, Fault, GrantRow, Run
from hotsku.ledger.tables import parked

OLDEST = {"MySQL": (8, 0, 17), "MariaDB": (10, 6)}
CONNECT_TIMEOUT_S = 5
LOCK_TIMEOUT_S = 5
# The driver gives up on a server that says nothing for so long.
WRITE_TIMEOUT_S = 30
READ_TIMEOUT_S = 600
_MIGRATION_LOCK_S = 120

# The order of the join keeps it from locking partitions that nobody grants to; the index from looking at all of a small
# table, and waiting for whichever of them somebody has locked.
_GRANT = text("""
    UPDATE JSON_TABLE(:grants, '$[*]' COLUMNS (
        item_id BIGINT PATH '$[0]', part BIGINT PATH '$[1]', incarnation BIGINT PATH '$[2]',
        after_no BIGINT PATH '$[3]', n BIGINT PATH '$[4]', units BIGINT PATH '$[5]'
    )) AS e STRAIGHT_JOIN partitions AS p FORCE INDEX (uq_partitions_item_id_partition_incarnation)
      ON p.item_id = e.item_id AND p.`partition` = e.part AND p.incarnation = e.incarnation
    SET p.lease_no = p.lease_no + e.n, p.granted = p.granted + e.units
    WHERE p.lease_no = e.after_no AND p.state = 'open'
""")

_INSERT_SALES = (
    "INSERT INTO deductions (item_id, `partition`, incarnation, seq, buyer_id, order_id, quantity, state, created_at)"
    " VALUES "
)

# The longest text of all is metadata.
_TYPES = {int: "BIGINT", str: "VARCHAR(256) CHARACTER SET utf8mb4", bool: "BOOLEAN"}

_LOCK = text("SELECT GET_LOCK(:name, :seconds)")

_DUPLICATE = 1062
_FAULTS = {
    # Deadlock, lock wait, changed since the snapshot, too many connections, killed query.
    **dict.fromkeys((1213, 1205, 1020, 1040, 1203, 1317), Fault.AGAIN),
    # No connection, gone away, lost, shutting down, killed, idle for too long.
    **dict.fromkeys((0, 2002, 2003, 2006, 2013, 2014, 2055, 1053, 1927, 4031), Fault.LOST),
    **dict.fromkeys((_DUPLICATE, 1586), Fault.DUPLICATE),
    # CHECKs, numbers out of range, foreign keys, too long, NULL.
    **dict.fromkeys((3819, 4025, 1264, 1690, 1216, 1217, 1451, 1452, 1406, 1048, 1366), Fault.BROKEN),
    # Access denied, no such database, no right, read-only, no way to log in.
    **dict.fromkeys((1044, 1045, 1049, 1142, 1143, 1290, 1698, 1792, 1836, 2059, 2061, 3159), Fault.UNUSABLE),
}


class MysqlDialect:
    """Implements `hotsku.ledger.dialect.Dialect` for MySQL and MariaDB, through PyMySQL.

    Args:
        url: without query parameters.
        options: what the URL's query said: arguments of the driver.
    """

    advice = "name a database that this user may use"
    migrates_itself = False
    writers = SERVER_WRITERS

    def __init__(self, url: URL, options: dict[str, str | bool]) -> None:
        self._url = url.set(drivername="mysql+pymysql")
        self._options = options
        self.where = URL.create("mysql", host=url.host, port=url.port, database=url.database).render_as_string()

    def writer(self) -> Engine:
        """READ COMMITTED: the guards do not need more, and it locks no gaps."""
        return self._engine(sum(self.writers.values()), WRITE_TIMEOUT_S, "READ COMMITTED")

    def reader(self, connections: int) -> Engine:
        """REPEATABLE READ, read only, with the snapshot taken at once."""
        engine = self._engine(connections, READ_TIMEOUT_S, "REPEATABLE READ")

        @event.listens_for(engine, "begin")
        def on_begin(connection: Connection) -> None:
            connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

        return engine

    def migrator(self) -> Engine:
        """No timeout but that for locks."""
        return self._engine(None, None, "READ COMMITTED")

    def check_server(self, connection: Connection) -> None:
        """The version must have CHECKs, JSON_TABLE and a collation without padding."""
        kind = "MariaDB" if getattr(connection.dialect, "is_mariadb", False) else "MySQL"
        version = connection.dialect.server_version_info or ()
        if version < OLDEST[kind]:
            oldest, found = (".".join(map(str, each)) for each in (OLDEST[kind], version))
            raise InvalidSettings(f"ledger_url: {kind} {oldest} or newer is needed, this is {found}")

    @contextmanager
    def migrating_alone(self, connection: Connection) -> Iterator[None]:
        """By a named lock, which ends with the connection: after the commit."""
        # Named locks are the whole server's, and their names are short.
        name = "hotsku " + sha256((self._url.database or "").encode()).hexdigest()[:40]
        if connection.execute(_LOCK, {"name": name, "seconds": _MIGRATION_LOCK_S}).scalar() != 1:
            raise BackendUnavailable(f"the ledger {self.where} is being migrated by another process")
        yield

    def fault(self, error: DBAPIError) -> Fault:
        """By the server's error number, or the driver's."""
        if error.connection_invalidated:
            return Fault.LOST
        number = error.orig.args[0] if error.orig is not None and error.orig.args else 0
        return _FAULTS.get(number, Fault.OTHER)

    def insert_sales(self, connection: Connection, runs: Sequence[Run]) -> int:
        """Insert them as literals, a statement for each run, as a server may take no longer ones."""
        return sum(self._insert_run(connection, run) for run in runs)

    def _insert_run(self, connection: Connection, run: Run) -> int:
        """Where an order has a row already, look for those and leave them out.

        There is no statement here that leaves out duplicates of one key, and nothing else.
        """
        try:
            return _insert(connection, run, run.sales)
        except IntegrityError as error:
            if self.fault(error) is not Fault.DUPLICATE:
                raise
        # MySQL has undone the statement, not the transaction.
        first = {(sale.buyer_id, sale.order_id): sale for sale in reversed(run.sales)}
        sold = sold_orders(connection, run.item_id, list(first))
        return _insert(connection, run, [sale for order, sale in first.items() if order not in sold])

    def grant(self, connection: Connection, grants: Sequence[GrantRow]) -> int:
        """Update from JSON."""
        return json_rows.grant(connection, _GRANT, grants)

    def json_table(self, columns: Mapping[str, type]) -> str:
        """With JSON_TABLE."""
        fields = ", ".join(f"`{name}` {_TYPES[kind]} PATH '$.{name}'" for name, kind in columns.items())
        return f"JSON_TABLE(:rows, '$[*]' COLUMNS ({fields})) AS e"

    def update_from(self, table: str, source: str, condition: str, columns: Sequence[str]) -> str:
        """With a join, whose order and index keep it from looking at, and locking, every row of the table."""
        sets = ", ".join(f"{table}.{name} = e.{name}" for name in columns)
        return f"UPDATE {source} STRAIGHT_JOIN {table} FORCE INDEX (PRIMARY) ON {condition} SET {sets}"  # noqa: S608  # names of ours

    def join_to(self, source: str, table: str, condition: str) -> str:
        """In this order."""
        return f"{source} STRAIGHT_JOIN {table} ON {condition}"

    def insert_parked(self, connection: Connection, values: dict[str, object]) -> None:
        """With an update that changes nothing: INSERT IGNORE would swallow other faults as well."""
        statement = insert(parked).values(values)
        connection.execute(statement.on_duplicate_key_update(digest=parked.c.digest))

    def _engine(self, connections: int | None, timeout_s: int | None, isolation: str) -> Engine:
        arguments: dict[str, Any] = {
            "charset": "utf8mb4",
            "collation": "utf8mb4_bin",
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": timeout_s,
            "write_timeout": timeout_s,
            **self._options,
        }
        if connections is None:
            engine = create_engine(self._url, connect_args=arguments, poolclass=NullPool)
        else:
            engine = create_engine(self._url, connect_args=arguments, pool_size=connections, max_overflow=0)

        @event.listens_for(engine, "connect")
        def on_connect(connection: "pymysql.Connection[Any]", _: ConnectionPoolEntry) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT VERSION()")
                (version,) = cursor.fetchone() or ("",)
                for setting in _session(isolation, timeout_s, mariadb="MariaDB" in version):
                    cursor.execute(f"SET SESSION {setting}")

        return engine


def _session(isolation: str, timeout_s: int | None, *, mariadb: bool) -> list[str]:
    """What a connection is told, whatever the server's own defaults are. Without `timeout_s` only locks time out."""
    settings = [
        "sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
        f"innodb_lock_wait_timeout = {LOCK_TIMEOUT_S}",
        f"lock_wait_timeout = {LOCK_TIMEOUT_S if timeout_s else _MIGRATION_LOCK_S}",
        "foreign_key_checks = 1",
        "unique_checks = 1",
        f"TRANSACTION ISOLATION LEVEL {isolation}",
    ]
    if mariadb:
        return [*settings, "check_constraint_checks = 1", f"max_statement_time = {timeout_s or 0}"]
    return [*settings, f"max_execution_time = {(timeout_s or 0) * 1000}"]


def _insert(connection: Connection, run: Run, sales: Sequence[Sale]) -> int:
    """Insert sales: the characters of their ids mean nothing in SQL, and all else is integers."""
    if not sales:
        return 0
    place = f"{run.item_id:d},{run.partition:d},{run.incarnation:d}"
    state = OrderState.CONFIRMED.value
    rows = [
        f"({place},{sale.seq},'{sale.buyer_id}','{sale.order_id}',{sale.quantity},'{state}',{sale.at})"
        for sale in sales
    ]
    return connection.exec_driver_sql(_INSERT_SALES + ",".join(rows)).rowcount
