"""How long the client goes on, and what it may believe meanwhile."""

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from hotsku.backoff import Backoff
from hotsku.client.answers import Again
from hotsku.client.wire import Operation, Pause
from hotsku.errors import BackendUnavailable, HotSKUError, OutcomeUnknown

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0


class Terms(Struct, frozen=True):
    """What a client was made with.

    Attributes:
        budget_s: seconds for one operation, with all its attempts.
        attempt_s: seconds for one attempt.
        settle_s: seconds after which a lost attempt cannot be carried out any more.
        now_s: a clock that never runs backwards, in seconds.
        now: the time, for what is asked by its age.
        draw: a random number from 0 to 1.
        mint_id: a new order id.
    """

    budget_s: float
    attempt_s: float
    settle_s: float
    now_s: Callable[[], float]
    now: Callable[[], datetime]
    draw: Callable[[], float]
    mint_id: Callable[[], str]


class Budget:
    """The time of one operation."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._end_s = terms.now_s() + terms.budget_s
        self._backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)

    def attempt_s(self) -> float:
        """How long the next attempt may take."""
        return max(min(self._terms.attempt_s, self._end_s - self._terms.now_s()), 0.001)

    def pause(self, after_s: float) -> Operation[bool]:
        """Wait before the next attempt: at least as long as the gateway asks, and a random part more, so that those
        who were refused together do not come back together. False: no time would be left, and nothing was waited."""
        pause_s = after_s + self._backoff.next_s() * (0.5 + self._terms.draw() / 2)
        if self._terms.now_s() + pause_s >= self._end_s:
            return False
        yield Pause(pause_s)
        return True


class Doubt:
    """What is not known of one order (or another change): whether an attempt that nobody heard of was carried out.

    A yes ends all doubt, for the order's record says so. A no does not, as long as a lost attempt may still arrive:
    told to a buyer, it could be followed by a sale that nobody knows of.
    """

    def __init__(self, terms: Terms, *, changes: bool) -> None:
        self._terms = terms
        self._changes = changes
        self._lost_at_s: float | None = None
        self._fault: HotSKUError = BackendUnavailable("no answer came in time")
        self._no = ""

    def again(self, why: Again) -> None:
        """It has to be sent again."""
        self._fault = why.fault
        self._no = ""
        if why.unknown and self._changes:
            self._lost_at_s = self._terms.now_s()

    def keeps_back(self, no: str) -> bool:
        """Whether this no, which a lost attempt could still turn into a yes, is not to be told yet."""
        if self._lost_at_s is None or self._terms.now_s() >= self._lost_at_s + self._terms.settle_s:
            return False
        self._no = no
        return True

    def fault(self, what: str) -> HotSKUError:
        """What to raise when no time is left.

        Args:
            what: names what was to be done, and how to send it again.
        """
        if self._lost_at_s is not None:
            why = f"it hears {self._no}, and an earlier attempt was lost" if self._no else str(self._fault)
            return OutcomeUnknown(f"{what} may or may not have been done ({why}); send the same again, that is safe")
        return self._fault
