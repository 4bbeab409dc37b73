"""Closed incarnations and their quarantine, the archive, and which code a schema still carries."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Identity,
    Integer,
    PrimaryKeyConstraint,
    UniqueConstraint,
)

from hotsku.ledger.migrations.steps import create_view, database, has_column
from hotsku.ledger.types import SERIAL, ByteText

PHASE = "pre"

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_QUANTITY = "quantity >= 1 AND quantity <= 1000000000"
_STATE = "state IN ('new', 'open', 'fenced', 'rebuilding', 'closed')"
_CLOSED = (
    "(state <> 'closed' AND final_seq IS NULL AND quarantined_until IS NULL)"
    " OR (state = 'closed' AND final_seq IS NOT NULL AND watermark = final_seq"
    " AND (quarantined_until IS NOT NULL OR granted = applied + returned))"
)
_EVENTS = """
SELECT d.item_id, d.partition, d.incarnation, d.seq, 'deducted' AS kind, d.buyer_id, d.order_id, d.quantity,
       d.created_at AS at
FROM deductions AS d
UNION ALL
SELECT s.item_id, s.partition, s.incarnation, s.seq, s.kind, s.buyer_id, s.order_id, s.quantity, s.at
FROM steps AS s
UNION ALL
SELECT d.item_id, d.partition, d.incarnation, d.seq, 'deducted' AS kind, d.buyer_id, d.order_id, d.quantity,
       d.created_at AS at
FROM archived_deductions AS d
UNION ALL
SELECT s.item_id, s.partition, s.incarnation, s.seq, s.kind, s.buyer_id, s.order_id, s.quantity, s.at
FROM archived_steps AS s
"""


def upgrade() -> None:
    """Add columns and tables, and let partitions have the new states."""
    if not has_column("ledger", "contracted"):
        op.add_column("ledger", Column("contracted", ByteText(32), nullable=False, server_default="0000"))
    if not has_column("items", "archived_at"):
        op.add_column("items", Column("archived_at", BigInteger))
    if database() == "sqlite":
        _rebuild_partitions()
    elif not has_column("partitions", "final_seq"):
        _alter_partitions()
    _make_archive()
    create_view("events", _EVENTS)


def _alter_partitions() -> None:
    # One statement: on MySQL and MariaDB it is made as a whole or not at all.
    drop = "DROP CHECK" if database() == "mysql" else "DROP CONSTRAINT"
    op.execute(
        "ALTER TABLE partitions ADD COLUMN final_seq BIGINT, ADD COLUMN quarantined_until BIGINT,"
        f" {drop} ck_partitions_state, ADD CONSTRAINT ck_partitions_state CHECK ({_STATE}),"
        f" ADD CONSTRAINT ck_partitions_closed CHECK ({_CLOSED})"
    )


def _rebuild_partitions() -> None:
    """SQLite cannot change a CHECK. Foreign keys are off meanwhile, and checked at the end (`migrate`)."""
    old = (
        'id, item_id, "partition", incarnation, state, reason, durability, lease_no, granted, applied, returned, '
        "watermark"
    )
    _create_partitions("partitions_anew")
    op.execute(f"INSERT INTO partitions_anew ({old}) SELECT {old} FROM partitions")  # noqa: S608  # its own words
    op.drop_table("partitions")
    op.rename_table("partitions_anew", "partitions")


def _create_partitions(name: str) -> None:
    op.create_table(
        name,
        Column("id", SERIAL, Identity(), nullable=False),
        Column("item_id", BigInteger, nullable=False),
        Column("partition", Integer, nullable=False),
        Column("incarnation", Integer, nullable=False),
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
        PrimaryKeyConstraint("id", name="pk_partitions"),
        UniqueConstraint("item_id", "partition", "incarnation", name="uq_partitions_item_id_partition_incarnation"),
        ForeignKeyConstraint(["item_id"], ["items.id"], name="fk_partitions_items"),
        CheckConstraint(_STATE, name=op.f("ck_partitions_state")),
        CheckConstraint(
            "lease_no >= 0 AND granted >= 0 AND applied >= 0 AND returned >= 0 AND watermark >= 0",
            name=op.f("ck_partitions_not_negative"),
        ),
        CheckConstraint("granted >= applied + returned", name=op.f("ck_partitions_preallocated")),
        CheckConstraint(_CLOSED, name=op.f("ck_partitions_closed")),
    )


def _make_archive() -> None:
    op.create_table(
        "archived_deductions",
        *_row_columns(),
        Column("buyer_id", ByteText(64), nullable=False),
        Column("order_id", ByteText(64), nullable=False),
        Column("quantity", BigInteger, nullable=False),
        Column("state", ByteText(16), nullable=False),
        Column("attempt", Integer, nullable=False, server_default="1"),
        Column("created_at", BigInteger, nullable=False),
        PrimaryKeyConstraint("item_id", "partition", "incarnation", "seq", name="pk_archived_deductions"),
        UniqueConstraint("item_id", "buyer_id", "order_id", name="uq_archived_deductions_item_id_buyer_id_order_id"),
        CheckConstraint(_QUANTITY, name=op.f("ck_archived_deductions_quantity")),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_table(
        "archived_steps",
        *_row_columns(),
        Column("kind", ByteText(16), nullable=False),
        Column("buyer_id", ByteText(64), nullable=False),
        Column("order_id", ByteText(64), nullable=False),
        Column("quantity", BigInteger, nullable=False),
        Column("at", BigInteger, nullable=False),
        PrimaryKeyConstraint("item_id", "partition", "incarnation", "seq", name="pk_archived_steps"),
        CheckConstraint(_QUANTITY, name=op.f("ck_archived_steps_quantity")),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )


def _row_columns() -> tuple[Column[int], ...]:
    return (
        Column("item_id", BigInteger, nullable=False),
        Column("partition", Integer, nullable=False),
        Column("incarnation", Integer, nullable=False),
        Column("seq", BigInteger, nullable=False),
    )
