"""Hands rows to a statement as JSON, which the database takes apart: one statement for any number of them."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, RowMapping, TextClause, text

from hotsku.domain.deduction import OrderState
from hotsku.ledger.dialect import Dialect, GrantRow, Run


def insert_sales(connection: Connection, statement: TextClause, run: Run) -> int:
    """Insert details from arrays of (seq, buyer, order, quantity, at). Returns how many."""
    rows = [(sale.seq, sale.buyer_id, sale.order_id, sale.quantity, sale.at) for sale in run.sales]
    values = {
        "item_id": run.item_id,
        "partition": run.partition,
        "incarnation": run.incarnation,
        "state": OrderState.CONFIRMED.value,
        "rows": msgspec.json.encode(rows).decode(),
    }
    return connection.execute(statement, values).rowcount


def grant(connection: Connection, statement: TextClause, grants: Sequence[GrantRow]) -> int:
    """Update partitions. Returns how many."""
    return connection.execute(statement, {"grants": msgspec.json.encode(grants).decode()}).rowcount


def insert(connection: Connection, dialect: Dialect, table: str, rows: Sequence[Struct]) -> None:
    """Insert rows, whose columns are the fields of the structs."""
    if not rows:
        return
    types = _types(rows[0])
    into = ", ".join(map(connection.dialect.identifier_preparer.quote, types))
    values = ", ".join(f"e.{name}" for name in types)
    # The names are the code's own.
    statement = f"INSERT INTO {table} ({into}) SELECT {values} FROM {dialect.json_table(types)}"  # noqa: S608
    connection.execute(text(statement), _parameters(rows))


def update(connection: Connection, dialect: Dialect, table: str, rows: Sequence[Struct], key: Sequence[str]) -> int:
    """Set rows, found by the columns of `key`, to what the structs say. Returns how many were found."""
    if not rows:
        return 0
    types = _types(rows[0])
    columns = [name for name in types if name not in key]
    statement = dialect.update_from(table, dialect.json_table(types), _same(table, key), columns)
    return connection.execute(text(statement), _parameters(rows)).rowcount


def select(
    connection: Connection, dialect: Dialect, table: str, keys: Sequence[Struct], columns: Sequence[str]
) -> Sequence[RowMapping]:
    """The columns of those rows that have the fields of one of the keys."""
    if not keys:
        return []
    types = _types(keys[0])
    wanted = ", ".join(f"{table}.{name}" for name in columns)
    found = dialect.join_to(dialect.json_table(types), table, _same(table, list(types)))
    statement = f"SELECT {wanted} FROM {found}"  # noqa: S608  # names of the code's own
    return connection.execute(text(statement), _parameters(keys)).mappings().all()


def _same(table: str, columns: Sequence[str]) -> str:
    return " AND ".join(f"{table}.{name} = e.{name}" for name in columns)


def _types(row: Struct) -> Mapping[str, type]:
    return {field.name: field.type for field in msgspec.structs.fields(row)}


def _parameters(rows: Sequence[Struct]) -> dict[str, object]:
    return {"rows": msgspec.json.encode(rows).decode()}
