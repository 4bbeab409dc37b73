"""The ledger's rows, as they pass through its port."""

from msgspec import Struct

from hotsku.domain.cart import CartLine
from hotsku.domain.events import PartitionRef


class PartitionRow(Struct, frozen=True, kw_only=True):
    """One (partition, incarnation) in the ledger: granted g, applied a, returned r, and h = g - a - r.

    A closed one has its `final_seq`; as long as its h is quarantined, `quarantined_until_ms` says how long.
    """

    item_id: int
    partition: int
    incarnation: int
    # "new": never leased, the shard may begin it; "open": sells; "fenced": needs a recovery; "closed": over, at
    # `final_seq`; "rebuilding": follows a closed one, and opens when its shard has the orders again.
    state: str
    # "durable": its shard was the only copy since it began, and synced every write; "replicated": the same on every
    # copy that its shard had, before it was acknowledged; "fast": not always. Whoever is about to do less than a row
    # says marks it first.
    durability: str
    lease_no: int
    granted: int
    applied: int
    returned: int
    watermark: int
    # What this incarnation's events did to the units on hold: the sum over a partition's incarnations is what it holds.
    held: int = 0
    final_seq: int | None = None
    quarantined_until_ms: int | None = None

    @property
    def ref(self) -> PartitionRef:
        return PartitionRef(self.item_id, self.partition)

    @property
    def preallocated(self) -> int:
        return self.granted - self.applied - self.returned


class Grant(Struct, frozen=True):
    """A lease to be made: the `lease_no` that the shard has installed, and the units that the next one adds."""

    ref: PartitionRef
    incarnation: int
    lease_no: int
    quantity: int


class Lease(Struct, frozen=True):
    """A lease as the ledger has it."""

    ref: PartitionRef
    incarnation: int
    no: int
    quantity: int


class DetailRow(Struct, frozen=True, kw_only=True):
    """A deduction as the ledger has it. `born` is the kind of event that it began with; `step_…` are those of its
    latest step (0: there was none); `refunded` counts units."""

    item_id: int
    buyer_id: str
    order_id: str
    quantity: int
    state: str
    partition: int
    incarnation: int
    seq: int
    created_at_ms: int
    born: str = "deducted"
    attempt: int = 1
    cart: bool = False
    paying: bool = False
    expires_at_ms: int = 0
    refunded: int = 0
    step_incarnation: int = 0
    step_seq: int = 0
    step_at_ms: int = 0
    payment_ref: str = ""
    metadata: str = ""


class EventRow(Struct, frozen=True, kw_only=True):
    """One event of an order, as the ledger has it."""

    kind: str
    quantity: int
    partition: int
    incarnation: int
    seq: int
    at_ms: int
    expires_at_ms: int = 0
    payment_ref: str = ""


class CartRow(Struct, frozen=True, kw_only=True):
    """A cart's decision: `state` is "open" (its lines are being held, or wait for a decision), "confirmed" or
    "released"; `finished` when every line has followed the decision. `expires_at_ms` is when an open one is released;
    `refusal` says why the lines could not be held (an outcome, the SKU, and the units left where that is known)."""

    order_id: str
    buyer_id: str
    lines: list[CartLine]
    state: str
    held: bool
    finished: bool
    expires_at_ms: int
    created_at_ms: int
    payment_ref: str = ""
    metadata: str = ""
    refusal: str = ""
