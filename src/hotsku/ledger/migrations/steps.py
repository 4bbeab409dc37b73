"""Steps of migrations that may be made again.

MySQL and MariaDB commit every DDL statement by itself, so a migration that died half-way has made some of its
statements. Each step therefore looks first whether it was made; then the whole migration can be run again.
"""

from collections.abc import Sequence

from alembic import op
from sqlalchemy import Connection, inspect


def database() -> str:
    """Which database is migrated: "sqlite", "postgresql", "mysql" or "mariadb"."""
    dialect = _connection().dialect
    return "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name


def has_column(table: str, column: str) -> bool:
    """Whether the table has the column already."""
    return any(each["name"] == column for each in inspect(_connection()).get_columns(table))


def create_index(name: str, table: str, columns: Sequence[str]) -> None:
    """Make an index, unless the table has it."""
    if all(each["name"] != name for each in inspect(_connection()).get_indexes(table)):
        op.create_index(name, table, list(columns))


def create_view(name: str, select: str) -> None:
    """Make a view, or make it anew. Who may read it on a server stays as it was."""
    if database() == "sqlite":
        op.execute(f"DROP VIEW IF EXISTS {name}")
        op.execute(f"CREATE VIEW {name} AS{select}")
    else:
        op.execute(f"CREATE OR REPLACE VIEW {name} AS{select}")


def _connection() -> Connection:
    return op.get_bind()
