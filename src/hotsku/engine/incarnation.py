"""What an engine knows of a partition's incarnation, and the checks that every call under it passes.

The orders and the steps of a partition travel in batches of their own, so that two may be in flight at once. What one
reply says is therefore compared with what was known when its call was sent.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from msgspec import Struct

from hotsku.domain.events import PartitionRef
from hotsku.engine.needs import NeedsBoard
from hotsku.errors import BackendUnavailable
from hotsku.ports import Clock, Fenced, FencedReport, Lost, Refusal, Stale

_RETRY_INTERVAL_S = 0.05


class Reply(Protocol):
    """The reply to a call that may have appended events."""

    @property
    def seq_before(self) -> int: ...
    @property
    def copied(self) -> bool: ...


R = TypeVar("R", bound=Reply)


class Sent(Struct, frozen=True, gc=False):
    """What was known of an incarnation when a call was sent: its number, and the highest seq acknowledged under it."""

    number: int
    acknowledged: int


class KnownIncarnation:
    """One partition's incarnation as this engine knows it.

    Attributes:
        number: the incarnation.
        seq: the highest seq of it that the engine has acknowledged.
        why: why the last call that failed did, for people.
    """

    def __init__(
        self,
        *,
        ref: PartitionRef,
        sku: str,
        number: int,
        clock: Clock,
        board: NeedsBoard,
        relay_max_events: int,
        look_up: Callable[[PartitionRef], Awaitable[tuple[int, float, bool]]],
        mark_fast: Callable[[PartitionRef, int], Awaitable[bool]],
        alone_ms: int,
    ) -> None:
        """
        Args:
            relay_max_events: the relay's count trigger.
            look_up: reads a partition's incarnation in the ledger; see `trust`.
            mark_fast: writes down that what an incarnation acknowledged is not on every copy; False: it is over.
            alone_ms: how long a copy that is away is waited for before.
        """
        self.ref = ref
        self.number = number
        self.seq = 0
        self.why = "the shard is not ready; try again"
        self._sku = sku
        self._clock = clock
        self._board = board
        self._relay_max_events = relay_max_events
        self._look_up = look_up
        self._mark_fast = mark_fast
        self._alone_ms = alone_ms
        self._replicated = False
        self._alone_since_ms: float | None = None
        self._trusted_until_ms = 0.0
        self._may_go_on = asyncio.Event()

    def trust(self, number: int, until_ms: float, replicated: bool) -> None:
        """The ledger has this incarnation; it may be believed until then (monotonic).

        Args:
            replicated: the ledger takes it that whatever was acknowledged is on every copy.
        """
        if number > self.number:
            self.number, self.seq = number, 0
            self._trusted_until_ms = until_ms
            self._replicated = replicated
        elif number == self.number:
            self._replicated = replicated
            self._trusted_until_ms = max(self._trusted_until_ms, until_ms)

    def sent(self) -> Sent:
        """What is known now, for a call that is about to be sent."""
        return Sent(self.number, self.seq)

    def counts(self, reply: Reply, sent: Sent) -> bool:
        """Whether a reply may be told as it is. Where it may not, `heed` says why, or sees to it that it may."""
        if reply.copied:
            self._alone_since_ms = None
        elif self._replicated:
            return False
        return (
            sent.number == self.number
            and reply.seq_before >= sent.acknowledged
            and self._clock.monotonic_ms() <= self._trusted_until_ms
        )

    async def heed(self, answer: R | Refusal, sent: Sent) -> R:
        """Return the reply to a call if it counts.

        Args:
            answer: the reply, or why there is none.
            sent: what was known when the call was sent.

        Raises:
            Fenced: the shard decides nothing; the workers are told.
            Stale: the incarnation was over; the next call names the new one.
            Late, BackendUnavailable: nothing was done.
            Lost: the call may have been carried out, but its reply does not count, or never came. It does not count
                where the shard has forgotten what this engine acknowledged: the workers are told of that as well.
        """
        try:
            if isinstance(answer, Exception):
                raise answer
            await self._settle_copies(answer, sent.number)
            return self._checked(answer, sent)
        except Fenced:
            self.why = f"partition {self.ref.partition} of {self._sku!r} is fenced; `hotsku audit` says more"
            self._report(sent)
            raise
        except Lost as lost:
            self.why = f"{lost}; try again"
            raise
        except Stale:
            with suppress(BackendUnavailable):  # then the next call is stale as well, and asks again
                self.trust(*await self._look_up(self.ref))
            raise

    def rearmed(self) -> None:
        """The partition may be called again."""
        self._may_go_on.set()

    async def pause(self) -> None:
        """Wait a moment before the same call is made again, or until the partition may be called again."""
        self._may_go_on.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_RETRY_INTERVAL_S):
                await self._may_go_on.wait()

    def acknowledge(self, seq_before: int, events: int) -> None:
        """A reply that counts, which appended so many events, is about to be told."""
        seq = seq_before + events
        self.seq = max(self.seq, seq)
        if seq // self._relay_max_events > seq_before // self._relay_max_events:
            self._board.counted(self.ref)

    async def _settle_copies(self, reply: R, number: int) -> None:
        """A copy that is away lacks what will be acknowledged: its promotion must prove nothing. It is waited for a
        moment first, for the mark stays until the incarnation ends."""
        if reply.copied:
            self._alone_since_ms = None
            return
        if not self._replicated:
            return
        now_ms = self._clock.monotonic_ms()
        if self._alone_since_ms is None:
            self._alone_since_ms = now_ms
        if now_ms - self._alone_since_ms < self._alone_ms:
            raise Lost("a copy is away", sent=True)
        try:
            marked = await self._mark_fast(self.ref, number)
        except BackendUnavailable as error:
            raise Lost(f"a copy is away, and the ledger cannot be told of it: {error}", sent=True) from error
        if not marked:
            raise Lost("the incarnation is over", sent=True)
        if number == self.number:
            self._replicated = False

    def _checked(self, reply: R, sent: Sent) -> R:
        if sent.number != self.number:  # another began meanwhile: this one's answers count no more
            raise Lost("the partition has a new incarnation", sent=True)
        if self._clock.monotonic_ms() > self._trusted_until_ms:
            raise Lost("the ledger cannot be reached to see whether the partition is still the same", sent=True)
        if reply.seq_before < sent.acknowledged:
            self._report(sent)
            # No fence: the call was carried out, and its events may yet be salvaged.
            raise Lost(f"partition {self.ref.partition} of {self._sku!r} has forgotten what it sold", sent=True)
        return reply

    def _report(self, sent: Sent) -> None:
        seq = self.seq if sent.number == self.number else sent.acknowledged
        self._board.fenced(FencedReport(ref=self.ref, incarnation=sent.number, acknowledged_seq=seq))
