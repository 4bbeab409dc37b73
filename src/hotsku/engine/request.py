"""A request on its way, and the answers that it can get."""

import asyncio
from collections.abc import Callable

from msgspec import Struct

from hotsku.domain.deduction import Deduction, OrderState, Outcome, Proof
from hotsku.domain.times import from_ms
from hotsku.errors import HotSKUError
from hotsku.ports import Step

# Looked up once: every order's answer passes here, and an enum finds its members slowly.
_ACCEPTED = Outcome.ACCEPTED
_CONFIRMED = OrderState.CONFIRMED
_Future = asyncio.Future


class Bulk:
    """Gathers the answers of one `deduct_many`, in the order of its orders."""

    __slots__ = ("answers", "done", "open")

    def __init__(self, count: int, done: "asyncio.Future[None]") -> None:
        self.answers: list[Deduction | HotSKUError | None] = [None] * count
        self.open = count
        self.done = done

    def put(self, index: int, answer: Deduction | HotSKUError) -> None:
        if self.answers[index] is not None:
            return
        self.answers[index] = answer
        self.open -= 1
        if self.open == 0 and not self.done.done():
            self.done.set_result(None)

    @property
    def gone(self) -> bool:
        return self.done.cancelled()


class Listener:
    """A caller without a task: `hear` is called with its answer, at once."""

    __slots__ = ("_hear", "gone")

    def __init__(self, hear: Callable[[Deduction | HotSKUError], None]) -> None:
        self._hear: Callable[[Deduction | HotSKUError], None] | None = hear
        self.gone = False

    def leave(self, *, hears: bool = False) -> None:
        """Wait no longer: what is parked for this caller is for others.

        Args:
            hears: it may still be there, and is told what became of it.
        """
        self.gone = True
        if not hears:
            self._hear = None

    def put(self, _: int, answer: Deduction | HotSKUError) -> None:
        hear, self._hear, self.gone = self._hear, None, True
        if hear is not None:
            hear(answer)


class Waiting(Struct, gc=False, eq=False):
    """Somebody who waits for the answer about one order.

    `since_ms` is when the request came (monotonic), `index` its place in a call that has many.
    """

    order_id: str
    buyer_id: str
    future: "asyncio.Future[Deduction] | Bulk | Listener"
    since_ms: float
    index: int

    @property
    def abandoned(self) -> bool:
        """Nobody waits for the answer any more."""
        return self.future.cancelled() if isinstance(self.future, asyncio.Future) else self.future.gone

    def answer(self, deduction: Deduction) -> None:
        """Tell the caller; one that has gone is not told."""
        future = self.future
        if not isinstance(future, _Future):
            future.put(self.index, deduction)
        elif not future.done():
            future.set_result(deduction)

    def fail(self, error: HotSKUError) -> None:
        """Tell the caller of a fault."""
        # Its frames have this request, at which the garbage collector does not look: it would never be free.
        error.__traceback__ = None
        if not isinstance(self.future, asyncio.Future):
            self.future.put(self.index, error)
        elif not self.future.done():
            self.future.set_exception(error)


class Terms(Struct, frozen=True, gc=False, array_like=True):
    """What an order has beyond its quantity, as deduct.lua takes it. `ttl_ms` 0 is a deduction, more is a hold that
    lasts so long; `cart` is 1 for a cart's line."""

    quantity: int
    metadata: str = ""
    ttl_ms: int = 0
    cart: int = 0


class Request(Waiting, gc=False, eq=False):
    """One order that waits for its answer.

    `terms` is None for a plain deduction. `unknown_until_ms` is the shard's clock up to which an earlier attempt,
    whose connection broke, may still be carried out: until the shard has answered after that, a no is not final, for
    that attempt may have sold. 0: there is none. `told_no` is the number of the first `Needs` that told the workers
    that it waits.
    """

    quantity: int
    terms: Terms | None = None
    unknown_until_ms: int = 0
    told_no: int = 0

    def accepted(self, sku: str, partition: int, seq: int, proof: Proof) -> None:
        """It was accepted now, as event `seq`."""
        if self.terms is not None:
            self._accepted_on(self.terms, sku, partition, seq, proof)
            return
        self.answer(
            Deduction(
                outcome=_ACCEPTED,
                state=_CONFIRMED,
                sku=sku,
                order_id=self.order_id,
                buyer_id=self.buyer_id,
                quantity=self.quantity,
                partition=partition,
                seq=seq,
                proof=proof,
            )
        )

    def _accepted_on(self, terms: Terms, sku: str, partition: int, seq: int, proof: Proof) -> None:
        held = terms.ttl_ms > 0
        self.answer(
            Deduction(
                outcome=Outcome.HELD if held else Outcome.ACCEPTED,
                state=OrderState.HELD if held else OrderState.CONFIRMED,
                sku=sku,
                order_id=self.order_id,
                buyer_id=self.buyer_id,
                quantity=self.quantity,
                partition=partition,
                expires_at=from_ms(proof.at_ms + terms.ttl_ms) if held else None,
                metadata=terms.metadata,
                seq=seq,
                proof=proof,
            )
        )

    def refused(self, sku: str, partition: int, outcome: Outcome, available: int | None = None) -> None:
        """It was not accepted, as may be expected."""
        self.answer(
            Deduction(
                outcome=outcome,
                sku=sku,
                order_id=self.order_id,
                buyer_id=self.buyer_id,
                quantity=self.quantity,
                partition=partition,
                available=available,
            )
        )


class StepRequest(Waiting, gc=False, eq=False):
    """One step of an order that waits for its answer. `unknown` is true when a call that had it was sent and never
    answered: it may have been taken."""

    step: Step
    unknown: bool = False
