"""The request path of one partition: callers are coalesced into batches, and one script call decides each batch.

    submit ──► fresh ──► batch ──► shard.deduct ──► answers
                           ▲              │ dry
                           └── parking ◄──┘

One batch is in flight at a time, and what arrives meanwhile makes the next one. So under `appendfsync always` the fsync
is shared by the batch (group commit), and under load batches grow by themselves.
"""

import asyncio

import msgspec
from msgspec import Struct

from hotsku.domain.deduction import Outcome, Proof
from hotsku.domain.events import PartitionRef
from hotsku.domain.order import OrderRecord, parse_record
from hotsku.engine.answers import birth_outcome, told
from hotsku.engine.incarnation import KnownIncarnation
from hotsku.engine.needs import NeedsBoard
from hotsku.engine.parking import Parking
from hotsku.engine.request import Request
from hotsku.engine.rounds import Round
from hotsku.engine.servers import Server, Servers
from hotsku.engine.standing import KnownStanding
from hotsku.engine.timing import Timing
from hotsku.errors import BackendUnavailable, HotSKUError, IdempotencyConflict, OutcomeUnknown, Overloaded
from hotsku.ports import Ask, BatchReply, Clock, Fenced, Late, Lost, Refill, Shard, Stale
from hotsku.receipts import Signer

MAX_BATCH = 1000

_encode = msgspec.msgpack.Encoder().encode

_REFUSALS = {"L": Outcome.LIMIT_EXCEEDED, "N": Outcome.NOT_OPEN, "C": Outcome.CLOSED, "P": Outcome.PAUSED}


