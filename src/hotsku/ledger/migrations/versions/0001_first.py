"""The first schema: items, partitions, leases, deductions, steps, parked, and the view of events."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Identity,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    UniqueConstraint,
)

from hotsku.ledger.migrations.steps import create_index, create_view
from hotsku.ledger.types import SERIAL, ByteText

PHASE = "pre"

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_QUANTITY = "quantity >= 1 AND quantity <= 1000000000"
_EVENTS = """
SELECT d.item_id, d.partition, d.incarnation, d.seq, 'deducted' AS kind, d.buyer_id, d.order_id, d.quantity,
       d.created_at AS at
FROM deductions AS d
UNION ALL
SELECT s.item_id, s.partition, s.incarnation, s.seq, s.kind, s.buyer_id, s.order_id, s.quantity, s.at
FROM steps AS s
"""


def upgrade() -> None:
    """Make the tables and the view."""
    _make_ledger()
    _make_items()
    _make_partitions()
    _make_leases()
    _make_deductions()
    _make_steps()
    _make_parked()
    create_view("events", _EVENTS)


def _partition_columns() -> tuple[Column[int], Column[int], Column[int]]:
    return (
        Column("item_id", BigInteger, nullable=False),
        Column("partition", Integer, nullable=False),
        Column("incarnation", Integer, nullable=False),
    )


def _make_ledger() -> None:
    op.create_table(
        "ledger",
        Column("id", Integer, nullable=False, autoincrement=False),
        Column("ledger_id", ByteText(12), nullable=False),
        Column("created_at", BigInteger, nullable=False),
        PrimaryKeyConstraint("id", name="pk_ledger"),
        CheckConstraint("id = 1", name=op.f("ck_ledger_one_row")),
        if_not_exists=True,
    )


def _make_items() -> None:
    op.create_table(
        "items",
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
        PrimaryKeyConstraint("id", name="pk_items"),
        UniqueConstraint("sku", name="uq_items_sku"),
        CheckConstraint("pool >= 0 AND pool <= total", name=op.f("ck_items_pool")),
        if_not_exists=True,
    )


def _make_partitions() -> None:
    op.create_table(
        "partitions",
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
        PrimaryKeyConstraint("id", name="pk_partitions"),
        UniqueConstraint("item_id", "partition", "incarnation", name="uq_partitions_item_id_partition_incarnation"),
        ForeignKeyConstraint(["item_id"], ["items.id"], name="fk_partitions_items"),
        CheckConstraint("state IN ('new', 'open', 'fenced')", name=op.f("ck_partitions_state")),
        CheckConstraint(
            "lease_no >= 0 AND granted >= 0 AND applied >= 0 AND returned >= 0 AND watermark >= 0",
            name=op.f("ck_partitions_not_negative"),
        ),
        CheckConstraint("granted >= applied + returned", name=op.f("ck_partitions_preallocated")),
        if_not_exists=True,
    )


def _make_leases() -> None:
    op.create_table(
        "leases",
        *_partition_columns(),
        Column("no", BigInteger, nullable=False),
        Column("quantity", BigInteger, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        PrimaryKeyConstraint("item_id", "partition", "incarnation", "no", name="pk_leases"),
        ForeignKeyConstraint(
            ["item_id", "partition", "incarnation"],
            ["partitions.item_id", "partitions.partition", "partitions.incarnation"],
            name="fk_leases_partitions",
        ),
        CheckConstraint("no > 0 AND quantity > 0", name=op.f("ck_leases_positive")),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )


def _make_deductions() -> None:
    op.create_table(
        "deductions",
        *_partition_columns(),
        Column("seq", BigInteger, nullable=False),
        Column("buyer_id", ByteText(64), nullable=False),
        Column("order_id", ByteText(64), nullable=False),
        Column("quantity", BigInteger, nullable=False),
        Column("state", ByteText(16), nullable=False),
        Column("attempt", Integer, nullable=False, server_default="1"),
        Column("created_at", BigInteger, nullable=False),
        PrimaryKeyConstraint("item_id", "partition", "incarnation", "seq", name="pk_deductions"),
        UniqueConstraint("item_id", "buyer_id", "order_id", name="uq_deductions_item_id_buyer_id_order_id"),
        CheckConstraint(_QUANTITY, name=op.f("ck_deductions_quantity")),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )


def _make_steps() -> None:
    op.create_table(
        "steps",
        *_partition_columns(),
        Column("seq", BigInteger, nullable=False),
        Column("kind", ByteText(16), nullable=False),
        Column("buyer_id", ByteText(64), nullable=False),
        Column("order_id", ByteText(64), nullable=False),
        Column("quantity", BigInteger, nullable=False),
        Column("at", BigInteger, nullable=False),
        PrimaryKeyConstraint("item_id", "partition", "incarnation", "seq", name="pk_steps"),
        CheckConstraint(_QUANTITY, name=op.f("ck_steps_quantity")),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )


def _make_parked() -> None:
    op.create_table(
        "parked",
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
        PrimaryKeyConstraint("id", name="pk_parked"),
        UniqueConstraint("digest", name="uq_parked_digest"),
        if_not_exists=True,
    )
    create_index("ix_parked_item_id_partition_incarnation", "parked", ["item_id", "partition", "incarnation"])
