"""Orders that wait for stock at one partition, first come, first served."""

from collections import deque
from collections.abc import Callable

from hotsku.domain.events import PartitionRef
from hotsku.engine.request import Request
from hotsku.errors import OutcomeUnknown
from hotsku.ports import Ask


class Parking:
    """The parked orders of one partition.

    Attributes:
        waiting: they, for whoever only asks whether there are any: a thousand partitions are asked that all the time.
    """

    def __init__(self) -> None:
        self.waiting: deque[Request] = deque()
        self._units = 0

    def __len__(self) -> int:
        return len(self.waiting)

    def park(self, request: Request) -> None:
        """Put an order at the end."""
        self.waiting.append(request)
        self._units += request.quantity

    def take(self, most: int) -> list[Request]:
        """Take the first orders out, to try them again. Those whose caller has gone go: their stock is for others."""
        for left in self._take_where(lambda r: r.abandoned):
            left.fail(OutcomeUnknown(f"nobody waited for the order {left.order_id!r} any more; send it again"))
        batch = [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]
        self._units -= sum(request.quantity for request in batch)
        return batch

    def put_back(self, requests: list[Request]) -> None:
        """Put orders that `take` gave back to the front, in their order."""
        self.waiting.extendleft(reversed(requests))
        self._units += sum(request.quantity for request in requests)

    def ask(self, ref: PartitionRef, incarnation: int, left: int, number: int, now_ms: float) -> Ask | None:
        """What the parked orders lack while the partition has `left` units; None where nobody waits.

        Args:
            number: of the `Needs` that will carry the ask; it is noted on the orders that no earlier one carried.
        """
        if not self.waiting:
            return None
        for request in reversed(self.waiting):  # those that came since the last ask are at the end
            if request.told_no:
                break
            request.told_no = number
        head = self.waiting[0]
        smallest = max(1, head.quantity - left)
        return Ask(
            ref=ref,
            incarnation=incarnation,
            waiting=max(smallest, self._units - left),
            smallest=smallest,
            age_ms=max(0, int(now_ms - head.since_ms)),
        )

    def take_beyond(self, available: int, heard_no: int) -> list[Request]:
        """Take out the orders that want more than is available, of those that a `Needs` up to `heard_no` carried and
        that surely no earlier attempt has sold."""
        return self._take_where(
            lambda r: r.quantity > available and 0 < r.told_no <= heard_no and not r.unknown_until_ms
        )

    def take_older(self, than_ms: float) -> list[Request]:
        """Take out the orders that came before a time (monotonic)."""
        return self._take_where(lambda r: r.since_ms < than_ms)

    def _take_where(self, chosen: Callable[[Request], bool]) -> list[Request]:
        taken = [request for request in self.waiting if chosen(request)]
        if taken:
            self.waiting = deque(request for request in self.waiting if not chosen(request))
            self._units -= sum(request.quantity for request in taken)
        return taken
