"""Counts what a replay's lines were answered, by item. Pure."""

from collections import Counter

from msgspec import Struct

from hotsku.cli.replay.log import BadLine, LogLine
from hotsku.domain.deduction import Deduction, Outcome

_MOST_TOLD = 100

INVALID = "invalid"
CONFLICT = "conflict"


class ItemTally(Struct):
    """One item's lines.

    Attributes:
        accepted, rejected: orders, lines.
        refused_units: units that the rejected lines asked for.
        accepted_units: units of the accepted orders.
        last_sale_ms: the log's time of the last accepted order, if it has one.
    """

    accepted: int = 0
    rejected: int = 0
    replayed: int = 0
    accepted_units: int = 0
    refused_units: int = 0
    last_sale_ms: int | None = None


class ReplayTally:
    """What the lines were answered.

    Attributes:
        lines: lines that were read; `answered` of them have an answer.
        accepted: orders that are sold, each once however many lines it has.
        replayed: lines whose order an earlier line, or an earlier replay, had decided.
        rejected: lines that were refused, the invalid ones among them; by reason in `rejected_by`.
        invalid: (line number, why) of the first invalid lines.
    """

    def __init__(self) -> None:
        self.lines = 0
        self.answered = 0
        self.accepted = 0
        self.replayed = 0
        self.rejected = 0
        self.rejected_by: Counter[str] = Counter()
        self.invalid: list[tuple[int, str]] = []
        self.items: dict[str, ItemTally] = {}
        self._sold: set[tuple[str, str, str]] = set()

    def hear(self, line: LogLine, answer: Deduction) -> None:
        """The answer to a line."""
        item = self._item(line.sku)
        self.answered += 1
        if answer.outcome is not Outcome.ACCEPTED:
            self._reject(item, answer.outcome, line.quantity)
            return
        if answer.replayed:
            self.replayed += 1
            item.replayed += 1
        order = (line.sku, line.buyer_id, line.order_id)
        if order not in self._sold:
            self._sold.add(order)
            self.accepted += 1
            item.accepted += 1
            item.accepted_units += line.quantity
            if line.at_ms is not None:
                item.last_sale_ms = max(line.at_ms, item.last_sale_ms or 0)

    def conflict(self, line: LogLine) -> None:
        """The line's order was accepted before with another quantity."""
        self.answered += 1
        self._reject(self._item(line.sku), CONFLICT, line.quantity)

    def bad(self, line: BadLine) -> None:
        """A line that is no order: it is answered here, with a no."""
        self.answered += 1
        if len(self.invalid) < _MOST_TOLD:
            self.invalid.append((line.number, line.why))
        if line.sku is not None:
            self._reject(self._item(line.sku), INVALID, 0)
        else:
            self._reject(None, INVALID, 0)

    def _item(self, sku: str) -> ItemTally:
        return self.items.setdefault(sku, ItemTally())

    def _reject(self, item: ItemTally | None, reason: str, units: int) -> None:
        self.rejected += 1
        self.rejected_by[reason] += 1
        if item is not None:
            item.rejected += 1
            item.refused_units += units
