"""The request path of one partition: callers are coalesced into batches, and one script call decides each batch.

    submit ──► fresh ──► batch ──► shard.deduct ──► answers
                           ▲              │ dry
                           └── parking ◄──┘

One batch is in flight at a time, and what arrives meanwhile makes the next one. So under `appendfsync always` the fsync
is shared by the batch (group commit), and under load batches grow by themselves.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from hotsku.domain.deduction import Outcome
from hotsku.domain.events import PartitionRef
from hotsku.engine.needs import NeedsBoard
from hotsku.engine.parking import Parking
from hotsku.engine.request import Request
from hotsku.engine.servers import Server, Servers
from hotsku.engine.standing import KnownStanding
from hotsku.engine.timing import Timing
from hotsku.errors import BackendUnavailable, HotSKUError, IdempotencyConflict, OutcomeUnknown, Overloaded
from hotsku.ports import Ask, BatchReply, Clock, Fenced, FencedReport, Late, Lost, Refill, Shard, Stale

MAX_BATCH = 1000
_RETRY_INTERVAL_S = 0.05

_encode = msgspec.msgpack.Encoder().encode

_REFUSALS = {"L": Outcome.LIMIT_EXCEEDED, "N": Outcome.NOT_OPEN, "C": Outcome.CLOSED}


class PartitionPath:
    """Decides the orders whose home is one partition."""

    def __init__(
        self,
        *,
        ref: PartitionRef,
        sku: str,
        incarnation: int,
        shard: Shard,
        servers: Servers,
        clock: Clock,
        standing: KnownStanding,
        board: NeedsBoard,
        relay_max_events: int,
        current_incarnation: Callable[[PartitionRef], Awaitable[tuple[int, float]]],
        timing: Timing,
    ) -> None:
        """
        Args:
            servers: shared by all partitions.
            standing: shared by the item's partitions.
            relay_max_events: the relay's count trigger.
            current_incarnation: looks a partition's incarnation up in the ledger; and until when it may be believed.
        """
        self.ref = ref
        self.left = 0
        self.seq = 0
        self._sku = sku
        self._incarnation = incarnation
        self._shard = shard
        self._servers = servers
        self._clock = clock
        self._standing = standing
        self._board = board
        self._relay_max_events = relay_max_events
        self._current_incarnation = current_incarnation
        self._timing = timing
        self._fresh: list[Request] = []
        self._parking = Parking()
        self._retry_parked = False
        self._tried_ms = 0.0
        self._trusted_until_ms = 0.0
        self._running: asyncio.Task[None] | None = None
        self._resume = asyncio.Event()
        self._why = "the shard is not ready; try again"

    def submit(self, request: Request) -> None:
        """Take a request; its future will have the answer."""
        self._fresh.append(request)
        self._run()

    def submit_many(self, requests: list[Request]) -> None:
        """Take requests that come together."""
        self._fresh.extend(requests)
        self._run()

    def stock_came(self, units: int) -> None:
        """Units were installed: the parked orders are tried again."""
        self.left += units
        self.retry_parked()

    def retry_parked(self) -> None:
        """Try the parked orders again, also those that the batch under way will park."""
        self._retry_parked = True
        if self._parking:
            self._run()

    def trust(self, incarnation: int, until_ms: float) -> None:
        """The ledger has this incarnation; it may be believed until then (monotonic)."""
        if incarnation > self._incarnation:
            self._incarnation, self.seq = incarnation, 0
        if incarnation == self._incarnation:
            self._trusted_until_ms = max(self._trusted_until_ms, until_ms)

    def rearmed(self) -> None:
        """The partition may be called again."""
        self._resume.set()

    def verdict(self, available: int, heard_no: int) -> None:
        """The item's unsold units, from a ledger read that was made after the `Needs` up to `heard_no` were heard."""
        refused = self._parking.take_beyond(available, heard_no)
        for request in refused:
            self._refuse(request, available)
        if refused:
            self.retry_parked()  # what is left may be enough for those behind them

    def tick(self) -> None:
        """Fail the orders that have waited longer than their patience, and try the others again if it is time to.

        Call it often.
        """
        now_ms = self._clock.monotonic_ms()
        self._expire(now_ms - self._timing.patience_ms)
        if self._parking and now_ms - self._tried_ms >= self._timing.retry_ms:
            self.retry_parked()

    def _expire(self, before_ms: float) -> None:
        for request in self._parking.take_older(before_ms):
            self._give_up(request, Overloaded("no stock came in time; try again"))
        if self._fresh and self._fresh[0].since_ms < before_ms:
            expired = [request for request in self._fresh if request.since_ms < before_ms]
            self._fresh = [request for request in self._fresh if request.since_ms >= before_ms]
            for request in expired:
                self._give_up(request, BackendUnavailable(self._why))

    # --- the loop: one batch in flight ---

    def _run(self) -> None:
        if self._running is None:
            self._running = asyncio.create_task(self._decide_all())

    async def _decide_all(self) -> None:
        try:
            await asyncio.sleep(0)  # callers that are ready now come along
            while True:
                if self._retry_parked and self._parking:
                    self._retry_parked = False
                    self._tried_ms = self._clock.monotonic_ms()
                    await self._decide(self._parking.take(MAX_BATCH), take=True, parked=True)
                elif self._fresh:
                    batch, self._fresh = self._fresh[:MAX_BATCH], self._fresh[MAX_BATCH:]
                    await self._decide(batch, take=not self._parking, parked=False)
                else:
                    return
        finally:
            self._running = None

    async def _decide(self, batch: list[Request], *, take: bool, parked: bool) -> None:
        orders = _pack(batch)
        while batch:
            try:
                server = self._servers.of(self.ref)
                async with server.rounds.next():
                    reply = await self._attempt(server, batch, take, orders)
            except HotSKUError as error:
                for request in batch:
                    self._give_up(request, error)
                return
            if reply is not None:
                server.clock.observe(reply.now_ms)
                self._answer(batch, reply, parked=parked)
                return
            batch, orders = await self._pause(batch, orders)

    async def _attempt(self, server: Server, batch: list[Request], take: bool, orders: bytes) -> BatchReply | None:
        """Call the shard once. None where the same batch is to be sent again."""
        deadline_ms = server.clock.in_ms(self._timing.deadline_ms)
        incarnation = self._incarnation
        try:
            reply = await self._shard.deduct(self.ref, incarnation, deadline_ms, take, orders)
            if incarnation != self._incarnation:  # another began meanwhile: this one's answers count no more
                raise Lost("the partition has a new incarnation", sent=True)
            if self._clock.monotonic_ms() > self._trusted_until_ms:
                raise Lost("the ledger cannot be reached to see whether the partition is still the same", sent=True)
            if reply.seq_before >= self.seq:
                return reply
            raise Fenced  # the shard forgot what this engine has acknowledged
        except Fenced:
            self._why = f"partition {self.ref.partition} of {self._sku!r} is fenced; `hotsku audit` says more"
            self._board.fenced(FencedReport(ref=self.ref, incarnation=incarnation, acknowledged_seq=self.seq))
        except Lost as lost:
            self._why = f"{lost}; try again"
            if lost.sent:
                for request in batch:
                    request.unknown_until_ms = deadline_ms + self._timing.margin_ms
        except Stale:
            await self._follow_incarnation()
        except Late as late:
            server.clock.observe(late.now_ms)
        return None

    async def _follow_incarnation(self) -> None:
        with suppress(BackendUnavailable):  # then the next attempt is stale as well, and asks again
            self.trust(*await self._current_incarnation(self.ref))

    async def _pause(self, batch: list[Request], orders: bytes) -> tuple[list[Request], bytes]:
        """Wait a moment before the batch is sent again. Gives back what still has patience."""
        self._resume.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_RETRY_INTERVAL_S):
                await self._resume.wait()
        before_ms = self._clock.monotonic_ms() - self._timing.patience_ms
        waiting = [request for request in batch if request.since_ms >= before_ms]
        if len(waiting) == len(batch):
            return batch, orders
        for request in batch:
            if request.since_ms < before_ms:
                self._give_up(request, BackendUnavailable(self._why))
        return waiting, _pack(waiting)

    # --- answers ---

    def _answer(self, batch: list[Request], reply: BatchReply, *, parked: bool) -> None:
        self._note(reply)
        dry: list[Request] = []
        records = iter(reply.records)
        for request, code in zip(batch, reply.codes, strict=True):
            if code == "A":
                request.accepted(self._sku, self.ref.partition, replayed=False)
            elif code == "R":
                next(records)
                request.accepted(self._sku, self.ref.partition, replayed=True)
            elif code == "X":
                request.fail(_conflict(request, next(records)))
            elif request.unknown_until_ms >= reply.now_ms:
                dry.append(request)  # not final: an earlier attempt may still sell
            else:
                request.unknown_until_ms = 0  # none has, and none can any more
                if code == "D":
                    dry.append(request)
                else:
                    self._say_no(request, code)
        self._park(dry, parked=parked)

    def _note(self, reply: BatchReply) -> None:
        accepted = reply.codes.count("A")
        self.left = reply.left_a + reply.left_b
        self.seq = reply.seq_before + accepted
        if self.seq // self._relay_max_events > reply.seq_before // self._relay_max_events:
            self._board.counted(self.ref)
        if reply.refill:
            self._board.refill(
                Refill(ref=self.ref, incarnation=self._incarnation, taken=reply.taken, at_ms=reply.now_ms)
            )

    def _say_no(self, request: Request, code: str) -> None:
        if code in _REFUSALS:
            request.refused(self._sku, self.ref.partition, _REFUSALS[code])
        elif code == "F":
            request.fail(Overloaded("the ledger is too far behind; try again later"))
        else:
            request.fail(BackendUnavailable(f"the shard refused the quantity {request.quantity}"))

    def _park(self, dry: list[Request], *, parked: bool) -> None:
        available = self._standing.available
        waiting = []
        for request in dry:
            if available is not None and request.quantity > available and not request.unknown_until_ms:
                self._refuse(request, available)
            else:
                waiting.append(request)
        if parked:
            self._parking.put_back(waiting)
        else:
            for request in waiting:
                self._parking.park(request)
        # Nobody, or not all of them, are left of those in front: what there is may be enough for those behind.
        if len(waiting) < len(dry) if waiting else parked:
            self._retry_parked = True
        if self._parking:
            self._board.ask(self.ref, self._ask)
        else:
            self._board.served(self.ref)

    def _ask(self, number: int, now_ms: float) -> Ask | None:
        return self._parking.ask(self.ref, self._incarnation, self.left, number, now_ms)

    def _refuse(self, request: Request, available: int) -> None:
        outcome = Outcome.INSUFFICIENT if available else Outcome.SOLD_OUT
        request.refused(self._sku, self.ref.partition, outcome, available)

    def _give_up(self, request: Request, error: HotSKUError) -> None:
        if request.unknown_until_ms:
            error = OutcomeUnknown(f"the order {request.order_id!r} may or may not have been sold; send it again")
        request.fail(error)


def _pack(batch: list[Request]) -> bytes:
    return _encode([value for request in batch for value in (request.field, request.quantity)])


def _conflict(request: Request, record: bytes) -> IdempotencyConflict:
    first = record.split(b":")[1].decode()
    return IdempotencyConflict(f"the order {request.order_id!r} was accepted with quantity {first}; it stands")
