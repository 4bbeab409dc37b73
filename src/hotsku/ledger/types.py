"""Column types that mean the same on every database."""

from sqlalchemy import BigInteger, Dialect, Integer, String, TypeDecorator
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine

# SQLite counts up by itself only where the column's type is exactly INTEGER. PostgreSQL is told that the column is an
# identity: a sequence would ask for a right of its own.
SERIAL = BigInteger().with_variant(Integer(), "sqlite")


class ByteText(TypeDecorator[str]):
    """Text that compares and sorts byte by byte: case and trailing spaces count everywhere.

    SQLite does so by default. MariaDB and MySQL have a collation without padding each, under different names.
    """

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """The database's own type."""
        length = self.impl_instance.length if isinstance(self.impl_instance, String) else None
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.VARCHAR(length, collation="C"))
        if dialect.name in ("mysql", "mariadb"):
            collation = "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
            return dialect.type_descriptor(mysql.VARCHAR(length, charset="utf8mb4", collation=collation))
        return dialect.type_descriptor(String(length))
