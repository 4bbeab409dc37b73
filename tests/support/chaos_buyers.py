"""What buyers ordered and were told, and what must hold of the ledger then. Nothing here asks the product."""

from collections import defaultdict

from hotsku import Deduction, Outcome
from hotsku.ports import DetailRow

LIMIT = 40

_NOES = (Outcome.SOLD_OUT, Outcome.INSUFFICIENT, Outcome.LIMIT_EXCEEDED)


class Buyers:
    """What buyers ordered, and what they were told."""

    def __init__(self) -> None:
        self.ordered: dict[str, tuple[str, int]] = {}  # order to its buyer and quantity
        self.accepted: dict[str, Deduction] = {}
        self.refused: set[str] = set()  # orders whose last answer was a no
        self.unknown: set[str] = set()  # orders that are being sent

    def heard(self, answer: Deduction) -> None:
        order_id = answer.order_id
        if answer.outcome is Outcome.ACCEPTED:
            assert (answer.buyer_id, answer.quantity) == self.ordered[order_id]
            first = self.accepted.setdefault(order_id, answer)
            assert (first.quantity, first.partition) == (answer.quantity, answer.partition)
            self.refused.discard(order_id)
            return
        assert answer.outcome in _NOES, answer
        assert order_id not in self.accepted, f"{answer} after {self.accepted[order_id]}"
        self.refused.add(order_id)

    @property
    def units(self) -> int:
        """That were acknowledged."""
        return sum(answer.quantity for answer in self.accepted.values())

    def check(self, rows: list[DetailRow], total: int, *, forgets: bool) -> None:
        """What must hold of the ledger's rows, whatever happened.

        Args:
            forgets: sales that were acknowledged may be missing.
        """
        by_order = {row.order_id: row for row in rows}
        assert len(by_order) == len(rows), "an order has two rows"
        assert sum(row.quantity for row in rows) <= total, "oversold"
        for row in rows:
            assert (row.buyer_id, row.quantity) == self.ordered[row.order_id]
        lost = self.accepted.keys() - by_order.keys()
        assert forgets or not lost, f"{len(lost)} acknowledged orders are not in the ledger: {sorted(lost)[:10]}"
        told_no = self.refused & by_order.keys()
        assert forgets or not told_no, f"{len(told_no)} orders were refused and sold: {sorted(told_no)[:10]}"
        by_buyer: defaultdict[str, int] = defaultdict(int)
        for row in rows:
            by_buyer[row.buyer_id] += row.quantity
        assert forgets or not by_buyer or max(by_buyer.values()) <= LIMIT
