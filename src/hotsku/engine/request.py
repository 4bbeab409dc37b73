"""A request on its way, and the answers that it can get."""

import asyncio
from collections.abc import Callable

from msgspec import Struct

from hotsku.domain.deduction import Deduction, OrderState, Outcome
from hotsku.errors import HotSKUError


class Bulk:
    """Gathers the answers of one `deduct_many`, in the order of its orders."""

    __slots__ = ("answers", "done", "open")

    def __init__(self, count: int, done: "asyncio.Future[None]") -> None:
        self.answers: list[Deduction | HotSKUError | None] = [None] * count
        self.open = count
        self.done = done

    def put(self, index: int, answer: Deduction | HotSKUError) -> None:
        self.answers[index] = answer
        self.open -= 1
        if self.open == 0 and not self.done.done():
            self.done.set_result(None)

    @property
    def gone(self) -> bool:
        return self.done.cancelled()


class Listener:
    """A caller without a task: `hear` is called with its answer, at once."""

    __slots__ = ("_ended", "_hear", "gone")

    def __init__(self, hear: Callable[[Deduction | HotSKUError], None], ended: Callable[[], None]) -> None:
        """
        Args:
            ended: called when the answer has been heard, or is not waited for any more.
        """
        self._hear = hear
        self._ended = ended
        self.gone = False

    def leave(self) -> None:
        """Wait no longer: what is parked for this caller is for others."""
        if not self.gone:
            self.gone = True
            self._ended()

    def put(self, _: int, answer: Deduction | HotSKUError) -> None:
        if not self.gone:
            self.gone = True
            self._ended()
            self._hear(answer)


class Request(Struct, gc=False, eq=False):
    """One order that waits for its answer.

    `since_ms` is when it came (monotonic). `unknown_until_ms` is the shard's clock up to which an earlier attempt,
    whose connection broke, may still be carried out: until the shard has answered after that, a no is not final, for
    that attempt may have sold. 0: there is none. `told_no` is the number of the first `Needs` that told the workers
    that it waits.
    """

    field: str
    order_id: str
    buyer_id: str
    quantity: int
    future: "asyncio.Future[Deduction] | Bulk | Listener"
    since_ms: float
    index: int = 0
    unknown_until_ms: int = 0
    told_no: int = 0

    @property
    def abandoned(self) -> bool:
        """Nobody waits for the answer any more."""
        return self.future.cancelled() if isinstance(self.future, asyncio.Future) else self.future.gone

    def answer(self, deduction: Deduction) -> None:
        """Tell the caller; one that has gone is not told."""
        if not isinstance(self.future, asyncio.Future):
            self.future.put(self.index, deduction)
        elif not self.future.done():
            self.future.set_result(deduction)

    def fail(self, error: HotSKUError) -> None:
        """Tell the caller of a fault."""
        if not isinstance(self.future, asyncio.Future):
            self.future.put(self.index, error)
        elif not self.future.done():
            self.future.set_exception(error)

    def accepted(self, sku: str, partition: int, *, replayed: bool) -> None:
        self.answer(
            Deduction(
                outcome=Outcome.ACCEPTED,
                state=OrderState.CONFIRMED,
                replayed=replayed,
                sku=sku,
                order_id=self.order_id,
                buyer_id=self.buyer_id,
                quantity=self.quantity,
                partition=partition,
            )
        )

    def refused(self, sku: str, partition: int, outcome: Outcome, available: int | None = None) -> None:
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
