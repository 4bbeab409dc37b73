"""The shard: the functions of the library, and what else is asked of its servers."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

from hotsku.domain.events import PartitionRef, StreamEntry
from hotsku.domain.item import Item
from hotsku.domain.order import OrderRecord
from hotsku.ports.batches import BatchReply, OrderBatch, StepBatch, StepReply
from hotsku.ports.refusals import Refusal


class PartitionStatus(Struct, frozen=True, kw_only=True):
    """One partition as its shard has it, read atomically.

    `incarnation` 0 means that the shard does not have the partition. `armed_incarnation` and `armed_seq` are the
    volatile fence (None where it is unarmed); `stream_seq` is the last seq of the stream for `incarnation`. `whole`:
    orders, buyers and holds are all there, and the stream ends at `seq`.
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
    whole: bool = True
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


class Loaded(Struct, frozen=True, kw_only=True):
    """How much of a partition came back from the ledger."""

    orders: int = 0
    buyers: int = 0
    holds: int = 0


class Waiting(Struct, frozen=True):
    """Partitions whose streams have more than was asked about, and those whose shards could not be asked."""

    found: list[PartitionRef]
    unknown: list[PartitionRef]


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
    async def finish(self, ref: PartitionRef, incarnation: int, memory: str, loaded: Loaded) -> bool: ...
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
