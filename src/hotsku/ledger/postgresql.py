"""PostgreSQL: how its connections are made, and the statements that only it writes so.

Measured (medians of 14 alternating rounds, 5,000 details a message, one commit each, PostgreSQL 15, two cores), of what
can leave out an order that has a row: `json_to_recordset` 92,000 details/s with 1 ms of the client's CPU a message;
COPY to a temporary table 96,000 with 3; `unnest` of arrays that psycopg encodes 81,000 with 7; `jsonb_to_recordset`
74,000; one INSERT with 5,000 rows of VALUES 27,000. COPY straight into the table can leave out nothing, and made
149,000. There hardly ever is anything to leave out, so COPY is tried first, behind a savepoint.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from hotsku.domain.deduction import OrderState
from hotsku.errors import InvalidSettings
from hotsku.ledger import json_rows
from hotsku.ledger.dialect import SERVER_WRITERS, Fault, GrantRow, Run
from hotsku.ledger.tables import parked

OLDEST = (14,)
CONNECT_TIMEOUT_S = 5
LOCK_TIMEOUT_MS = 5_000
WRITE_TIMEOUT_MS = 30_000
READ_TIMEOUT_MS = 600_000
# A peer that has gone without a word is noticed after so long.
_SILENCE_MS = 15_000
# Any number will do, if all versions use the same.
_MIGRATION_LOCK = 7_264_731_500

# It goes into the table itself, and knows nothing of conflicts: one row that is there already refuses them all.
_COPY_SALES = """
    COPY deductions (item_id, "partition", incarnation, seq, buyer_id, order_id, quantity, state, created_at) FROM STDIN
"""
_INSERT_SALES = text("""
    INSERT INTO deductions
        (item_id, "partition", incarnation, seq, buyer_id, order_id, quantity, state, created_at)
    SELECT :item_id, :partition, :incarnation, CAST(e ->> 0 AS bigint), e ->> 1, e ->> 2, CAST(e ->> 3 AS bigint),
           :state, CAST(e ->> 4 AS bigint)
    FROM json_array_elements(CAST(:rows AS json)) AS e
    ON CONFLICT (item_id, buyer_id, order_id) DO NOTHING
""")

# For fewer rows the round trips of COPY and its savepoint cost more than they save.
_LEAST_COPIED = 100

_GRANT = text("""
    UPDATE partitions AS p
    SET lease_no = p.lease_no + CAST(e ->> 4 AS bigint), granted = p.granted + CAST(e ->> 5 AS bigint)
    FROM json_array_elements(CAST(:grants AS json)) AS e
    WHERE p.item_id = CAST(e ->> 0 AS bigint) AND p."partition" = CAST(e ->> 1 AS bigint)
      AND p.incarnation = CAST(e ->> 2 AS bigint)
      AND p.lease_no = CAST(e ->> 3 AS bigint) AND p.state = 'open'
