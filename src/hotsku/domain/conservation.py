"""What an audit says: equations with both of their sides, and the report that holds them.

`hotsku.domain.equations` writes the equations; this module keeps a report of many items small. An equation that
holds is told once for all partitions of an item, both sides summed; one that fails is told for itself.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

Relation = Literal["=", "<="]
Terms = Mapping[str, int]

# Of more items than this, what holds is summed over all of them.
_ITEMS_TOLD_APART = 20


class Equation(Struct, frozen=True, kw_only=True):
    """One comparison, with the named terms of its two sides; a side is the sum of its terms (0 without any).

    Attributes:
        name: "I1" to "I11" as in the design; "leases"; "limit"; "parked".
        words: what it says, for people.
        item: the SKU, or None where it is about the whole ledger.
        partition, incarnation: where it is about one (partition, incarnation).
        count: how many equations are summed in this one.
    """

    name: str
    words: str
    left: dict[str, int]
    relation: Relation
    right: dict[str, int]
    holds: bool
    item: str | None = None
    partition: int | None = None
    incarnation: int | None = None
    count: int = 1

    @property
    def sides(self) -> tuple[int, int]:
        """The sums of the left and the right side."""
        return sum(self.left.values()), sum(self.right.values())

    def __str__(self) -> str:
        place = [self.item] if self.item is not None else []
        place += [f"partition {self.partition}"] if self.partition is not None else []
        return f"{self.name} {' '.join(place)}: {side_text(self.left)} {self.relation} {side_text(self.right)}"


class AuditReport(Struct, frozen=True, kw_only=True):
    """The result of an audit.

    Attributes:
        ok: no equation fails.
        at_rest: nothing moved and the ledger had everything, so that I11 was checked everywhere. Otherwise it was
            checked on the partitions that stood still.
        items, partitions: how many were looked at.
        checked, failed: how many equations, each partition's counted by itself.
        equations: every equation; those that hold are summed, those that fail stand alone.
        problems: those of `equations` that fail.
    """

    ok: bool
    at_rest: bool
    items: int
    partitions: int
    checked: int
    failed: int
    equations: list[Equation]
    problems: list[Equation]


class Findings:
    """Collects equations item by item into a report, without keeping each one that holds."""

    def __init__(self, items: int) -> None:
        """
        Args:
            items: how many items the audit is about.
        """
        self._items = items
        self._apart = items <= _ITEMS_TOLD_APART
        self._holding: dict[tuple[str | None, str, str, Relation], Equation] = {}
        self._failing: list[Equation] = []
        self._checked = 0

    def add(self, equations: Iterable[Equation]) -> None:
        """Take some equations in."""
        for equation in equations:
            self._checked += 1
            if not equation.holds:
                self._failing.append(equation)
                continue
            item = equation.item if self._apart else None
            key = (item, equation.name, equation.words, equation.relation)
            known = self._holding.get(key)
            self._holding[key] = _summed(known, equation) if known else replace(equation, item=item)

    def report(self, *, at_rest: bool, partitions: int) -> AuditReport:
        """What was found. `partitions` were looked at."""
        equations = sorted([*self._holding.values(), *self._failing], key=_order)
        return AuditReport(
            ok=not self._failing,
            at_rest=at_rest,
            items=self._items,
            partitions=partitions,
            checked=self._checked,
            failed=len(self._failing),
            equations=equations,
            problems=[equation for equation in equations if not equation.holds],
        )


def equal(name: str, words: str, left: Terms, right: Terms) -> Equation:
    """The two sides are equal, or the equation does not hold."""
    holds = sum(left.values()) == sum(right.values())
    return Equation(name=name, words=words, left=dict(left), relation="=", right=dict(right), holds=holds)


def at_most(name: str, words: str, left: Terms, right: Terms) -> Equation:
    """The left side is at most the right one, or the equation does not hold."""
    holds = sum(left.values()) <= sum(right.values())
    return Equation(name=name, words=words, left=dict(left), relation="<=", right=dict(right), holds=holds)


def side_text(terms: Terms) -> str:
    """One side for people: "9,500 pool + 470 pre-allocated + 30 sold"; terms of 0 are left out where others are not."""
    shown = {name: value for name, value in terms.items() if value} or dict(list(terms.items())[:1])
    return " + ".join(f"{value:,} {name}" for name, value in shown.items()) or "0"


def _summed(one: Equation, other: Equation) -> Equation:
    """Both hold, so their sum does. It is about both places, so it names only what they share."""
    return replace(
        one,
        left={term: value + other.left.get(term, 0) for term, value in one.left.items()},
        right={term: value + other.right.get(term, 0) for term, value in one.right.items()},
        partition=None,
        incarnation=None,
        count=one.count + 1,
    )


def _order(equation: Equation) -> tuple[bool, str, bool, int, str, int]:
    """The whole ledger's last; each item's in the order of the design: I1 to I11, then the rest."""
    number = int(equation.name[1:]) if equation.name[1:].isdigit() else 99
    return (
        equation.item is None,
        equation.item or "",
        not equation.holds,
        number,
        equation.name,
        -1 if equation.partition is None else equation.partition,
    )
