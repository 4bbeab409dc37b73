"""What the engine and the workers ask of the outside: the shard, the ledger, the broker, the signals, the clock."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import Protocol, TypeAlias

from msgspec import Struct

from hotsku.domain.cart import CartLine
from hotsku.domain.events import Message, PartitionRef, StreamEntry
from hotsku.domain.evidence import OrderRows, StepUnits
from hotsku.domain.item import Item, ItemSpec, ItemState, Standing
from hotsku.domain.order import OrderRecord, StepVerb
from hotsku.errors import BackendUnavailable


class Clock(Protocol):
    """Real time, injected. Only `hotsku.clock` reads it."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        ...

    def monotonic_ms(self) -> float:
        """Milliseconds that never run backwards, from an arbitrary start."""
        ...


# --- the shard ------------------------------------------------------------------------------------------------------


class PartitionStatus(Struct, frozen=True, kw_only=True):
    """One partition as its shard has it, read atomically.

    `incarnation` 0 means that the shard does not have the partition. `armed_incarnation` and `armed_seq` are the
    volatile fence (None where it is unarmed); `stream_seq` is the last seq of the stream for `incarnation`.
    """

    incarnation: int = 0
    seq: int = 0
    armed_incarnation: int | None = None
    armed_seq: int | None = None
    stream_seq: int = 0
    active: str = "a"
    left_a: int = 0
    left_b: int = 0
    threshold: int = 0
    installed: int = 0
    taken: int = 0
    returned: int = 0
    lease_no: int = 0
    reclaim_no: int = 0
    trimmed: int = 0
    sealed: int | None = None
    orders: int = 0
    holds: int = 0
    version: int = 0
    now_ms: int = 0

    @property
    def left(self) -> int:
        return self.left_a + self.left_b

    @property
    def armed(self) -> bool:
        return self.incarnation > 0 and (self.armed_incarnation, self.armed_seq) == (self.incarnation, self.seq)


class Durability(Struct, frozen=True, kw_only=True):
    """What a shard's server says of itself: does every acknowledged write survive its crash, is it the primary, and how
    many replicas follow it?"""

    every_write_synced: bool
    master: bool
    copies: int

    @property
    def single_copy(self) -> bool:
        return self.master and self.copies == 0


class Waiting(Struct, frozen=True):
    """Partitions whose streams have more than was asked about, and those whose shards could not be asked."""

    found: list[PartitionRef]
    unknown: list[PartitionRef]


class Fenced(Exception):
    """The shard's memory of this partition is not the one that was armed: it decides nothing."""


class Stale(Exception):
    """The caller names an incarnation that is over."""


class Late(Exception):
    """The call reached the shard after its deadline, and did nothing. `now_ms` is the shard's clock."""

    def __init__(self, now_ms: int) -> None:
        super().__init__("the call was late")
        self.now_ms = now_ms


