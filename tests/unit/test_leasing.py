"""How much stock goes where. What follows from it over time is in test_leasing_liveness.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotsku.domain.events import PartitionRef
from hotsku.domain.leasing import (
    DemandMeter,
    Holding,
    Need,
    Round,
    lease_size,
    merge_needs,
    plan_round,
    share,
    switch_threshold,
    take_from_richest,
)

A, B, C, D = (PartitionRef(1, i) for i in range(4))

# --- sizes ---


@pytest.mark.parametrize(
    ("pool", "partitions", "expected"),
    [(10_000, 8, 625), (0, 8, 0), (15, 8, 0), (16, 8, 1), (31, 8, 1), (32, 8, 2), (1, 1, 0), (2, 1, 1)],
)
def test_a_share_is_half_the_pool_over_the_partitions(pool: int, partitions: int, expected: int) -> None:
    assert share(pool, partitions) == expected


@pytest.mark.parametrize(("quantity", "expected"), [(1, 1), (3, 1), (4, 1), (7, 1), (8, 2), (625, 156)])
def test_the_standby_takes_over_at_a_quarter(quantity: int, expected: int) -> None:
    assert switch_threshold(quantity) == expected


@pytest.mark.parametrize(
    ("demand_per_s", "refill_ms", "ran_dry", "expected"),
    [
        (0.0, 0.0, False, 16),
        (0.0, 0.0, True, 32),
        (7.9, 0.0, False, 16),
        (100.0, 0.0, False, 200),  # two seconds ahead
        (100.0, 100.0, False, 200),
        (100.0, 200.0, False, 400),  # twenty refills ahead
        (100.0, 0.0, True, 400),
    ],
)
def test_a_lease_lasts_for_the_demand_to_come(
    demand_per_s: float, refill_ms: float, ran_dry: bool, expected: int
) -> None:
    assert lease_size(demand_per_s, refill_ms, 10**6, 8, ran_dry=ran_dry) == expected


@given(st.floats(0, 10**7), st.floats(0, 10**4), st.integers(0, 10**9), st.integers(1, 1024), st.booleans())
def test_a_lease_is_never_above_the_share(
    demand_per_s: float, refill_ms: float, pool: int, partitions: int, ran_dry: bool
) -> None:
    size = lease_size(demand_per_s, refill_ms, pool, partitions, ran_dry=ran_dry)
    assert 0 <= size <= share(pool, partitions)
    assert (size == 0) == (share(pool, partitions) == 0)
    assert size <= lease_size(demand_per_s, refill_ms, pool, partitions, ran_dry=True)


# --- demand ---


def metered(*samples: tuple[int, int]) -> float:
    meter = DemandMeter()
    for at_ms, taken in samples:
        meter.observe(at_ms, taken)
    return meter.per_s


def test_demand_is_unknown_until_two_samples_are_there() -> None:
    assert metered() == 0
    assert metered((1000, 500)) == 0
    assert metered((1000, 500), (1250, 600)) == 400


def test_demand_is_its_peak() -> None:
    assert metered((0, 0), (250, 100), (500, 101), (750, 102)) == 400


def test_a_peak_is_remembered_for_ten_seconds() -> None:
    peak = [(0, 0), (250, 100)]
    assert metered(*peak, (10_250, 110)) == 400
    assert metered(*peak, (10_251, 110)) == pytest.approx(1, rel=0.01)


def test_samples_closer_than_the_window_are_measured_together() -> None:
    assert metered((0, 0), (10, 100)) == 0
    assert metered((0, 0), (249, 100)) == 0
    assert metered((0, 0), (10, 100), (200, 100), (500, 100)) == 200


def test_samples_that_repeat_or_come_late_change_nothing() -> None:
    assert metered((0, 0), (250, 100), (250, 100), (0, 0), (100, 40)) == 400
    assert metered((0, 0), (250, 100), (100, 40), (500, 150)) == 400
    assert metered((1000, 100), (500, 50), (0, 0)) == 0
    assert metered((0, 100), (500, 50)) == 0


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=50))
def test_whatever_is_sampled_demand_is_a_rate(samples: list[tuple[int, int]]) -> None:
    assert 0 <= metered(*samples) <= 10**6 * 1000 / 250


# --- needs of several engines ---


def test_needs_of_one_partition_are_one_need() -> None:
    assert merge_needs([Need(A, 5, 2, 10), Need(B, 1, 1, 30), Need(A, 4, 3, 40), Need(A, 1, 1, 20)]) == [
        Need(A, 10, 1, 40),
        Need(B, 1, 1, 30),
    ]


def test_of_needs_of_one_age_the_first_partition_comes_first() -> None:
    assert merge_needs([Need(B, 1, 1, 7), Need(C, 1, 1, 7), Need(A, 1, 1, 7)]) == [
        Need(A, 1, 1, 7),
        Need(B, 1, 1, 7),
        Need(C, 1, 1, 7),
    ]


def test_no_needs_are_no_needs() -> None:
    assert merge_needs([]) == []


# --- rounds, by example ---


def test_the_pool_serves_the_oldest_first() -> None:
    needs = [Need(A, 4, 4, 90), Need(B, 3, 3, 80), Need(C, 2, 2, 70)]
    assert plan_round(6, 0, needs, []) == Round({A: 4, C: 2}, {})


def test_each_gets_its_smallest_before_any_gets_more() -> None:
    needs = [Need(A, 9, 1, 90), Need(B, 9, 2, 80)]
    assert plan_round(7, 0, needs, []) == Round({A: 5, B: 2}, {})


def test_nobody_gets_more_than_waits() -> None:
    assert plan_round(100, 0, [Need(A, 9, 1, 90), Need(B, 2, 2, 80)], []) == Round({A: 9, B: 2}, {})


def test_what_lies_in_three_places_comes_together() -> None:
    holdings = [Holding(A, 0, False), Holding(B, 1, False), Holding(C, 1, False), Holding(D, 1, False)]
    assert plan_round(0, 0, [Need(A, 3, 3, 0)], holdings) == Round({}, {B: 1, C: 1, D: 1})


def test_the_richest_give_what_is_above_the_average() -> None:
    holdings = [Holding(A, 0, False), Holding(B, 100, False), Holding(C, 20, False), Holding(D, 40, False)]
    assert plan_round(0, 0, [Need(A, 50, 1, 0)], holdings) == Round({}, {B: 50})
    assert plan_round(0, 0, [Need(A, 500, 1, 0)], holdings) == Round({}, {B: 60})
    assert plan_round(0, 0, [Need(A, 500, 110, 0)], holdings) == Round({}, {B: 100, D: 10})


def test_those_who_are_dry_themselves_give_last() -> None:
    needs = [Need(A, 2, 2, 50), Need(B, 3, 3, 60)]
    holdings = [Holding(A, 0, False), Holding(B, 4, False), Holding(C, 1, False)]
    assert plan_round(0, 0, needs, holdings) == Round({}, {C: 1, B: 1})


def test_units_are_gathered_for_the_one_who_lacks_the_least() -> None:
    needs = [Need(A, 3, 3, 60), Need(B, 1, 1, 50)]
    holdings = [Holding(A, 0, False), Holding(B, 2, False), Holding(C, 2, False)]
    assert plan_round(0, 0, needs, holdings) == Round({}, {C: 1})


def test_what_would_not_be_enough_stays_where_it_is() -> None:
    holdings = [Holding(A, 5, False), Holding(B, 1, False), Holding(C, 1, False)]
    assert plan_round(1, 0, [Need(A, 4, 4, 0)], holdings) == Round({}, {})
    assert plan_round(1, 1, [Need(A, 4, 4, 0)], holdings) == Round({}, {B: 1, C: 1})


def test_what_is_on_its_way_is_waited_for() -> None:
    holdings = [Holding(A, 0, False), Holding(B, 9, False)]
    assert plan_round(1, 2, [Need(A, 3, 3, 0)], holdings) == Round({}, {})
    assert plan_round(1, 2, [Need(A, 9, 3, 0)], holdings) == Round({}, {})
    assert plan_round(1, 1, [Need(A, 3, 3, 0)], holdings) == Round({}, {B: 1})


def test_what_was_granted_a_moment_ago_stays() -> None:
    assert plan_round(0, 0, [Need(A, 1, 1, 0)], [Holding(A, 0, False), Holding(B, 9, True)]) == Round({}, {})


def test_a_need_out_of_reach_does_not_keep_a_larger_one_waiting() -> None:
    """A lacks one unit, which only the protected C has; B lacks two, which A has."""
    needs = [Need(A, 1, 1, 90), Need(B, 2, 2, 80)]
    holdings = [Holding(A, 10, False), Holding(B, 0, False), Holding(C, 5, True)]
    assert plan_round(0, 0, needs, holdings) == Round({}, {A: 2})


def test_where_nobody_needs_anything_nothing_is_done() -> None:
    assert plan_round(9, 9, [], [Holding(A, 9, False)]) == Round({}, {})


# --- rounds, whatever comes ---


@st.composite
def scenes(draw: st.DrawFn) -> tuple[int, int, list[Need], list[Holding]]:
    refs = [PartitionRef(1, i) for i in range(draw(st.integers(1, 6)))]
    units = st.integers(0, draw(st.sampled_from([3, 12, 10**9])))
    needs = []
    for ref in draw(st.lists(st.sampled_from(refs), unique=True)):
        smallest = max(1, draw(units))
        needs.append(Need(ref, smallest + draw(units), smallest, draw(st.integers(0, 5000))))
    holdings = [Holding(ref, draw(units), draw(st.sampled_from([False, False, True]))) for ref in refs]
    return draw(units), draw(st.one_of(st.just(0), units)), merge_needs(needs), holdings


Scene = tuple[int, int, list[Need], list[Holding]]


@given(scenes())
def test_a_grant_is_between_the_smallest_and_all_and_from_the_pool(scene: Scene) -> None:
    pool, _, needs, _ = scene
    grants = plan_round(*scene).grants
    waiting = {need.ref: need for need in needs}
    assert sum(grants.values()) <= pool
    assert all(waiting[ref].smallest <= units <= waiting[ref].waiting for ref, units in grants.items())


@given(scenes())
def test_who_is_passed_over_did_not_fit_behind_those_who_are_older(scene: Scene) -> None:
    pool, _, needs, _ = scene
    grants = plan_round(*scene).grants
    for need in needs:
        if need.ref in grants:
            pool -= need.smallest
        else:
            assert need.smallest > pool


@given(scenes())
def test_the_pool_is_given_out_as_far_as_somebody_waits_for_it(scene: Scene) -> None:
    pool, _, needs, _ = scene
    grants = plan_round(*scene).grants
    if any(grants[need.ref] < need.waiting for need in needs if need.ref in grants):
        assert sum(grants.values()) == pool
        served = [need for need in needs if need.ref in grants]
        partly = [need for need in served if need.smallest < grants[need.ref] < need.waiting]
        assert len(partly) <= 1  # the older ones are full, the younger ones have their smallest


@given(scenes())
def test_nothing_is_reclaimed_while_something_can_be_granted(scene: Scene) -> None:
    pool, _, needs, _ = scene
    plan = plan_round(*scene)
    assert not (plan.grants and plan.reclaims)
    assert bool(plan.grants) == any(need.smallest <= pool for need in needs)


@given(scenes())
def test_a_reclaim_takes_what_is_there_from_those_who_may_be_asked(scene: Scene) -> None:
    *_, holdings = scene
    held = {holding.ref: holding for holding in holdings}
    for ref, units in plan_round(*scene).reclaims.items():
        assert 1 <= units <= held[ref].left
        assert not held[ref].protected


@given(scenes())
def test_reclaims_serve_a_need_or_there_are_none(scene: Scene) -> None:
    pool, returning, needs, _ = scene
    reclaims = plan_round(*scene).reclaims
    if reclaims:
        taken = sum(reclaims.values())
        assert any(pool + returning + taken >= need.smallest for need in needs if need.ref not in reclaims)
        assert taken <= sum(need.waiting for need in needs) - pool - returning


@given(scenes())
def test_a_round_rests_only_where_it_must(scene: Scene) -> None:
    """Either enough is on its way, or no partition can be served by what the others may give."""
    pool, returning, needs, holdings = scene
    if plan_round(*scene) != Round({}, {}) or any(pool + returning >= need.smallest for need in needs):
        return
    for need in needs:
        others = sum(h.left for h in holdings if h.ref != need.ref and not h.protected)
        assert pool + returning + others < need.smallest


@given(scenes())
def test_dry_partitions_give_no_more_than_one_order_needs(scene: Scene) -> None:
    pool, returning, needs, holdings = scene
    reclaims = plan_round(*scene).reclaims
    asking = {need.ref for need in needs}
    if asking & set(reclaims):
        taken = pool + returning + sum(reclaims.values())
        assert taken in {need.smallest for need in needs if need.ref not in reclaims}
        held = {h.ref: h.left for h in holdings if h.ref not in asking and not h.protected and h.left}
        assert all(reclaims.get(ref) == left for ref, left in held.items())


@given(
    st.dictionaries(st.integers(0, 9).map(lambda n: PartitionRef(1, n)), st.integers(0, 50)),
    st.integers(0, 300),
)
def test_the_richest_give_back_down_to_one_level(lefts: dict[PartitionRef, int], units: int) -> None:
    taken = take_from_richest(lefts, units)
    assert sum(taken.values()) == min(units, sum(lefts.values()))
    assert all(0 < part <= lefts[ref] for ref, part in taken.items())
    if taken:
        rest = {ref: left - taken.get(ref, 0) for ref, left in lefts.items()}
        # Whoever gave has no more than one unit less than anybody who has given nothing, or less.
        poorest_giver = min(rest[ref] for ref in taken)
        assert all(rest[ref] <= poorest_giver + 1 for ref in rest)
