"""The request path of one partition: callers are coalesced into batches, and one script call decides each batch.

    submit ──► fresh ──► batch ──► shard.deduct ──► answers
                           ▲              │ dry
                           └── parking ◄──┘

One batch is under way at a time (see `batch_path`), and what arrives meanwhile makes the next one.
"""

from collections.abc import Iterable

import msgspec

from hotsku.domain.deduction import Outcome, Proof
from hotsku.domain.identity import are_ids, check_order_ids
from hotsku.domain.order import OrderRecord, parse_record
from hotsku.domain.routing import order_field
from hotsku.engine.answers import birth_outcome, told
from hotsku.engine.batch_path import MAX_BATCH, BatchPath
from hotsku.engine.incarnation import KnownIncarnation
from hotsku.engine.needs import NeedsBoard
from hotsku.engine.parking import Parking
from hotsku.engine.request import Request, Terms
from hotsku.engine.servers import Servers
from hotsku.engine.standing import KnownStanding
from hotsku.engine.timing import Timing
from hotsku.errors import (
    BackendUnavailable,
    HotSKUError,
    IdempotencyConflict,
    InvalidRequest,
    OutcomeUnknown,
    Overloaded,
)
from hotsku.ports import Ask, BatchReply, Clock, OrderBatch, Refill
from hotsku.receipts import Signer

_encode = msgspec.msgpack.Encoder().encode

_REFUSALS = {"L": Outcome.LIMIT_EXCEEDED, "N": Outcome.NOT_OPEN, "C": Outcome.CLOSED, "P": Outcome.PAUSED}


class PartitionPath(BatchPath[OrderBatch, BatchReply, Request]):
    """Decides the orders whose home is one partition."""

    def __init__(
        self,
        *,
        sku: str,
        incarnation: KnownIncarnation,
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
        super().__init__(incarnation=incarnation, calls_of=servers.orders_of, clock=clock, timing=timing)
        self.left = 0
        self._sku = sku
        self._sizes = servers.order_batches
        self._standing = standing
        self._board = board
        self._sign = signer.sign_birth if signer else None
        self._arrived: list[Request] = []
        self._fresh: list[Request] = []
        self._parking = Parking()
        self._retry_parked = False
        self._tried_ms = 0.0
        # Of the batch under way: may it take stock, and has it waited for some?
        self._to_take = True
        self._parked = False

    def submit(self, request: Request) -> None:
        """Take a request; its future will have the answer. The characters of its ids are looked at here, together with
        those of the others that come: before it is sent, and at the next tick where it has to wait."""
        self._arrived.append(request)
        if self._idle:
            self._wake()

    def submit_many(self, requests: list[Request]) -> None:
        """Take requests that come together, with ids that are checked."""
        self._fresh.extend(requests)
        self._wake()

    def stock_came(self, units: int) -> None:
        """Units were installed: the parked orders are tried again."""
        self.left += units
        self.retry_parked()

    def retry_parked(self) -> None:
        """Try the parked orders again, also those that the batch under way will park."""
        self._retry_parked = True
        if self._parking:
            self._wake()

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
        if self._arrived:
            self._let_in()
        if not self._fresh and not self._parking.waiting:
            return
        now_ms = self._clock.monotonic_ms()
        self._expire(now_ms - self._timing.patience_ms)
        if self._parking.waiting and now_ms - self._tried_ms >= self._timing.retry_ms:
            self.retry_parked()

    def _expire(self, before_ms: float) -> None:
        for request in self._parking.take_older(before_ms):
            self._give_up(request, Overloaded("no stock came in time; try again"))
        if self._fresh and self._fresh[0].since_ms < before_ms:
            expired = [request for request in self._fresh if request.since_ms < before_ms]
            self._fresh = [request for request in self._fresh if request.since_ms >= before_ms]
            for request in expired:
                self._give_up(request, BackendUnavailable(self._incarnation.why))

    # --- the way of a batch ---

    def _whoever_waits(self) -> tuple[Iterable[Request], ...]:
        return self._batch, self._arrived, self._fresh, self._parking.waiting

    @property
    def waiting(self) -> int:
        fresh = len(self._arrived) + len(self._fresh)
        return len(self._batch) + fresh + (len(self._parking.waiting) if self._retry_parked else 0)

    def _waits(self) -> bool:
        return bool(self._arrived or self._fresh or (self._retry_parked and self._parking.waiting))

    def _take(self) -> list[Request]:
        self._let_in()
        self._parked = bool(self._retry_parked and self._parking.waiting)
        if self._parked:
            self._retry_parked = False
            self._tried_ms = self._clock.monotonic_ms()
            self._to_take = True
            return self._parking.take(MAX_BATCH)
        self._to_take = not self._parking.waiting
        if len(self._fresh) <= MAX_BATCH:
            requests, self._fresh = self._fresh, []
        else:
            requests, self._fresh = self._fresh[:MAX_BATCH], self._fresh[MAX_BATCH:]
        return requests

    def _let_in(self) -> None:
        """Those that have arrived may be sent; one whose ids are none is told so."""
        arrived, self._arrived = self._arrived, []
        ids = [request.order_id for request in arrived] + [request.buyer_id for request in arrived]
        self._fresh += arrived if are_ids(ids) else self._well_formed(arrived)

    def _well_formed(self, requests: list[Request]) -> list[Request]:
        good = []
        for request in requests:
            try:
                check_order_ids(request.order_id, request.buyer_id)
            except InvalidRequest as error:
                self._fail(request, error)
            else:
                good.append(request)
        return good

    def _words(self, batch: list[Request], incarnation: int) -> OrderBatch:
        values: list[str | int | Terms] = []
        for request in batch:
            values += (order_field(request.order_id, request.buyer_id), request.terms or request.quantity)
        return OrderBatch(self.ref, incarnation, self._to_take, _encode(values))

    def _unknown(self, batch: list[Request], until_ms: int) -> None:
        for request in batch:
            request.unknown_until_ms = until_ms

    # --- answers ---

    def _decided(self, batch: list[Request], reply: BatchReply) -> None:
        self._sizes.note(len(batch))
        self.left = reply.left
        codes, seq = reply.codes, reply.seq_before
        self._incarnation.acknowledge(seq, codes.count("A"))
        if reply.refill:
            self._board.refill(
                Refill(ref=self.ref, incarnation=self._incarnation.number, taken=reply.taken, at_ms=reply.now_ms)
            )
        proof = Proof(self._incarnation.number, reply.now_ms, self._sign)
        sku, partition = self._sku, self.ref.partition
        dry: list[Request] = []
        records = iter(reply.records)
        for request, code in zip(batch, codes, strict=True):
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
        if dry or self._parked or self._parking.waiting:
            self._park(dry, parked=self._parked)

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
        self._fail(request, error)


def _conflict(request: Request, record: OrderRecord) -> IdempotencyConflict:
    how = "held" if record.held else "accepted"
    return IdempotencyConflict(
        f"the order {request.order_id!r} was {how} with quantity {record.quantity}; it stands",
        "order_id" if record.quantity == request.quantity else "quantity",
    )
