"""What the ledger adds up for an audit."""

from msgspec import Struct

from hotsku.domain.evidence import OrderRows, StepUnits
from hotsku.ports.rows import PartitionRow


class Tally(Struct, frozen=True, kw_only=True):
    """Rows counted: how many, the units in them, the highest number (lease) or seq (deduction, step)."""

    count: int = 0
    quantity: int = 0
    last: int = 0


class ItemFigures(Struct, frozen=True, kw_only=True):
    """An item's own row."""

    item_id: int
    sku: str
    total: int
    pool: int
    given_back: int = 0
    limit_per_buyer: int | None = None


class PartitionFigures(Struct, frozen=True, kw_only=True):
    """One (partition, incarnation): its row, and what its leases, deductions and steps add up to.

    `parked` details have no row until a person resolves them; those of births have moved the figures.
    """

    row: PartitionRow
    leases: Tally
    deductions: Tally
    steps: Tally
    parked: int
    orders: OrderRows = OrderRows()
    in_steps: StepUnits = StepUnits()


class LedgerFigures(Struct, frozen=True, kw_only=True):
    """What an audit compares, from one snapshot.

    `strays` are leases, deductions and steps of no known partition; `parked` is everything unresolved (of all items:
    also whole messages); `doubled` counts orders with more than one row, `over_limit` buyers above their item's limit,
    `unknown_states` orders and steps of a state or kind that there is not, or refunded otherwise than their state says.
    """

    items: list[ItemFigures]
    partitions: list[PartitionFigures]
    strays: int
    parked: int
    doubled: int
    over_limit: int
    unknown_states: int = 0
