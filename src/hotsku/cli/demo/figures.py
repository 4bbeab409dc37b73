"""What a demo comes to: the buyers' answers held against the ledger. Pure."""

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct

from hotsku.cli.demo.tally import Tally
from hotsku.cli.histogram import percentile_ms


class Truth(Struct, frozen=True, kw_only=True):
    """What the ledger says after the sale.

    Attributes:
        sold: units, as the item's figures have them.
        details: units by order number, from the detail rows; a number with several rows is in `doubled`.
        doubled: orders with more than one row.
        lag: events that it had not applied when the wait for it ended.
        audit_ok: every equation held.
        problems: those that did not, in words.
    """

    sold: int
    details: Mapping[int, int]
    doubled: set[int]
    lag: int
    audit_ok: bool
    problems: list[str]


class Figures(Struct, frozen=True, kw_only=True):
    """The demo's report. `stock`, `accepted`, `oversold`, `unsold` and `ledger_sold` count units; the rest orders.

    Attributes:
        requests: requests that were answered, `duplicates` of them repeats of the same order.
        rejected: orders that were refused; by reason in `rejected_by`.
        doubled: orders counted twice: accepted anew by two answers, or with two rows in the ledger.
        oversold: units sold beyond the stock.
        unsold: units left that a refused buyer had asked for.
        ledger_agrees: the ledger's details are exactly the orders that buyers were told are accepted.
        missing, unexpected: how many it lacks (or has with another quantity), how many nobody was told of.
        seconds: from the first order to the last answer; `settling_s`: until the ledger had everything.
        exact: all is as it must be.
    """

    sku: str
    seed: int
    buyers: int
    requests: int
    stock: int
    accepted: int
    rejected: int
    rejected_by: dict[str, int]
    duplicates: int
    doubled: int
    oversold: int
    unsold: int
    ledger_sold: int
    ledger_agrees: bool
    missing: int
    unexpected: int
    ledger_lag: int
    audit_ok: bool
    problems: list[str]
    retries: int
    restarts: int
    deductions_per_s: float
    p50_ms: float
    p99_ms: float
    seconds: float
    settling_s: float
    interrupted: bool
    exact: bool


class Sale(Struct, frozen=True, kw_only=True):
    """What was planned, and how it went."""

    sku: str
    seed: int
    stock: int
    quantities: list[int]
    seconds: float
    settling_s: float
    restarts: int
    interrupted: bool


def figures(sale: Sale, tally: Tally, truth: Truth) -> Figures:
    """Hold what buyers were told against what the ledger has."""
    refused = tally.no
    missing = sum(1 for order in tally.told if truth.details.get(order) != sale.quantities[order])
    unexpected = sum(1 for order in truth.details if order not in tally.told)
    details = sum(truth.details.values())
    sold = max(tally.units, truth.sold, details)
    doubled = len(tally.doubled | truth.doubled)
    unsold = _unsold(sale.stock - truth.sold, sale.quantities, refused)
    agrees = not missing and (not unexpected or sale.interrupted) and truth.sold == details
    all_heard = tally.heard == len(sale.quantities)
    exact = agrees and all_heard and truth.audit_ok and sold <= sale.stock and not (doubled or unsold or truth.lag)
    return Figures(
        sku=sale.sku,
        seed=sale.seed,
        buyers=len(sale.quantities),
        requests=tally.answers,
        stock=sale.stock,
        accepted=tally.units,
        rejected=len(refused),
        rejected_by=dict(Counter(refused.values()).most_common()),
        duplicates=max(0, tally.answers - tally.heard),
        doubled=doubled,
        oversold=max(0, sold - sale.stock),
        unsold=unsold,
        ledger_sold=truth.sold,
        ledger_agrees=agrees,
        missing=missing,
        unexpected=unexpected,
        ledger_lag=truth.lag,
        audit_ok=truth.audit_ok,
        problems=truth.problems,
        retries=tally.retries,
        restarts=sale.restarts,
        deductions_per_s=round(tally.answers / sale.seconds, 1) if sale.seconds > 0 else 0.0,
        p50_ms=round(percentile_ms(tally.latencies, 50), 3),
        p99_ms=round(percentile_ms(tally.latencies, 99), 3),
        seconds=round(sale.seconds, 3),
        settling_s=round(sale.settling_s, 3),
        interrupted=sale.interrupted,
        exact=exact and not sale.interrupted,
    )


def _unsold(left: int, quantities: list[int], refused: Mapping[int, str]) -> int:
    """Units left, if a refused order could have had them."""
    return left if any(quantities[order] <= left for order in refused) else 0
