"""Counts what the demo's clients were told. Pure."""

from hotsku.cli.demo.wire import Report
from hotsku.cli.histogram import merge


class Tally:
    """What the buyers were told, by order.

    Attributes:
        answers: requests that were answered, repeats included.
        told: orders that were told "accepted", by whichever request.
        doubled: orders that two requests were told to have been accepted anew.
        refused: orders that were told no, with the last reason.
        latencies: counts by bucket.
        retries: how often an order was sent again after a fault.
        curve: (seconds since the start, units sold as the buyers know it), ascending.
    """

    def __init__(self, quantities: list[int]) -> None:
        self._quantities = quantities
        self._anew: set[int] = set()
        self.answers = 0
        self.told: set[int] = set()
        self.doubled: set[int] = set()
        self.refused: dict[int, str] = {}
        self.latencies: dict[int, int] = {}
        self.retries = 0
        self.units = 0
        self.curve: list[tuple[float, int]] = [(0.0, 0)]

    def add(self, report: Report, at_s: float) -> None:
        """A client's report, `at_s` seconds after the start."""
        self.answers += report.answers
        self.retries += report.retries
        merge(self.latencies, report.latencies)
        for reason, orders in report.refused.items():
            self.refused.update(dict.fromkeys(orders, reason))
        self.doubled.update(order for order in report.accepted if order in self._anew)
        self._anew.update(report.accepted)
        before = self.units
        for order in (*report.accepted, *report.replayed):
            if order not in self.told:
                self.told.add(order)
                self.units += self._quantities[order]
        if self.units != before:
            self.curve.append((at_s, self.units))

    @property
    def heard(self) -> int:
        """Orders that have an answer."""
        return len(self.told) + len(self.no)

    @property
    def no(self) -> dict[int, str]:
        """Orders that were refused, and never accepted."""
        return {order: reason for order, reason in self.refused.items() if order not in self.told}
