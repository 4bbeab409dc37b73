"""What a worker believes of the engines' needs, and for how long."""

from hotsku.domain.events import PartitionRef
from hotsku.domain.leasing import Need
from hotsku.ports import Ask, Counted, Needs, Refill
from hotsku.workers.demand import Demand, ItemDemand

A, B = PartitionRef(1, 0), PartitionRef(1, 1)
ELSEWHERE = PartitionRef(2, 0)


def ask(ref: PartitionRef = A, waiting: int = 5, smallest: int = 2, age_ms: int = 10) -> Ask:
    return Ask(ref=ref, incarnation=1, waiting=waiting, smallest=smallest, age_ms=age_ms)


def refill(ref: PartitionRef = A, at_ms: int = 0, taken: int = 0) -> Refill:
    return Refill(ref=ref, incarnation=1, taken=taken, at_ms=at_ms)


def test_an_ask_stands_for_200_ms() -> None:
    demand = ItemDemand()
    demand.hear_ask("e", 1, ask(), 1000.0)
    assert demand.needs(1199.9) == [Need(A, 5, 2, 10)]
    assert demand.needs(1200.0) == []
    assert demand.needs(1000.0) == []  # gone is gone


def test_an_ask_that_is_told_again_stands_anew_as_it_is_now() -> None:
    demand = ItemDemand()
    demand.hear_ask("e", 1, ask(), 1000.0)
    demand.hear_ask("e", 2, ask(waiting=1, smallest=1), 1150.0)
    assert demand.needs(1300.0) == [Need(A, 1, 1, 10)]


def test_asks_of_several_engines_are_one_need() -> None:
    demand = ItemDemand()
    demand.hear_ask("e", 1, ask(), 1000.0)
    demand.hear_ask("f", 1, ask(waiting=4, smallest=1, age_ms=90), 1050.0)
    demand.hear_ask("f", 1, ask(B, age_ms=50), 1050.0)
    assert demand.needs(1100.0) == [Need(A, 9, 1, 90), Need(B, 5, 2, 50)]
    assert demand.needs(1210.0) == [Need(A, 4, 1, 90), Need(B, 5, 2, 50)]


def test_what_was_served_is_asked_no_more_until_it_is_told_again() -> None:
    demand = ItemDemand()
    for engine in "ef":
        demand.hear_ask(engine, 1, ask(), 1000.0)
        demand.hear_ask(engine, 1, ask(B, 1, 1), 1000.0)
    demand.hear_refill(refill(), 1000.0)
    demand.hear_refill(refill(B), 1000.0)
    demand.served(A)
    assert demand.needs(1001.0) == [Need(B, 2, 1, 10)]
    assert demand.refills(1001.0) == [B]
    demand.hear_ask("e", 2, ask(), 1002.0)
    assert demand.needs(1003.0) == [Need(B, 2, 1, 10), Need(A, 5, 2, 10)][::-1]


def test_a_partition_ran_dry_until_it_is_refilled() -> None:
    demand = ItemDemand()
    assert not demand.ran_dry(A)
    demand.hear_ask("e", 1, ask(), 1000.0)
    assert demand.ran_dry(A)
    assert not demand.ran_dry(B)
    demand.served(A)
    assert demand.ran_dry(A)  # an ask's grant is what was asked, no lease ahead of the demand
    demand.refilled(A)
    assert not demand.ran_dry(A)


def test_a_refill_takes_the_ask_with_it() -> None:
    demand = ItemDemand()
    demand.hear_ask("e", 1, ask(), 1000.0)
    demand.hear_refill(refill(), 1000.0)
    demand.refilled(A)
    assert demand.needs(1001.0) == []
    assert demand.refills(1001.0) == []


def test_a_refill_stands_for_500_ms() -> None:
    demand = ItemDemand()
    demand.hear_refill(refill(), 1000.0)
    assert demand.refills(1499.9) == [A]
    assert demand.refills(1500.0) == []


def test_refills_tell_of_the_demand() -> None:
    demand = ItemDemand()
    assert demand.demand_per_s(A) == 0
    demand.hear_refill(refill(at_ms=0, taken=100), 1000.0)
    demand.hear_refill(refill(at_ms=500, taken=300), 1001.0)  # the shard's time counts, not ours
    assert demand.demand_per_s(A) == 400
    assert demand.demand_per_s(B) == 0
    demand.refilled(A)
    assert demand.demand_per_s(A) == 400


def test_the_last_needs_of_each_engine_are_known() -> None:
    demand = ItemDemand()
    demand.hear_ask("e", 3, ask(), 1000.0)
    demand.hear_ask("e", 2, ask(), 1000.0)  # signals may overtake each other
    demand.hear_ask("f", 9, ask(), 1000.0)
    assert demand.heard() == {"e": 3, "f": 9}


def test_what_was_heard_does_not_change_under_a_round() -> None:
    demand = ItemDemand()
    demand.hear_ask("e", 1, ask(), 1000.0)
    heard = demand.heard()
    demand.hear_ask("e", 2, ask(), 1000.0)
    assert heard == {"e": 1}


def test_needs_go_to_their_items() -> None:
    demand = Demand()
    needs = Needs(
        engine_id="e",
        no=4,
        asks=[ask(A), ask(ELSEWHERE)],
        refills=[refill(B)],
        counted=[Counted(ref=PartitionRef(3, 0))],
    )
    assert demand.hear(needs, 1000.0) == {1, 2}
    assert [need.ref for need in demand.of(1).needs(1000.0)] == [A]
    assert demand.of(1).refills(1000.0) == [B]
    assert [need.ref for need in demand.of(2).needs(1000.0)] == [ELSEWHERE]
    assert demand.of(2).heard() == {"e": 4}
    assert demand.of(3).heard() == {}
