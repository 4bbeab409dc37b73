"""What the orders and the steps of one partition share: one batch at a time is under way, until it is decided.

wake ──► wants a call ──► departs ──► hears ──► decided
              ▲                          │ not decided: fenced, stale, late, lost
              └────────── again ◄────────┘
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from hotsku.domain.events import PartitionRef
from hotsku.engine.calls import Calls, R, W
from hotsku.engine.incarnation import KnownIncarnation, Sent
from hotsku.engine.request import Waiting
from hotsku.engine.timing import Timing
from hotsku.errors import BackendUnavailable, HotSKUError, OutcomeUnknown
from hotsku.log import get_logger
from hotsku.ports import Clock, Fenced, Late, Lost, Refusal, Stale

MAX_BATCH = 1000

Q = TypeVar("Q", bound=Waiting)

_log = get_logger("engine")


class BatchPath(ABC, Generic[W, R, Q]):
    """Sends one partition's batches, one after the other."""

    def __init__(
        self,
        *,
        incarnation: KnownIncarnation,
        calls_of: Callable[[PartitionRef], Calls[W, R]],
        clock: Clock,
        timing: Timing,
    ) -> None:
        """
        Args:
            incarnation: shared by the partition's paths.
            calls_of: the calls to the server that has the partition now.
        """
        self.ref = incarnation.ref
        self._incarnation = incarnation
        self._calls_of = calls_of
        self._clock = clock
        self._timing = timing
        self._idle = True
        self._again = False
        self._batch: list[Q] = []
        self._sent = Sent(0, 0)

    # --- of each kind ---

    @abstractmethod
    def _whoever_waits(self) -> tuple[Iterable[Q], ...]:
        """All requests that are not answered, wherever they are."""

    @property
    def open(self) -> bool:
        """Whether anybody waits for an answer."""
        return any(not request.abandoned for requests in self._whoever_waits() for request in requests)

    def stood_still(self, for_ms: float) -> None:
        """The process did nothing for so long. It uses up nobody's patience: those who wait can still be served."""
        for requests in self._whoever_waits():
            for request in requests:
                request.since_ms += for_ms

    @property
    @abstractmethod
    def waiting(self) -> int:
        """See `Sender`."""

    @abstractmethod
    def _waits(self) -> bool:
        """Whether there is something to send."""

    @abstractmethod
    def _take(self) -> list[Q]:
        """Take the next batch out of what waits."""

    @abstractmethod
    def _words(self, batch: list[Q], incarnation: int) -> W:
        """The batch as the shard is sent it."""

    @abstractmethod
    def _decided(self, batch: list[Q], reply: R) -> None:
        """Hand out the answers."""

    @abstractmethod
    def _unknown(self, batch: list[Q], until_ms: int) -> None:
        """A call is lost that may have been carried out, or may yet be until the shard's clock shows `until_ms`."""

    @abstractmethod
    def _give_up(self, request: Q, error: HotSKUError) -> None:
        """Tell a caller that nothing more is tried."""

    # --- the way of a batch ---

    def _wake(self) -> None:
        """There is something to send."""
        if self._idle:
            self._idle = False
            self._calls_of(self.ref).want(self)

    def depart(self) -> tuple[W, int] | None:
        """See `Sender`."""
        try:
            return self._next_batch()
        except Exception as error:  # it must not silence those that go along
            self._own_up(error)
            self._go_on()
            return None

    def _next_batch(self) -> tuple[W, int] | None:
        batch = self._patient(self._batch) if self._again else []
        self._again = False
        while not batch and self._waits():
            batch = self._take()
        self._batch = batch
        if not batch:
            self._idle = True
            return None
        self._sent = self._incarnation.sent()
        return self._words(batch, self._sent.number), len(batch)

    def hear(self, answer: R | Refusal, deadline_ms: int) -> None:
        """See `Sender`."""
        if not isinstance(answer, Exception) and self._incarnation.counts(answer, self._sent):
            self._hand_out(answer)
        else:
            self._calls_of(self.ref).spawn(self._look_closer(answer, deadline_ms))

    def _hand_out(self, reply: R) -> None:
        try:
            self._decided(self._batch, reply)
        except Exception as error:  # it must not silence the batches that came along
            self._own_up(error)
        self._go_on()

    def _own_up(self, bug: Exception) -> None:
        _log.error("this is a bug in hotsku", exc_info=bug)
        for request in self._batch:
            self._fail(request, OutcomeUnknown("the answer could not be read; send the same order again"))

    def _fail(self, request: Q, error: HotSKUError) -> None:
        """Tell a caller of a fault. One who cannot listen must not silence the partition."""
        try:
            request.fail(error)
        except Exception as bug:
            _log.error("a caller cannot be told", exc_info=bug)

    def _go_on(self) -> None:
        self._batch = []
        self._idle = True
        if self._waits():
            self._wake()

    async def _look_closer(self, answer: R | Refusal, deadline_ms: int) -> None:
        """An answer that is no reply, or a reply that may not count."""
        try:
            reply = await self._incarnation.heed(answer, self._sent)
        except Lost as lost:
            if lost.sent:
                self._unknown(self._batch, deadline_ms + self._timing.margin_ms)
        except (Fenced, Stale, Late):
            pass  # it may be ready by the next attempt
        except HotSKUError as error:
            for request in self._batch:
                self._give_up(request, error)
            self._go_on()
            return
        except Exception as error:  # else nothing would ever be sent to this partition again
            self._own_up(error)
            self._go_on()
            return
        else:
            self._hand_out(reply)
            return
        await self._incarnation.pause()
        self._again = True
        self._calls_of(self.ref).want(self)

    def _patient(self, requests: list[Q]) -> list[Q]:
        """Those that may wait on; the others are told that they could not be served."""
        before_ms = self._clock.monotonic_ms() - self._timing.patience_ms
        for request in requests:
            if request.since_ms < before_ms:
                self._give_up(request, BackendUnavailable(self._incarnation.why))
        return [request for request in requests if request.since_ms >= before_ms]
