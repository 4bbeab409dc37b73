"""The steps of one partition's orders: confirm, release, and so on, coalesced as the orders are.

    submit ──► fresh ──► batch ──► shard.step ──► answers
                 ▲                     │ no record there
                 └── not there yet ◄── ledger ──► answers

One batch is in flight at a time, beside the partition's batch of orders. A step may be sent any number of times, early
or late: it compares and sets the order's record. So a call that was lost is simply made again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from hotsku.domain.deduction import Deduction, Outcome
from hotsku.domain.events import PartitionRef
from hotsku.domain.order import OrderRecord, StepVerb, parse_record
from hotsku.domain.steps import judge
from hotsku.engine.answers import told
from hotsku.engine.incarnation import KnownIncarnation
from hotsku.engine.partition import MAX_BATCH
from hotsku.engine.request import StepRequest
from hotsku.engine.servers import Server, Servers
from hotsku.engine.timing import Timing
from hotsku.errors import BackendUnavailable, HotSKUError, IdempotencyConflict, InvalidRequest, OutcomeUnknown
from hotsku.ports import Clock, Fenced, Lost, Shard, Stale, StepReply
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


class StepPath:
    """Decides the steps of the orders whose home is one partition."""

    def __init__(
        self,
        *,
        ref: PartitionRef,
        sku: str,
        incarnation: KnownIncarnation,
        shard: Shard,
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
        self.ref = ref
        self._sku = sku
        self._incarnation = incarnation
        self._shard = shard
        self._servers = servers
        self._clock = clock
        self._timing = timing
        self._signer = signer
        self._booked = booked
        self._fresh: list[StepRequest] = []
        self._running: asyncio.Task[None] | None = None
        self._missing: list[StepRequest] = []
        self._asking: asyncio.Task[None] | None = None
        self._early: list[StepRequest] = []

    def submit(self, request: StepRequest) -> None:
        """Take a request; its future will have the answer."""
        self._fresh.append(request)
        self._run()

    def tick(self) -> None:
        """Fail the requests that have waited longer than their patience, and try those again whose order was not on
        the shard yet. Call it often."""
        self._fresh += self._early
        self._early = []
        self._fresh = self._patient(self._fresh)
        self._missing = self._patient(self._missing)
        if self._fresh:
            self._run()

    # --- the loop: one batch in flight ---

    def _run(self) -> None:
        if self._running is None:
            self._running = asyncio.create_task(self._decide_all())

    async def _decide_all(self) -> None:
        try:
            await asyncio.sleep(0)  # callers that are ready now come along
            while self._fresh:
                batch, self._fresh = self._fresh[:MAX_BATCH], self._fresh[MAX_BATCH:]
                await self._decide(batch)
        finally:
            self._running = None

    async def _decide(self, batch: list[StepRequest]) -> None:
        while batch:
            try:
                server = self._servers.of(self.ref)
                with await server.rounds.turn():
                    reply = await self._attempt(server, batch)
            except HotSKUError as error:
                for request in batch:
                    _give_up(request, error)
                return
            if reply is not None:
                self._servers.step_batches.note(len(batch))
                self._answer(batch, reply)
                return
            await self._incarnation.pause()
            batch = self._patient(batch)

    async def _attempt(self, server: Server, batch: list[StepRequest]) -> StepReply | None:
        """Call the shard once. None where the same batch is to be sent again."""
        try:
            reply = await self._incarnation.call(partial(self._send, _pack(batch)))
        except Lost as lost:
            for request in batch:
                request.unknown = request.unknown or lost.sent
            return None
        except (Fenced, Stale):
            return None  # it may be ready by the next attempt
        server.clock.observe(reply.now_ms)
        self._incarnation.acknowledge(reply.seq_before, reply.events)
        return reply

    async def _send(self, steps: bytes, incarnation: int) -> StepReply:
        return await self._shard.step(self.ref, incarnation, steps)

    def _patient(self, requests: list[StepRequest]) -> list[StepRequest]:
        """Those that may wait on; the others are told that they could not be served."""
        before_ms = self._clock.monotonic_ms() - self._timing.patience_ms
        for request in requests:
            if request.since_ms < before_ms:
                _give_up(request, BackendUnavailable(self._incarnation.why))
        return [request for request in requests if request.since_ms >= before_ms]

    # --- answers ---

    def _answer(self, batch: list[StepRequest], reply: StepReply) -> None:
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
                    _give_up(request, error)
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


def _pack(batch: list[StepRequest]) -> bytes:
    return _encode([(r.step.verb, r.field, r.step.argument, int(r.step.cart)) for r in batch])


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


def _give_up(request: StepRequest, error: HotSKUError) -> None:
    if request.unknown:
        verb, order = request.step.verb.value, request.order_id
        error = OutcomeUnknown(f"{verb} of the order {order!r} may or may not have been done; send it again")
    request.fail(error)
