"""The ledger's tables. The migrations make the same ones; a test compares the two on every database.

Times are milliseconds since the epoch. Text is compared byte by byte. Conservation is in the schema, as CHECKs: a
transaction that would break it cannot commit, whoever wrote it.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    event,
    false,
)
from sqlalchemy.schema import SchemaItem

from hotsku.ledger.types import SERIAL, ByteText

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

_QUANTITY = "quantity >= 1 AND quantity <= 1000000000"


def _partition_columns() -> tuple[Column[int], Column[int], Column[int]]:
    return (
        Column("item_id", BigInteger, nullable=False),
        Column("partition", Integer, nullable=False),
        Column("incarnation", Integer, nullable=False),
    )


ledger = Table(
    "ledger",
    metadata,
    Column("id", Integer, nullable=False, autoincrement=False),
    Column("ledger_id", ByteText(12), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # Code whose newest migration is older than this one cannot run on this schema.
    Column("contracted", ByteText(32), nullable=False, server_default="0000"),
    PrimaryKeyConstraint("id"),
    CheckConstraint("id = 1", name="one_row"),
)

items = Table(
    "items",
    metadata,
    Column("id", SERIAL, Identity(), nullable=False),
    Column("sku", ByteText(64), nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("pool", BigInteger, nullable=False),
    Column("partitions", Integer, nullable=False),
    Column("limit_per_buyer", BigInteger),
    Column("opens_at", BigInteger),
    Column("closes_at", BigInteger),
    Column("hold_ttl_ms", BigInteger, nullable=False),
    Column("routing", ByteText(16), nullable=False),
    Column("refund_restores_limit", Boolean, nullable=False),
    Column("state", ByteText(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("archived_at", BigInteger),
    # Counts the changes of the state.
    Column("version", BigInteger, nullable=False, server_default="1"),
    # Units of orders that were released, expired or refunded. They are in the pool again.
    Column("given_back", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("sku"),
    CheckConstraint("pool >= 0 AND pool <= total", name="pool"),
    CheckConstraint("given_back >= 0", name="given_back"),
)

# Every change of an item's total, once: the total that it was made with is what it has without them.
adjustments = Table(
    "adjustments",
    metadata,
    Column("item_id", BigInteger, nullable=False),
    Column("adjustment_id", ByteText(64), nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    PrimaryKeyConstraint("item_id", "adjustment_id"),
    ForeignKeyConstraint(["item_id"], ["items.id"]),
    CheckConstraint("quantity <> 0", name="quantity"),
    sqlite_with_rowid=False,
)

partitions = Table(
    "partitions",
    metadata,
    Column("id", SERIAL, Identity(), nullable=False),
    *_partition_columns(),
    Column("state", ByteText(16), nullable=False),
    Column("reason", ByteText(200)),
    Column("durability", ByteText(16), nullable=False),
    Column("lease_no", BigInteger, nullable=False),
    Column("granted", BigInteger, nullable=False),
    Column("applied", BigInteger, nullable=False),
    Column("returned", BigInteger, nullable=False),
    Column("watermark", BigInteger, nullable=False),
    Column("final_seq", BigInteger),
    Column("quarantined_until", BigInteger),
    # What the incarnation's events did to the units on hold. A hold may end in a later one: it can be negative.
    Column("held", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("item_id", "partition", "incarnation"),
    ForeignKeyConstraint(["item_id"], ["items.id"]),
    CheckConstraint("state IN ('new', 'open', 'fenced', 'rebuilding', 'closed')", name="state"),
    CheckConstraint(
        "lease_no >= 0 AND granted >= 0 AND applied >= 0 AND returned >= 0 AND watermark >= 0", name="not_negative"
    ),
    CheckConstraint("granted >= applied + returned", name="preallocated"),
    CheckConstraint(
        "(state <> 'closed' AND final_seq IS NULL AND quarantined_until IS NULL)"
        " OR (state = 'closed' AND final_seq IS NOT NULL AND watermark = final_seq"
        " AND (quarantined_until IS NOT NULL OR granted = applied + returned))",
        name="closed",
    ),
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
# look-up for every row would be paid on the busiest path. The auditor counts rows that belong to no partition, and rows
# of a state that there is not: a new CHECK on a large table keeps everybody waiting while all its rows are looked at.
def _deduction_columns() -> list[SchemaItem]:
    return [
        *_partition_columns(),
        Column("seq", BigInteger, nullable=False),
        Column("buyer_id", ByteText(64), nullable=False),
        Column("order_id", ByteText(64), nullable=False),
        Column("quantity", BigInteger, nullable=False),
        Column("state", ByteText(16), nullable=False),
        Column("attempt", Integer, nullable=False, server_default="1"),
        Column("created_at", BigInteger, nullable=False),
        Column("born", ByteText(16), nullable=False, server_default="deducted"),
        Column("cart", Boolean, nullable=False, server_default=false()),
        Column("paying", Boolean, nullable=False, server_default=false()),
        Column("expires_at", BigInteger, nullable=False, server_default="0"),
        Column("refunded", BigInteger, nullable=False, server_default="0"),
        Column("step_incarnation", Integer, nullable=False, server_default="0"),
        Column("step_seq", BigInteger, nullable=False, server_default="0"),
        Column("step_at", BigInteger, nullable=False, server_default="0"),
        Column("payment_ref", ByteText(128), nullable=False, server_default=""),
        Column("metadata", ByteText(256), nullable=False, server_default=""),
        PrimaryKeyConstraint("item_id", "partition", "incarnation", "seq"),
        UniqueConstraint("item_id", "buyer_id", "order_id"),
        CheckConstraint(_QUANTITY, name="quantity"),
    ]


def _step_columns() -> list[SchemaItem]:
    return [
        *_partition_columns(),
        Column("seq", BigInteger, nullable=False),
        Column("kind", ByteText(16), nullable=False),
        Column("buyer_id", ByteText(64), nullable=False),
        Column("order_id", ByteText(64), nullable=False),
        Column("quantity", BigInteger, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=False, server_default="0"),
        Column("payment_ref", ByteText(128), nullable=False, server_default=""),
        PrimaryKeyConstraint("item_id", "partition", "incarnation", "seq"),
        CheckConstraint(_QUANTITY, name="quantity"),
        Index(None, "item_id", "buyer_id", "order_id"),
    ]


deductions = Table("deductions", metadata, *_deduction_columns(), sqlite_with_rowid=False)
steps = Table("steps", metadata, *_step_columns(), sqlite_with_rowid=False)

# The same rows of items that are over: the busy tables and their indexes stay as large as the sales that are on.
archived_deductions = Table("archived_deductions", metadata, *_deduction_columns(), sqlite_with_rowid=False)
archived_steps = Table("archived_steps", metadata, *_step_columns(), sqlite_with_rowid=False)

# The decision of every order of several SKUs. `lines` is a JSON array of [SKU, quantity].
carts = Table(
    "carts",
    metadata,
    Column("buyer_id", ByteText(64), nullable=False),
    Column("order_id", ByteText(64), nullable=False),
    Column("lines", Text, nullable=False),
    Column("state", ByteText(16), nullable=False),
    Column("held", Boolean, nullable=False),
    Column("finished", Boolean, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("payment_ref", ByteText(128), nullable=False),
    Column("metadata", ByteText(256), nullable=False),
    Column("refusal", ByteText(200), nullable=False),
    PrimaryKeyConstraint("buyer_id", "order_id"),
    CheckConstraint("state IN ('open', 'confirmed', 'released')", name="state"),
    Index(None, "finished", "expires_at"),
)

# What could not be applied. `digest` makes parking the same thing again do nothing.
parked = Table(
    "parked",
    metadata,
    Column("id", SERIAL, Identity(), nullable=False),
    Column("item_id", BigInteger),
    Column("partition", Integer),
    Column("incarnation", Integer),
    Column("seq", BigInteger),
    Column("reason", ByteText(200), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("digest", ByteText(64), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("resolved_at", BigInteger),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("digest"),
    Index(None, "item_id", "partition", "incarnation"),
)

# Behind a dot a name needs no quotes: `partition` is a reserved word of MySQL. `coalesce` takes the length off the type
# of `kind`, as PostgreSQL lets no view change the type of a column that it had.
EVENTS = """
CREATE VIEW events AS
SELECT d.item_id, d.partition, d.incarnation, d.seq, coalesce(d.born, '') AS kind, d.buyer_id, d.order_id, d.quantity,
       d.created_at AS at
FROM deductions AS d
UNION ALL
SELECT s.item_id, s.partition, s.incarnation, s.seq, s.kind, s.buyer_id, s.order_id, s.quantity, s.at
FROM steps AS s
UNION ALL
SELECT d.item_id, d.partition, d.incarnation, d.seq, coalesce(d.born, '') AS kind, d.buyer_id, d.order_id, d.quantity,
       d.created_at AS at
FROM archived_deductions AS d
UNION ALL
SELECT s.item_id, s.partition, s.incarnation, s.seq, s.kind, s.buyer_id, s.order_id, s.quantity, s.at
FROM archived_steps AS s
"""


@event.listens_for(metadata, "after_create")
def _make_view(_: MetaData, connection: Connection, **_options: object) -> None:
    connection.exec_driver_sql(EVENTS)
