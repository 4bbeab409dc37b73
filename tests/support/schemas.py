"""Describes a database's schema, so that two can be compared."""

import re
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Inspector, inspect

_FOREIGN = ("constrained_columns", "referred_table", "referred_columns")

Schema = dict[str, dict[str, Any]]


def schema_of(connection: Connection) -> Schema:
    """All tables and views, but alembic's own: columns, keys, constraints, indexes."""
    inspector = inspect(connection)
    tables = {name: _table(inspector, name) for name in inspector.get_table_names() if name != "alembic_version"}
    views = {name: {"view": _words(inspector.get_view_definition(name))} for name in inspector.get_view_names()}
    return tables | views


def _table(inspector: Inspector, name: str) -> dict[str, Any]:
    return {
        "columns": {
            each["name"]: (repr(each["type"]), each["nullable"], str(each["default"]), bool(each.get("identity")))
            for each in inspector.get_columns(name)
        },
        "primary key": inspector.get_pk_constraint(name)["constrained_columns"],
        "unique": _named(inspector.get_unique_constraints(name), "column_names"),
        "indexes": _named(inspector.get_indexes(name), "column_names"),
        "foreign": _named(
            inspector.get_foreign_keys(name), "constrained_columns", "referred_table", "referred_columns"
        ),
        "checks": {each["name"]: _words(each["sqltext"]) for each in inspector.get_check_constraints(name)},
    }


def _named(things: Iterable[Any], *what: str) -> dict[str, Any]:
    return {each["name"]: [each[key] for key in what] for each in things}


def _words(sql: str) -> str:
    return re.sub(r"\s+", " ", sql).strip()