class Lost(Exception):
    """The connection broke. `sent` says whether the call may have been carried out."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class OrderBatch(Struct, frozen=True, gc=False):
    """Orders of one partition, as a call of the shard carries them.

    Attributes:
        take: False answers from the records only.
        orders: msgpack flat array of (order field, quantity), or (order field, (quantity, metadata, ttl in ms, 1 for a
            cart's line else 0)); at most 1,000 orders.
    """

    ref: PartitionRef
    incarnation: int
    take: bool
    orders: bytes


class BatchReply(Struct, frozen=True, gc=False):
    """What the deduct function decided: see shard/functions/deduct.lua for the codes. `copied`: every server that may
    take over from this one has it, too."""

    seq_before: int
    left: int
    refill: bool
    taken: int
    now_ms: int
    codes: str
    records: list[bytes]
    copied: bool = True


class Step(Struct, frozen=True):
    """A step in an order's life. `argument` is the payment reference (confirm), milliseconds (extend, begin_payment:
    the hold lasts at least so long from now), or units in all (refund; 0: all of them). `cart` says that the caller
    acts for the cart whose line the order is."""

    verb: StepVerb
    field: str
    argument: str | int = ""
    cart: bool = False


class StepBatch(Struct, frozen=True, gc=False):
    """Steps of one partition, as a call of the shard carries them: a msgpack array of (verb, order field, argument, 1
    for a cart's line else 0), at most 1,000."""

    ref: PartitionRef
    incarnation: int
    steps: bytes


class StepReply(Struct, frozen=True, gc=False):
    """What became of a batch of steps, a code each: see shard/functions/step.lua. The partition's seq is now
    `seq_before` + `events`. `copied` as in `BatchReply`."""

    seq_before: int
    events: int
    now_ms: int
    codes: str
    records: list[bytes]
    copied: bool = True


# What a batch is told where it was not decided: as a value, for each batch of a call is answered by itself.
Refusal: TypeAlias = Fenced | Stale | Late | Lost | BackendUnavailable


class Swept(Struct, frozen=True):
    """What one sweep over a partition's holds did: holds that it ended; when the next expires (0: none); where to go on
    (0: it came to the end); the order fields of carts' lines whose time is over: of them their carts decide."""

    ended: int
    next_ms: int = 0
    offset: int = 0
    cart_lines: list[str] = []


class Shard(Protocol):
    """The functions of the library on the shards, one method each.

    Every call names the partition and its incarnation. All raise `Fenced`, `Stale` where they change something, and
    `Lost` where the shard cannot be reached (all of them are idempotent: call again). `deduct` and `step` take batches
    of several partitions of one server, and raise nothing: each batch has its reply, or why it was not decided.
    """

    def name_of(self, ref: PartitionRef) -> str: ...
    def count(self) -> int: ...
    async def deduct(self, deadline_ms: int, batches: Sequence[OrderBatch]) -> list[BatchReply | Refusal]: ...
    async def step(self, deadline_ms: int, batches: Sequence[StepBatch]) -> list[StepReply | Refusal]: ...
    async def now_ms(self, ref: PartitionRef) -> int: ...

    async def memory(self, ref: PartitionRef) -> str: ...
    async def begin(self, ref: PartitionRef, incarnation: int, item: Item, memory: str) -> None: ...
    async def configure(self, ref: PartitionRef, incarnation: int, item: Item) -> int: ...
    async def arm(self, ref: PartitionRef, incarnation: int, seq: int, memory: str) -> bool: ...
    async def disarm(self, ref: PartitionRef, incarnation: int, *, seal: bool) -> None: ...
    async def end(self, ref: PartitionRef, incarnation: int) -> None: ...
    async def renew(
        self, ref: PartitionRef, incarnation: int, item: Item, memory: str, keep_seq: int | None
    ) -> str: ...
    async def load(
        self,
        ref: PartitionRef,
        incarnation: int,
        memory: str,
        orders: Sequence[tuple[str, OrderRecord]],
        buyers: Sequence[tuple[str, int]],
    ) -> bool: ...
    async def finish(self, ref: PartitionRef, incarnation: int, memory: str) -> bool: ...
    async def install(self, ref: PartitionRef, incarnation: int, no: int, quantity: int, threshold: int) -> int: ...
    async def reclaim(self, ref: PartitionRef, incarnation: int, no: int, quantity: int) -> int: ...
    async def trim(self, ref: PartitionRef, incarnation: int, through_seq: int) -> None: ...
    async def status(self, ref: PartitionRef) -> PartitionStatus: ...
    async def read(self, ref: PartitionRef, incarnation: int, after_seq: int, count: int) -> list[StreamEntry]: ...
    async def waiting(self, refs: Sequence[tuple[PartitionRef, int, int]]) -> Waiting: ...
    async def expire(self, ref: PartitionRef, incarnation: int, most: int) -> Swept: ...
    async def release_holds(self, ref: PartitionRef, incarnation: int, most: int, offset: int) -> Swept: ...
    async def forget(self, ref: PartitionRef, incarnation: int, before_ms: int, keep: int, most: int) -> int: ...
    async def order(self, ref: PartitionRef, field: str) -> tuple[OrderRecord | None, int]: ...
    async def bought(self, ref: PartitionRef) -> list[int]: ...
    async def durability(self, ref: PartitionRef) -> Durability: ...
    def syncing_every_write(self, refs: Iterable[PartitionRef]) -> AbstractAsyncContextManager[None]: ...


# --- the ledger -----------------------------------------------------------------------------------------------------


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


class Applied(Struct, frozen=True, kw_only=True):
    """What became of a message: `status` is "applied", "skipped" (the ledger has it), "gap" (an earlier one is missing)
    or "parked" (it is not of this ledger, of an incarnation that the ledger does not have, or beyond the end of a
    closed one)."""

    status: str
    watermark: int
    returned: int = 0


class Archived(Struct, frozen=True, kw_only=True):
    """What one call of `archive_item` did: rows that it moved, and whether the item's details are all archived now."""

    moved: int
    done: bool


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


class Created(Struct, frozen=True):
    """An item, and whether it is new: made by this call, and not found made the same."""

    item: Item
    new: bool


class Adjusted(Struct, frozen=True, kw_only=True):
    """What became of a restock: `status` is "done" (also when it was done before), "conflict" (the id was used with
    another quantity), "short" (the pool has fewer units than are to go; partitions may have them) or "closed".
    `actual` is what is not sold or held."""

    status: str
    pool: int
    actual: int


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


class Ledger(Protocol):
    """The SQL database. Every method is one transaction, safe to call again, and raises `BackendUnavailable`."""

    @property
    def ledger_id(self) -> str: ...

    async def create_item(self, spec: ItemSpec, durability: str, now_ms: int) -> Created: ...
    async def item(self, sku: str) -> Item | None: ...
    async def item_by_id(self, item_id: int) -> Item | None: ...
    async def items(self, after: str | None, limit: int) -> list[Item]: ...
    async def standing(self, item_id: int) -> Standing: ...
    async def set_item_state(self, item_id: int, state: ItemState) -> Item: ...
    async def adjust(self, item_id: int, adjustment_id: str, quantity: int, now_ms: int) -> Adjusted: ...
    async def partitions(self, item_id: int | None = None) -> list[PartitionRow]: ...
    async def partition(self, ref: PartitionRef) -> PartitionRow | None: ...
    async def open_partition(self, ref: PartitionRef, incarnation: int) -> None: ...
    async def mark_fast(self, ref: PartitionRef, incarnation: int) -> bool: ...
    async def fence_partition(self, ref: PartitionRef, incarnation: int, reason: str) -> None: ...
    async def replace_incarnation(
        self,
        ref: PartitionRef,
        incarnation: int,
        final_seq: int,
        *,
        durability: str,
        quarantine_until_ms: int | None,
        now_ms: int,
    ) -> bool: ...
    async def end_quarantines(self, now_ms: int) -> list[PartitionRef]: ...
    async def lease(self, grants: Sequence[Grant], now_ms: int) -> list[Lease] | None: ...
    async def leases_after(self, ref: PartitionRef, incarnation: int, no: int) -> list[Lease]: ...
    async def apply(self, message: Message) -> Applied: ...
    async def apply_all(self, messages: Sequence[Message]) -> list[Applied]: ...
    async def park(self, body: bytes, reason: str, now_ms: int) -> None: ...
    async def order(self, item_id: int, order_id: str, buyer_id: str) -> DetailRow | None: ...
    async def orders(
        self, item_id: int, state: str | None, before_ms: int | None, after: DetailRow | None, limit: int
    ) -> list[DetailRow]: ...
    async def history(self, item_id: int, order_id: str, buyer_id: str) -> list[EventRow]: ...
    async def open_cart(self, cart: CartRow) -> CartRow: ...
    async def cart(self, order_id: str, buyer_id: str) -> CartRow | None: ...
    async def hold_cart(self, order_id: str, buyer_id: str, expires_at_ms: int) -> CartRow: ...
    async def decide_cart(
        self, order_id: str, buyer_id: str, state: str, *, payment_ref: str = "", refusal: str = ""
    ) -> CartRow: ...
    async def finish_cart(self, order_id: str, buyer_id: str, *, payment_ref: str = "") -> None: ...
    async def due_carts(self, now_ms: int, limit: int) -> list[CartRow]: ...
    async def details(self, item_id: int, after: DetailRow | None, limit: int) -> list[DetailRow]: ...
    async def orders_of(self, ref: PartitionRef, after: DetailRow | None, limit: int) -> list[DetailRow]: ...
    async def figures(self, item_id: int | None = None) -> LedgerFigures: ...
    async def archive_item(self, item_id: int, limit: int, now_ms: int) -> Archived: ...


# --- the broker -----------------------------------------------------------------------------------------------------


class Delivery(Protocol):
    """One message that a consumer has received."""

    @property
    def body(self) -> bytes: ...

    async def ack(self) -> None: ...


class Broker(Protocol):
    """The message queue: at least once, and nothing depends on it keeping what it got."""

    async def publish(self, ref: PartitionRef, body: bytes) -> None: ...
    def consume(self) -> AsyncGenerator[Delivery, None]: ...
    async def close(self) -> None: ...


# --- signals: hints between processes that may be lost; whoever sends one repeats it while it is true ---


class Ask(Struct, frozen=True, kw_only=True):
    """A dry partition's standing need, as one engine has it.

    `waiting` is what its parked orders lack in all, `smallest` what the first of them lacks (the least that helps, for
    parked orders are served in their order), `age_ms` the age of the oldest. `no` counts the engine's asks.
    """

    ref: PartitionRef
    incarnation: int
    waiting: int
    smallest: int
    age_ms: int


class Refill(Struct, frozen=True, kw_only=True):
    """A partition's standby is low. `taken` units had gone from the partition by `at_ms` of the shard's clock."""

    ref: PartitionRef
    incarnation: int
    taken: int
    at_ms: int


class Counted(Struct, frozen=True, kw_only=True):
    """A partition has reached another multiple of `relay_max_events`: the relay's count trigger."""

    ref: PartitionRef


class FencedReport(Struct, frozen=True, kw_only=True):
    """An engine met a fence. `acknowledged_seq` is the highest seq of the incarnation that it has acknowledged."""

    ref: PartitionRef
    incarnation: int
    acknowledged_seq: int


class Needs(Struct, frozen=True, kw_only=True):
    """What one engine needs of the workers. `no` numbers the engine's `Needs`, so that a standing can name them."""

    engine_id: str
    no: int
    asks: list[Ask] = []
    refills: list[Refill] = []
    counted: list[Counted] = []
    fenced: list[FencedReport] = []


class News(Struct, frozen=True, kw_only=True):
    """What the workers tell the engines.

    `installed` partitions have new stock; `rearmed` ones may be called again. `available` says of an item how many
    units are not sold (pool and pre-allocated), in one ledger read made after the `Needs` in `heard` (engine id to
    `no`).
    """

    installed: list[tuple[PartitionRef, int]] = []  # partition, units
    rearmed: list[PartitionRef] = []
    item_id: int | None = None
    available: int | None = None
    heard: dict[str, int] = {}


class Work(Struct, frozen=True, kw_only=True):
    """What workers tell each other: streams to flush now; watermarks that the ledger has reached."""

    flush: list[PartitionRef] = []
    applied: list[tuple[PartitionRef, int, int]] = []  # partition, incarnation, watermark


class Signals(Protocol):
    """Publish and subscribe, at most once. `publish` never waits and never fails."""

    def publish(self, signal: Needs | News | Work) -> None: ...
    def subscribe(
        self,
        *,
        needs: Callable[[Needs], None] | None = None,
        news: Callable[[News], None] | None = None,
        work: Callable[[Work], None] | None = None,
    ) -> None: ...


# --- traces: what takes how long, told to whoever wants to know ---


class Span(Protocol):
    """Work under way."""

    def tell(self, **facts: str | int | bool) -> None:
        """Say more of it, in the words of the project."""
        ...


class Spans(Protocol):
    """Tells of work; costs next to nothing where nobody listens."""

    def span(self, name: str, **facts: str | int | bool) -> AbstractContextManager[Span]:
        """Tell of what is done inside: who does it and what, and what it is about. An exception is told, too."""
        ...


class _NoSpan:
    def tell(self, **facts: str | int | bool) -> None:
        pass


class _NoSpans:
    def span(self, name: str, **facts: str | int | bool) -> AbstractContextManager[Span]:
        return _NOTHING


_NOTHING = nullcontext(_NoSpan())
# Nobody listens.
NO_SPANS: Spans = _NoSpans()