""")

_TYPES = {int: "bigint", str: "text", bool: "boolean"}

_AGAIN = ("40001", "40P01", "55P03", "53300")
_LOST = ("57P01", "57P02", "57P03", "57P05")
_UNUSABLE = ("25006", "3D000", "3F000", "42501")
# A refused connection has no code, only words.
_REFUSED = re.compile(r"authentication failed|does not exist|pg_hba\.conf|SSL|ssl|certificate|permission denied")


class PostgresqlDialect:
    """Implements `hotsku.ledger.dialect.Dialect` for PostgreSQL, through psycopg."""

    advice = "name a database that this user may use"
    migrates_itself = False
    writers = SERVER_WRITERS

    def __init__(self, url: URL) -> None:
        self._url = url.set(drivername="postgresql+psycopg")
        self.where = URL.create("postgresql", host=url.host, port=url.port, database=url.database).render_as_string()

    def writer(self) -> Engine:
        """READ COMMITTED: the guards do not need more, and it gives up least often."""
        return self._engine(sum(self.writers.values()), f"SET statement_timeout = {WRITE_TIMEOUT_MS}")

    def reader(self, connections: int) -> Engine:
        """REPEATABLE READ, read only: one snapshot a transaction."""
        engine = self._engine(connections, f"SET statement_timeout = {READ_TIMEOUT_MS}")

        @event.listens_for(engine, "connect")
        def on_connect(connection: psycopg.Connection, _: ConnectionPoolEntry) -> None:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True

        return engine

    def migrator(self) -> Engine:
        """No timeout but that for locks."""
        return self._engine(None, "SET statement_timeout = 0")

    def check_server(self, connection: Connection) -> None:
        """The version must have what we use, and the database must keep any character."""
        version = connection.dialect.server_version_info or ()
        if version < OLDEST:
            raise InvalidSettings(
                f"ledger_url: PostgreSQL 14 or newer is needed, this is {'.'.join(map(str, version))}"
            )
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        if encoding != "UTF8":
            raise InvalidSettings(f"ledger_url: the database must have the encoding UTF8, not {encoding}")

    @contextmanager
    def migrating_alone(self, connection: Connection) -> Iterator[None]:
        """By an advisory lock that ends with the transaction."""
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
        yield

    def fault(self, error: DBAPIError) -> Fault:
        """By SQLSTATE."""
        state = getattr(error.orig, "sqlstate", None)
        if state is None:
            return _fault_without_state(error)
        if error.connection_invalidated or state.startswith("08") or state in _LOST:
            return Fault.LOST
        if state in _AGAIN:
            return Fault.AGAIN
        if state == "23505":
            return Fault.DUPLICATE
        if state[:2] in ("22", "23"):
            return Fault.BROKEN
        return Fault.UNUSABLE if state in _UNUSABLE or state.startswith("28") else Fault.OTHER

    def insert_sales(self, connection: Connection, runs: Sequence[Run]) -> int:
        """Copy them all at once, which is the quickest; where an order has a row already, insert them from JSON."""
        count = sum(len(run.sales) for run in runs)
        if count >= _LEAST_COPIED and _copied(connection, runs):
            return count
        return sum(json_rows.insert_sales(connection, _INSERT_SALES, run) for run in runs)

    def grant(self, connection: Connection, grants: Sequence[GrantRow]) -> int:
        """Update from JSON."""
        return json_rows.grant(connection, _GRANT, grants)

    def json_table(self, columns: Mapping[str, type]) -> str:
        """With `json_to_recordset`."""
        fields = ", ".join(f'"{name}" {_TYPES[kind]}' for name, kind in columns.items())
        return f"json_to_recordset(CAST(:rows AS json)) AS e ({fields})"

    def update_from(self, table: str, source: str, condition: str, columns: Sequence[str]) -> str:
        """With UPDATE FROM."""
        sets = ", ".join(f"{name} = e.{name}" for name in columns)
        return f"UPDATE {table} SET {sets} FROM {source} WHERE {condition}"  # noqa: S608  # names of ours

    def join_to(self, source: str, table: str, condition: str) -> str:
        """A plain join."""
        return f"{source} JOIN {table} ON {condition}"

    def insert_parked(self, connection: Connection, values: dict[str, object]) -> None:
        """With ON CONFLICT."""
        connection.execute(insert(parked).values(values).on_conflict_do_nothing(index_elements=["digest"]))

    def _engine(self, connections: int | None, setting: str) -> Engine:
        arguments = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": _SILENCE_MS,
            "client_encoding": "utf8",
            "application_name": "hotsku",
        }
        if connections is None:
            engine = create_engine(self._url, connect_args=arguments, poolclass=NullPool)
        else:
            engine = create_engine(self._url, connect_args=arguments, pool_size=connections, max_overflow=0)

        @event.listens_for(engine, "connect")
        def on_connect(connection: psycopg.Connection, _: ConnectionPoolEntry) -> None:
            connection.execute(setting.encode())
            connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}".encode())
            connection.execute(b"SET idle_in_transaction_session_timeout = 60000")
            # What is committed is on disk, also where the database's owner has chosen otherwise for all else.
            connection.execute(
                b"SELECT set_config('synchronous_commit', 'on', false)"
                b" WHERE current_setting('synchronous_commit') = 'off'"
            )
            connection.commit()

        return engine


def _copied(connection: Connection, runs: Sequence[Run]) -> bool:
    """COPY the sales. Returns False, and nothing has changed, where an order has a row already."""
    driver = connection.connection.driver_connection
    if driver is None:
        return False
    savepoint = connection.begin_nested()  # what a statement refuses ends all else that the transaction has done
    try:
        with driver.cursor() as cursor, cursor.copy(_COPY_SALES) as copy:
            for run in runs:
                copy.write(_lines(run))
    except psycopg.errors.UniqueViolation:
        savepoint.rollback()
        return False
    except psycopg.Error as error:
        raise DBAPIError.instance(  # as SQLAlchemy would, had the statement gone through it
            _COPY_SALES, None, error, psycopg.Error, connection_invalidated=driver.closed, dialect=connection.dialect
        ) from error
    savepoint.commit()
    return True


def _lines(run: Run) -> str:
    """Rows as COPY reads them: the characters of ids mean nothing to it, and all else is integers."""
    place = f"{run.item_id:d}\t{run.partition:d}\t{run.incarnation:d}"
    state = OrderState.CONFIRMED.value
    return "".join(
        [
            f"{place}\t{sale.seq}\t{sale.buyer_id}\t{sale.order_id}\t{sale.quantity}\t{state}\t{sale.at}\n"
            for sale in run.sales
        ]
    )


def _fault_without_state(error: DBAPIError) -> Fault:
    """What the driver itself says, or a server that refused to be connected to."""
    if error.statement is None and _REFUSED.search(str(error.orig)):
        return Fault.UNUSABLE
    if isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError):
        return Fault.LOST
    return Fault.BROKEN if isinstance(error.orig, psycopg.DataError) else Fault.OTHER
