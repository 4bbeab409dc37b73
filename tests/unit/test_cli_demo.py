"""The demo's plan, its count of what buyers were told, and what it makes of both and the ledger."""

from collections import Counter

import pytest

from hotsku.cli.demo.figures import Figures, Sale, Truth, figures
from hotsku.cli.demo.plan import Plan, make_plan, remaining
from hotsku.cli.demo.screen import rows, stock_chart, verdict
from hotsku.cli.demo.tally import Tally
from hotsku.cli.demo.wire import Orders, Report, buyer_id, from_line, order_id, order_number, to_line


def _sent(plan: Plan) -> Counter[int]:
    sent = Counter(order for share in plan.shares for order in share)
    for wave in plan.waves:
        for order in wave.orders:
            sent[order] += len(wave.processes)
    return sent


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("buyers", [1, 2, 19, 1000, 20_000])
def test_every_buyer_orders_and_a_twentieth_of_the_requests_are_repeats(buyers: int, processes: int) -> None:
    plan = make_plan(buyers=buyers, max_quantity=1, processes=processes, seed=7)
    sent = _sent(plan)
    assert set(sent) == set(range(buyers))
    assert set(sent.values()) <= {1, 2}
    assert sent.total() == plan.requests
    assert plan.requests - buyers >= 0.05 * plan.requests


def test_half_of_the_repeats_come_from_two_processes_at_once() -> None:
    plan = make_plan(buyers=10_000, max_quantity=1, processes=2, seed=7)
    twins = [order for wave in plan.waves for order in wave.orders]
    assert len(twins) == 300
    assert all(len(set(wave.processes)) == 2 for wave in plan.waves)
    assert not set(twins) & {order for share in plan.shares for order in share}


def test_waves_begin_with_the_sale_and_all_come_before_the_shares_end() -> None:
    plan = make_plan(buyers=10_000, max_quantity=1, processes=2, seed=7)
    starts = [wave.after_answers for wave in plan.waves]
    assert starts == sorted(starts)
    assert starts[0] == 0
    assert starts[-1] < sum(map(len, plan.shares))


