"""The ledger's tables. The migrations make the same ones; a test compares the two.

Times are milliseconds since the epoch. Ids are compared byte by byte, which is what SQLite does by default.
Conservation is in the schema, as CHECKs: a transaction that would break it cannot commit, whoever wrote it.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    event,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite counts up by itself only where the column's type is exactly INTEGER.
_SERIAL = BigInteger().with_variant(Integer(), "sqlite")
_ID = String(64)


def _partition_columns() -> tuple[Column[int], Column[int], Column[int]]:
    return (
        Column("item_id", BigInteger, nullable=False),
        Column("partition", Integer, nullable=False),
        Column("incarnation", Integer, nullable=False),
    )


ledger = Table(
    "ledger",
    metadata,
    Column("id", Integer, nullable=False),
    Column("ledger_id", String(12), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("id"),
    CheckConstraint("id = 1", name="one_row"),
)

items = Table(
    "items",
    metadata,
    Column("id", _SERIAL, nullable=False),
    Column("sku", _ID, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("pool", BigInteger, nullable=False),
    Column("partitions", Integer, nullable=False),
    Column("limit_per_buyer", BigInteger),
    Column("opens_at", BigInteger),
    Column("closes_at", BigInteger),
    Column("hold_ttl_ms", BigInteger, nullable=False),
    Column("routing", String(16), nullable=False),
    Column("refund_restores_limit", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("sku"),
    CheckConstraint("pool >= 0 AND pool <= total", name="pool"),
)

partitions = Table(
    "partitions",
    metadata,
    Column("id", _SERIAL, nullable=False),
    *_partition_columns(),
    Column("state", String(16), nullable=False),
    Column("reason", String(200)),
    Column("durability", String(16), nullable=False),
    Column("lease_no", BigInteger, nullable=False),
    Column("granted", BigInteger, nullable=False),
    Column("applied", BigInteger, nullable=False),
    Column("returned", BigInteger, nullable=False),
    Column("watermark", BigInteger, nullable=False),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("item_id", "partition", "incarnation"),
    ForeignKeyConstraint(["item_id"], ["items.id"]),
    CheckConstraint("state IN ('new', 'open', 'fenced')", name="state"),
    CheckConstraint(
        "lease_no >= 0 AND granted >= 0 AND applied >= 0 AND returned >= 0 AND watermark >= 0", name="not_negative"
    ),
    CheckConstraint("granted >= applied + returned", name="preallocated"),
)

leases = Table(
    "leases",
    metadata,
    *_partition_columns(),
    Column("no", BigInteger, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("item_id", "partition", "incarnation", "no"),
    ForeignKeyConstraint(
        ["item_id", "partition", "incarnation"],
        ["partitions.item_id", "partitions.partition", "partitions.incarnation"],
    ),
    CheckConstraint("no > 0 AND quantity > 0", name="positive"),
    sqlite_with_rowid=False,
)

# Neither details nor steps have a foreign key: the applier reads their partition's row in the same transaction, and a
# look-up for every row would be paid on the busiest path. The auditor counts rows that belong to no partition.
deductions = Table(
    "deductions",
    metadata,
    *_partition_columns(),
    Column("seq", BigInteger, nullable=False),
    Column("buyer_id", _ID, nullable=False),
    Column("order_id", _ID, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False, server_default="1"),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("item_id", "partition", "incarnation", "seq"),
    UniqueConstraint("item_id", "buyer_id", "order_id"),
    CheckConstraint("quantity >= 1 AND quantity <= 1000000000", name="quantity"),
    sqlite_with_rowid=False,
)

steps = Table(
    "steps",
    metadata,
    *_partition_columns(),
    Column("seq", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("buyer_id", _ID, nullable=False),
    Column("order_id", _ID, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    PrimaryKeyConstraint("item_id", "partition", "incarnation", "seq"),
    CheckConstraint("quantity >= 1 AND quantity <= 1000000000", name="quantity"),
    sqlite_with_rowid=False,
)

# What could not be applied. `digest` makes parking the same thing again do nothing.
parked = Table(
    "parked",
    metadata,
    Column("id", _SERIAL, nullable=False),
    Column("item_id", BigInteger),
    Column("partition", Integer),
    Column("incarnation", Integer),
    Column("seq", BigInteger),
    Column("reason", String(200), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("resolved_at", BigInteger),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("digest"),
    Index(None, "item_id", "partition", "incarnation"),
)

_EVENTS = """
CREATE VIEW events AS
SELECT item_id, "partition", incarnation, seq, 'deducted' AS kind, buyer_id, order_id, quantity, created_at AS at
FROM deductions
UNION ALL
SELECT item_id, "partition", incarnation, seq, kind, buyer_id, order_id, quantity, at
FROM steps
"""


@event.listens_for(metadata, "after_create")
def _make_view(_: MetaData, connection: Connection, **_options: object) -> None:
    connection.exec_driver_sql(_EVENTS)
