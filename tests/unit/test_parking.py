"""Parked orders: first come, first served, and counted right whatever happens to them."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.parked import leave, request

from hotsku.domain.events import PartitionRef
from hotsku.engine.parking import Parking
from hotsku.engine.request import Listener, Request
from hotsku.ports import Ask

REF = PartitionRef(7, 2)


def parked(*quantities: int) -> tuple[Parking, list[Request]]:
    """Orders that came at 0 ms, 10 ms, 20 ms, ..."""
    parking = Parking()
    requests = [request(f"o-{i}", quantity, 10.0 * i) for i, quantity in enumerate(quantities)]
    for one in requests:
        parking.park(one)
    return parking, requests


def test_the_first_come_is_the_first_out() -> None:
    parking, requests = parked(1, 2, 3)
    assert parking.take(2) == requests[:2]
    assert parking.take(2) == requests[2:]
    assert parking.take(2) == []


def test_what_is_put_back_keeps_its_place() -> None:
    parking, requests = parked(1, 2, 3, 4)
    batch = parking.take(3)
    late = request("late", 5)
    parking.park(late)
    parking.put_back(batch[1:])
    assert parking.take(10) == [*requests[1:], late]


# --- what they ask ---


def test_where_nobody_waits_nothing_is_asked() -> None:
    assert Parking().ask(REF, 1, 0, 1, 0.0) is None


@pytest.mark.parametrize(
    ("quantities", "left", "waiting", "smallest"),
    [
        ([3], 0, 3, 3),
        ([3], 2, 1, 1),
        ([3, 1], 2, 2, 1),  # the smaller one waits its turn
        ([1, 5], 0, 6, 1),
        ([3, 1], 3, 1, 1),  # `left` may be old news: whoever waits lacks something
        ([3, 1], 100, 1, 1),
        ([2, 2], 1, 3, 1),
    ],
)
def test_what_is_asked_is_what_they_lack(quantities: list[int], left: int, waiting: int, smallest: int) -> None:
    parking, _ = parked(*quantities)
    expected = Ask(ref=REF, incarnation=4, waiting=waiting, smallest=smallest, age_ms=90)
    assert parking.ask(REF, 4, left, 1, 90.9) == expected


def test_nobody_is_younger_than_now() -> None:
    parking = Parking()
    parking.park(request("o", 1, 100.0))
    ask = parking.ask(REF, 1, 0, 1, 50.0)
    assert ask is not None
    assert ask.age_ms == 0


def test_each_order_remembers_the_first_ask_that_carried_it() -> None:
    parking, requests = parked(1, 2)
    parking.ask(REF, 1, 0, 5, 0.0)
    late = request("late", 3)
    parking.park(late)
    parking.ask(REF, 1, 0, 6, 0.0)
    assert [one.told_no for one in [*requests, late]] == [5, 5, 6]


def test_what_was_tried_in_vain_keeps_the_ask_that_carried_it() -> None:
    parking, requests = parked(1, 2)
    parking.ask(REF, 1, 0, 5, 0.0)
    batch = parking.take(2)
    parking.park(late := request("late", 3))
    parking.put_back(batch)
    parking.ask(REF, 1, 0, 6, 0.0)
    assert [one.told_no for one in [*requests, late]] == [5, 5, 6]


# --- verdicts ---


def test_only_who_wants_more_than_there_is_is_refused() -> None:
    parking, requests = parked(1, 3, 2, 4)
    parking.ask(REF, 1, 0, 1, 0.0)
    assert parking.take_beyond(2, 1) == [requests[1], requests[3]]
    assert parking.take(10) == [requests[0], requests[2]]


def test_a_verdict_is_for_those_whom_it_heard_of() -> None:
    """Units may have been sold to others between the ledger's read and an order's arrival, or come back."""
    parking, requests = parked(1)
    parking.park(never_told := request("never told", 1))
    parking.take_beyond(0, 100)
    assert len(parking) == 2
    parking.put_back(parking.take(2))
    parking.ask(REF, 1, 0, 7, 0.0)
    parking.park(later := request("later", 1))
    parking.ask(REF, 1, 0, 8, 0.0)
    assert parking.take_beyond(0, 6) == []
    assert parking.take_beyond(0, 7) == [*requests, never_told]
    assert parking.take_beyond(0, 8) == [later]


def test_whose_earlier_attempt_may_have_sold_is_not_refused() -> None:
    parking, requests = parked(1, 1)
    requests[0].unknown_until_ms = 5000
    parking.ask(REF, 1, 0, 1, 0.0)
    assert parking.take_beyond(0, 1) == [requests[1]]
    requests[0].unknown_until_ms = 0
    assert parking.take_beyond(0, 1) == [requests[0]]


def test_only_who_waited_too_long_is_taken() -> None:
    parking, requests = parked(1, 1, 1)
    assert parking.take_older(10.0) == requests[:1]
    assert parking.take_older(10.1) == requests[1:2]
    assert parking.take(10) == requests[2:]


@pytest.mark.parametrize(("hears", "heard"), [(True, ["OutcomeUnknown"]), (False, [])])
def test_who_waits_no_longer_hears_it_where_it_may_be_there(hears: bool, heard: list[str]) -> None:
    parking, (first, second) = parked(1, 2)
    told: list[str] = []
    first.future = listener = Listener(lambda answer: told.append(type(answer).__name__))
    listener.leave(hears=hears)
    assert parking.take(9) == [second]
    assert told == heard


def test_whose_caller_has_gone_is_not_tried_again() -> None:
    parking, requests = parked(1, 2, 3)
    leave(requests[0])
    leave(requests[2])
    assert parking.take(2) == [requests[1]]
    assert parking.take(2) == []
    assert parking.ask(REF, 1, 0, 1, 0.0) is None


# --- against a plain list ---


class ParkingMachine(RuleBasedStateMachine):
    """A list of orders, and the units in it, beside the real one."""

    def __init__(self) -> None:
        super().__init__()
        self.parking = Parking()
        self.waiting: list[Request] = []
        self.out: list[Request] = []
        self.number = 0
        self.now_ms = 0.0

    @rule(quantity=st.integers(1, 5), pause_ms=st.integers(0, 50))
    def park(self, quantity: int, pause_ms: int) -> None:
        self.now_ms += pause_ms
        order = request(f"o-{self.now_ms}", quantity, self.now_ms)
        self.parking.park(order)
        self.waiting.append(order)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        leave(data.draw(st.sampled_from(self.waiting)))

    @precondition(lambda self: not self.out)
    @rule(most=st.integers(0, 5))
    def take(self, most: int) -> None:
        self.waiting = [order for order in self.waiting if not order.abandoned]
        self.out = self.parking.take(most)
        assert self.out == self.waiting[:most]
        del self.waiting[:most]

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        dry = [order for order in self.out if data.draw(st.booleans())]
        self.parking.put_back(dry)
        self.waiting[:0] = dry
        self.out = []

    @rule(left=st.integers(0, 8))
    def ask(self, left: int) -> None:
        self.number += 1
        for order in self.waiting:
            order.told_no = order.told_no or self.number
        told = [order.told_no for order in self.waiting]
        ask = self.parking.ask(REF, 1, left, self.number, self.now_ms)
        assert [order.told_no for order in self.waiting] == told
        if not self.waiting:
            assert ask is None
            return
        assert ask is not None
        lacks = self.waiting[0].quantity - left
        assert ask.smallest == max(1, lacks)
        assert ask.waiting == max(ask.smallest, sum(order.quantity for order in self.waiting) - left)

    @rule(available=st.integers(0, 5), behind=st.integers(0, 3))
    def verdict(self, available: int, behind: int) -> None:
        heard = self.number - behind
        beyond = [o for o in self.waiting if o.quantity > available and o.told_no and o.told_no <= heard]
        assert self.parking.take_beyond(available, heard) == beyond
        self.waiting = [order for order in self.waiting if order not in beyond]

    @rule(patience_ms=st.integers(0, 200))
    def expire(self, patience_ms: int) -> None:
        before = self.now_ms - patience_ms
        assert self.parking.take_older(before) == [order for order in self.waiting if order.since_ms < before]
        self.waiting = [order for order in self.waiting if order.since_ms >= before]

    @invariant()
    def nobody_is_lost(self) -> None:
        assert len(self.parking) == len(self.waiting)
        assert bool(self.parking) == bool(self.waiting)

    @invariant()
    def the_units_add_up(self) -> None:
        ask = self.parking.ask(REF, 1, 0, 0, self.now_ms)  # number 0 tells nobody
        assert (ask.waiting if ask else 0) == sum(order.quantity for order in self.waiting)


TestParkingMachine = ParkingMachine.TestCase