def test_the_seed_decides_the_plan() -> None:
    one, same, other = (make_plan(buyers=500, max_quantity=5, processes=2, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert set(one.quantities) == {1, 2, 3, 4, 5}


def test_what_remains_counts_each_request() -> None:
    assert remaining([4, 9, 4, 2], {4: 1}) == [9, 4, 2]
    assert remaining([4, 9, 4, 2], {4: 2, 2: 1}) == [9]
    assert remaining([4, 9], {}) == [4, 9]


def test_messages_are_one_line_each() -> None:
    orders = Orders(orders=[3, 1], quantities=[2, 5], urgent=True)
    line = to_line(orders)
    assert line.count(b"\n") == 1
    assert from_line(line, Orders) == orders
    assert (order_id(7), buyer_id(7), order_number(order_id(7))) == ("o-7", "u-7", 7)


def _tally(*reports: Report, quantities: list[int]) -> Tally:
    tally = Tally(quantities)
    for second, report in enumerate(reports):
        tally.add(report, float(second))
    return tally


def _figures(tally: Tally, quantities: list[int], *, stock: int, truth: Truth, interrupted: bool = False) -> Figures:
    sale = Sale(
        sku="s",
        seed=1,
        stock=stock,
        quantities=quantities,
        seconds=2.0,
        settling_s=0.1,
        restarts=0,
        interrupted=interrupted,
    )
    return figures(sale, tally, truth)


def _truth(details: dict[int, int], *, lag: int = 0, doubled: set[int] | None = None, audit_ok: bool = True) -> Truth:
    return Truth(
        sold=sum(details.values()), details=details, doubled=doubled or set(), lag=lag, audit_ok=audit_ok, problems=[]
    )


def test_an_exact_sale() -> None:
    quantities = [2, 1, 3]
    tally = _tally(
        Report(accepted=[0], refused={"insufficient": [2]}, latencies={10: 2}),
        Report(accepted=[1], replayed=[0], latencies={20: 2}),
        quantities=quantities,
    )
    found = _figures(tally, quantities, stock=3, truth=_truth({0: 2, 1: 1}))
    assert found.exact
    assert (found.requests, found.duplicates, found.accepted, found.rejected) == (4, 1, 3, 1)
    assert found.rejected_by == {"insufficient": 1}
    assert found.deductions_per_s == 2.0
    assert "exact: 3 of 3" in verdict(found)
    assert ("oversold", "0") in rows(found)
    assert tally.curve == [(0.0, 0), (0.0, 2), (1.0, 3)]


def test_an_order_accepted_anew_by_two_answers_is_doubled() -> None:
    tally = _tally(Report(accepted=[0]), Report(accepted=[0]), quantities=[1])
    found = _figures(tally, [1], stock=5, truth=_truth({0: 1}))
    assert (found.doubled, found.exact) == (1, False)
    assert "NOT exact" in verdict(found)


def test_two_rows_of_one_order_are_doubled() -> None:
    tally = _tally(Report(accepted=[0]), quantities=[1])
    assert _figures(tally, [1], stock=5, truth=_truth({0: 2}, doubled={0})).doubled == 1


def test_more_sold_than_there_was_is_oversold() -> None:
    tally = _tally(Report(accepted=[0, 1]), quantities=[1, 1])
    found = _figures(tally, [1, 1], stock=1, truth=_truth({0: 1}))
    assert (found.oversold, found.missing, found.exact) == (1, 1, False)


@pytest.mark.parametrize(("wanted", "unsold"), [(2, 2), (3, 0)])
def test_what_is_left_is_unsold_only_if_a_refused_buyer_could_have_had_it(wanted: int, unsold: int) -> None:
    tally = _tally(Report(accepted=[0], refused={"sold_out": [1]}), quantities=[1, wanted])
    found = _figures(tally, [1, wanted], stock=3, truth=_truth({0: 1}))
    assert (found.unsold, found.exact) == (unsold, not unsold)


def test_with_less_demand_than_stock_nothing_is_unsold() -> None:
    tally = _tally(Report(accepted=[0]), quantities=[1])
    found = _figures(tally, [1], stock=100, truth=_truth({0: 1}))
    assert (found.unsold, found.exact) == (0, True)


@pytest.mark.parametrize(
    ("details", "missing", "unexpected"), [({}, 1, 0), ({0: 2}, 1, 0), ({0: 1, 1: 1}, 0, 1), ({1: 1}, 1, 1)]
)
def test_the_ledger_must_have_exactly_what_buyers_were_told(
    details: dict[int, int], missing: int, unexpected: int
) -> None:
    tally = _tally(Report(accepted=[0], refused={"sold_out": [1]}), quantities=[1, 1])
    found = _figures(tally, [1, 1], stock=1, truth=_truth(details))
    assert (found.missing, found.unexpected, found.ledger_agrees, found.exact) == (missing, unexpected, False, False)


def test_an_order_without_an_answer_a_lag_or_a_failed_audit_is_not_exact() -> None:
    tally = _tally(Report(accepted=[0]), quantities=[1, 1])
    assert not _figures(tally, [1, 1], stock=2, truth=_truth({0: 1})).exact
    whole = _tally(Report(accepted=[0]), quantities=[1])
    assert not _figures(whole, [1], stock=2, truth=_truth({0: 1}, lag=1)).exact
    assert not _figures(whole, [1], stock=2, truth=_truth({0: 1}, audit_ok=False)).exact


def test_an_interrupted_sale_may_have_sold_more_than_buyers_heard() -> None:
    tally = _tally(Report(accepted=[0]), quantities=[1, 1])
    found = _figures(tally, [1, 1], stock=2, truth=_truth({0: 1, 1: 1}), interrupted=True)
    assert (found.exact, found.ledger_agrees) == (False, True)
    assert verdict(found).startswith("interrupted after 1 requests")


def test_the_chart_falls_from_all_to_what_is_left() -> None:
    chart = stock_chart(700, [(0.0, 0), (0.1, 300), (0.2, 700)], 60)
    assert "stock left" in chart
    assert "700" in chart
    assert max(map(len, chart.splitlines())) <= 60
