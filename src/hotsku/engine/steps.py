"""The steps of one partition's orders: confirm, release, and so on, coalesced as the orders are.

    submit ──► fresh ──► batch ──► shard.step ──► answers
                 ▲                     │ no record there
                 └── not there yet ◄── ledger ──► answers

One batch is under way at a time (see `batch_path`), beside the partition's batch of orders. A step may be sent any
number of times: it compares and sets the order's record. So a call that was lost is simply made again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from hotsku.domain.deduction import Deduction, Outcome
from hotsku.domain.order import OrderRecord, StepVerb, parse_record
from hotsku.domain.steps import judge
from hotsku.engine.answers import told
from hotsku.engine.batch_path import MAX_BATCH, BatchPath
from hotsku.engine.incarnation import KnownIncarnation
from hotsku.engine.request import StepRequest
from hotsku.engine.servers import Servers
from hotsku.engine.timing import Timing
from hotsku.errors import HotSKUError, IdempotencyConflict, InvalidRequest, OutcomeUnknown
from hotsku.ports import Clock, StepBatch, StepReply
from hotsku.receipts import Signer

_encode = msgspec.msgpack.Encoder().encode

_DONE = {
    StepVerb.BEGIN_PAYMENT: Outcome.HELD,
    StepVerb.CONFIRM: Outcome.CONFIRMED,
    StepVerb.RELEASE: Outcome.RELEASED,
    StepVerb.EXTEND: Outcome.HELD,
    StepVerb.REFUND: Outcome.REFUNDED,
}
_WITHOUT_RECORD = "-I"


class StepPath(BatchPath[StepBatch, StepReply, StepRequest]):
    """Decides the steps of the orders whose home is one partition."""

    def __init__(
        self,
        *,
        sku: str,
        incarnation: KnownIncarnation,
        servers: Servers,
        clock: Clock,
        timing: Timing,
        signer: Signer | None,
        booked: Callable[[str, str], Awaitable[OrderRecord | None]],
    ) -> None:
        """
        Args:
            incarnation: shared with the partition's orders.
            servers: shared by all partitions.
            signer: signs receipts; None where there are no keys.
            booked: reads an order (order id, buyer id) in the ledger.
        """
        super().__init__(incarnation=incarnation, calls_of=servers.steps_of, clock=clock, timing=timing)
        self._sku = sku
        self._sizes = servers.step_batches
        self._signer = signer
        self._booked = booked
        self._fresh: list[StepRequest] = []
        self._missing: list[StepRequest] = []
        self._asking: asyncio.Task[None] | None = None
        self._early: list[StepRequest] = []

    def submit(self, request: StepRequest) -> None:
        """Take a request; its future will have the answer."""
        self._fresh.append(request)
        self._wake()

    def tick(self) -> None:
        """Fail the requests that have waited longer than their patience, and try those again whose order was not on
        the shard yet. Call it often."""
        if not (self._fresh or self._early or self._missing):
            return
        self._fresh += self._early
        self._early = []
        self._fresh = self._patient(self._fresh)
        self._missing = self._patient(self._missing)
        if self._fresh:
            self._wake()

    # --- the way of a batch ---

    @property
    def open(self) -> bool:
        return self._asking is not None or super().open

    def _whoever_waits(self) -> tuple[Iterable[StepRequest], ...]:
        return self._batch, self._fresh, self._early, self._missing

    @property
    def waiting(self) -> int:
        return len(self._batch) + len(self._fresh)

    def _waits(self) -> bool:
        return bool(self._fresh)

    def _take(self) -> list[StepRequest]:
        batch, self._fresh = self._fresh[:MAX_BATCH], self._fresh[MAX_BATCH:]
        return batch

    def _words(self, batch: list[StepRequest], incarnation: int) -> StepBatch:
        steps = [(r.step.verb, r.step.field, r.step.argument, int(r.step.cart)) for r in batch]
        return StepBatch(self.ref, incarnation, _encode(steps))

    def _unknown(self, batch: list[StepRequest], until_ms: int) -> None:
        for request in batch:
            request.unknown = True

    def _give_up(self, request: StepRequest, error: HotSKUError) -> None:
        if request.unknown:
            verb, order = request.step.verb.value, request.order_id
            error = OutcomeUnknown(f"{verb} of the order {order!r} may or may not have been done; send it again")
        self._fail(request, error)

    # --- answers ---

    def _decided(self, batch: list[StepRequest], reply: StepReply) -> None:
        self._sizes.note(len(batch))
        self._incarnation.acknowledge(reply.seq_before, reply.events)
        records = iter(reply.records)
        for request, code in zip(batch, reply.codes, strict=True):
            if code not in _WITHOUT_RECORD:
                self._tell(request, code, parse_record(next(records)), reply.now_ms)
            elif code == "I":
                request.fail(_bad_argument(request))
            else:
                self._missing.append(request)
        if self._missing and self._asking is None:
            self._asking = asyncio.create_task(self._ask_ledger())

    def _tell(self, request: StepRequest, code: str, record: OrderRecord, now_ms: int) -> None:
        if code == "X":
            request.fail(_conflict(request, record))
            return
        done = code in "AR"
        request.answer(
            told(
                record,
                _DONE[request.step.verb] if done else Outcome(record.state_at(now_ms)),
                sku=self._sku,
                order_id=request.order_id,
                buyer_id=request.buyer_id,
                partition=self.ref.partition,
                now_ms=now_ms,
                sign=self._signer.signs_step(record) if self._signer else None,
                replayed=code == "R",
                refund_payment_ref=None if done else _paid_in_vain(request, record),
            )
        )

    async def _ask_ledger(self) -> None:
        """Answer for the orders that their shard does not have: one at a time, for anybody may ask for anything."""
        try:
            while self._missing:
                request = self._missing.pop(0)
                try:
                    self._tell_booked(request, await self._booked(request.order_id, request.buyer_id))
                except HotSKUError as error:
                    self._give_up(request, error)
        finally:
            self._asking = None

    def _tell_booked(self, request: StepRequest, record: OrderRecord | None) -> None:
        if record is None:
            request.answer(_not_found(request, self._sku, self.ref.partition))
            return
        step = request.step
        code = judge(step.verb, step.argument, step.cart, record)
        if code == "I":
            request.fail(_bad_argument(request))
        elif code == "A":
            self._early.append(request)  # sold since its shard was asked, or not back there yet
        else:
            self._tell(request, code, record, 0)


def _paid_in_vain(request: StepRequest, record: OrderRecord) -> str | None:
    """The payment of a confirm that could not be, unless it is the one that had confirmed the order."""
    payment_ref = str(request.step.argument) if request.step.verb is StepVerb.CONFIRM else ""
    return None if payment_ref in ("", record.payment_ref) else payment_ref


def _not_found(request: StepRequest, sku: str, partition: int) -> Deduction:
    return Deduction(
        outcome=Outcome.NOT_FOUND,
        sku=sku,
        order_id=request.order_id,
        buyer_id=request.buyer_id,
        quantity=0,
        partition=partition,
    )


def _conflict(request: StepRequest, record: OrderRecord) -> IdempotencyConflict:
    what = "a line of a cart: steps are the cart's, but for a refund" if record.cart else "no line of a cart"
    return IdempotencyConflict(f"the order {request.order_id!r} is {what}")


def _bad_argument(request: StepRequest) -> InvalidRequest:
    if request.step.verb is StepVerb.REFUND:
        return InvalidRequest("quantity", "at most the order's")
    return InvalidRequest(request.step.verb.value, "called with what it takes")
