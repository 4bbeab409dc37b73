"""What happens to orders after their birth, changes of items, and carts."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    Text,
    false,
)

from hotsku.ledger.migrations.steps import create_index, create_view, database, has_column
from hotsku.ledger.types import ByteText

PHASE = "pre"

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_EVENTS = """
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


def upgrade() -> None:
    """Add columns and tables."""
    _add("items", Column("version", BigInteger, nullable=False, server_default="1"))
    _add_given_back()
    _add("partitions", Column("held", BigInteger, nullable=False, server_default="0"))
    for table in ("deductions", "archived_deductions"):
        for column in _life_columns():
            _add(table, column)
    for table in ("steps", "archived_steps"):
        _add(table, Column("expires_at", BigInteger, nullable=False, server_default="0"))
        _add(table, Column("payment_ref", ByteText(128), nullable=False, server_default=""))
        create_index(f"ix_{table}_item_id_buyer_id_order_id", table, ["item_id", "buyer_id", "order_id"])
    _make_adjustments()
    _make_carts()
    create_view("events", _EVENTS)


def _add(table: str, column: "Column[object]") -> None:
    if not has_column(table, column.name):
        op.add_column(table, column)


def _add_given_back() -> None:
    if has_column("items", "given_back"):
        return
    # One statement: on MySQL and MariaDB it is made as a whole or not at all. SQLite cannot add a CHECK by itself.
    between = "" if database() == "sqlite" else ", ADD"
    op.execute(
        f"ALTER TABLE items ADD COLUMN given_back BIGINT DEFAULT '0' NOT NULL{between}"
        " CONSTRAINT ck_items_given_back CHECK (given_back >= 0)"
    )


def _life_columns() -> list["Column[object]"]:
    return [
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
    ]


def _make_adjustments() -> None:
    op.create_table(
        "adjustments",
        Column("item_id", BigInteger, nullable=False),
        Column("adjustment_id", ByteText(64), nullable=False),
        Column("quantity", BigInteger, nullable=False),
        Column("at", BigInteger, nullable=False),
        PrimaryKeyConstraint("item_id", "adjustment_id", name="pk_adjustments"),
        ForeignKeyConstraint(["item_id"], ["items.id"], name="fk_adjustments_items"),
        CheckConstraint("quantity <> 0", name=op.f("ck_adjustments_quantity")),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )


def _make_carts() -> None:
    op.create_table(
        "carts",
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
        PrimaryKeyConstraint("buyer_id", "order_id", name="pk_carts"),
        CheckConstraint("state IN ('open', 'confirmed', 'released')", name=op.f("ck_carts_state")),
        if_not_exists=True,
    )
    create_index("ix_carts_finished_expires_at", "carts", ["finished", "expires_at"])