class PartitionPath:
    """Decides the orders whose home is one partition."""

    def __init__(
        self,
        *,
        ref: PartitionRef,
        sku: str,
        incarnation: KnownIncarnation,
        shard: Shard,
        servers: Servers,
        clock: Clock,
        standing: KnownStanding,
        board: NeedsBoard,
        timing: Timing,
        signer: Signer | None,
    ) -> None:
        """
        Args:
            incarnation: shared with the partition's steps.
            servers: shared by all partitions.
            standing: shared by the item's partitions.
            signer: signs receipts; None where there are no keys.
        """
        self.ref = ref
        self.left = 0
        self._sku = sku
        self._incarnation = incarnation
        self._shard = shard
        self._servers = servers
        self._clock = clock
        self._standing = standing
        self._board = board
        self._timing = timing
        self._sign = signer.sign_birth if signer else None
        self._fresh: list[Request] = []
        self._parking = Parking()
        self._retry_parked = False
        self._tried_ms = 0.0
        self._running: asyncio.Task[None] | None = None

    def submit(self, request: Request) -> None:
        """Take a request; its future will have the answer."""
        self._fresh.append(request)
        if self._running is None:
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
        if self._fresh or self._parking:
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
                self._give_up(request, BackendUnavailable(self._incarnation.why))

    # --- the loop: one batch in flight ---

    def _run(self) -> None:
        if self._running is None:
            self._running = asyncio.create_task(self._decide_all())

    async def _decide_all(self) -> None:
        try:
            while self._fresh or self._parked_turn:
                server = self._servers.of(self.ref)
                await self._decide(server, await server.rounds.turn())
        finally:
            self._running = None

    async def _decide(self, server: Server, turn: Round) -> None:
        """Send the batch that there is now, until it is decided."""
        with turn:
            batch = self._next_batch()
            if await self._decided(server, batch):
                return
        while (batch := await self._pause(batch)).requests:
            server = self._servers.of(self.ref)
            with await server.rounds.turn():
                if await self._decided(server, batch):
                    return

    @property
    def _parked_turn(self) -> bool:
        return bool(self._retry_parked and self._parking)

    def _next_batch(self) -> "_Batch":
        if self._parked_turn:
            self._retry_parked = False
            self._tried_ms = self._clock.monotonic_ms()
            return _batch(self._parking.take(MAX_BATCH), take=True, parked=True)
        requests, self._fresh = self._fresh[:MAX_BATCH], self._fresh[MAX_BATCH:]
        return _batch(requests, take=not self._parking, parked=False)

    async def _decided(self, server: Server, batch: "_Batch") -> bool:
        """Call the shard once and hand out the answers. False where the same batch is to be sent again."""
        if not batch.requests:  # they have given up while they waited for their turn
            return True
        try:
            reply = await self._attempt(server, batch)
        except HotSKUError as error:
            for request in batch.requests:
                self._give_up(request, error)
            return True
        if reply is None:
            return False
        server.clock.observe(reply.now_ms)
        self._servers.order_batches.note(len(batch.requests))
        self._answer(batch.requests, reply, parked=batch.parked)
        return True

    async def _attempt(self, server: Server, batch: "_Batch") -> BatchReply | None:
        """Call the shard once. None where the same batch is to be sent again."""
        deadline_ms = server.clock.in_ms(self._timing.deadline_ms)
        try:
            return await self._incarnation.call(
                lambda incarnation: self._shard.deduct(self.ref, incarnation, deadline_ms, batch.take, batch.orders)
            )
        except Lost as lost:
            if lost.sent:
                for request in batch.requests:
                    request.unknown_until_ms = deadline_ms + self._timing.margin_ms
        except Late as late:
            server.clock.observe(late.now_ms)
        except (Fenced, Stale):
            pass  # it may be ready by the next attempt
        return None

    async def _pause(self, batch: "_Batch") -> "_Batch":
        """Wait a moment before the batch is sent again. Gives back what still has patience."""
        await self._incarnation.pause()
        before_ms = self._clock.monotonic_ms() - self._timing.patience_ms
        waiting = [request for request in batch.requests if request.since_ms >= before_ms]
        if len(waiting) == len(batch.requests):
            return batch
        for request in batch.requests:
            if request.since_ms < before_ms:
                self._give_up(request, BackendUnavailable(self._incarnation.why))
        return _batch(waiting, take=batch.take, parked=batch.parked)

    # --- answers ---

    def _answer(self, batch: list[Request], reply: BatchReply, *, parked: bool) -> None:
        self._note(reply)
        dry: list[Request] = []
        records = iter(reply.records)
        proof, seq = Proof(self._incarnation.number, reply.now_ms, self._sign), reply.seq_before
        sku, partition = self._sku, self.ref.partition
        for request, code in zip(batch, reply.codes, strict=True):
            if code == "A":
                seq += 1
                request.accepted(sku, partition, seq, proof)
            elif code == "R":
                self._repeat(request, parse_record(next(records)), reply.now_ms)
            elif code == "X":
                request.fail(_conflict(request, parse_record(next(records))))
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
        self.left = reply.left_a + reply.left_b
        self._incarnation.acknowledge(reply.seq_before, reply.codes.count("A"))
        if reply.refill:
            self._board.refill(
                Refill(ref=self.ref, incarnation=self._incarnation.number, taken=reply.taken, at_ms=reply.now_ms)
            )

    def _repeat(self, request: Request, record: OrderRecord, now_ms: int) -> None:
        request.answer(
            told(
                record,
                birth_outcome(record),
                sku=self._sku,
                order_id=request.order_id,
                buyer_id=request.buyer_id,
                partition=self.ref.partition,
                now_ms=now_ms,
                sign=self._sign,
                replayed=True,
            )
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
        return self._parking.ask(self.ref, self._incarnation.number, self.left, number, now_ms)

    def _refuse(self, request: Request, available: int) -> None:
        outcome = Outcome.INSUFFICIENT if available else Outcome.SOLD_OUT
        request.refused(self._sku, self.ref.partition, outcome, available)

    def _give_up(self, request: Request, error: HotSKUError) -> None:
        if request.unknown_until_ms:
            error = OutcomeUnknown(f"the order {request.order_id!r} may or may not have been sold; send it again")
        request.fail(error)


class _Batch(Struct, frozen=True):
    """Requests of one call. `orders` is what the shard is sent; `parked` that they have waited for stock, and go back
    to the front where there is none; not to `take` is to answer from the records only."""

    requests: list[Request]
    orders: bytes
    take: bool
    parked: bool


def _batch(requests: list[Request], *, take: bool, parked: bool) -> _Batch:
    values = [value for request in requests for value in (request.field, request.terms or request.quantity)]
    return _Batch(requests, _encode(values), take, parked)


def _conflict(request: Request, record: OrderRecord) -> IdempotencyConflict:
    how = "held" if record.held else "accepted"
    return IdempotencyConflict(
        f"the order {request.order_id!r} was {how} with quantity {record.quantity}; it stands",
        "order_id" if record.quantity == request.quantity else "quantity",
    )
