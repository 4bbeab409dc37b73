"""Any order of calls, also repeated, late and out of turn, against the model: order idempotency, buckets, leases,
reclaims, buyers' limits, trims. The invariants are checked after every step."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hotsku.domain.events import Event
from hotsku.domain.routing import order_field
from tests.lua import invariants
from tests.lua.model import Model
from tests.lua.partition import Order, Partition
from tests.support.examples import examples

# Few names, so that orders meet again; a prefix of each other, so that composed fields could be mistaken.
fields = st.builds(order_field, st.sampled_from(["a", "b", "ab", "ba", "aba"]), st.sampled_from(["", "a", "b", "ab"]))
quantities = st.one_of(
    st.integers(1, 4), st.integers(1, 4), st.sampled_from([0, -1, 1.5, 10**12, "1", True, None, [1]])
)
batches = st.lists(st.tuples(fields, quantities), min_size=1, max_size=8)


class PartitionMachine(RuleBasedStateMachine):
    """`make` begins a partition on a server; one is used for each run."""

    make: Callable[..., Partition]

    @initialize(limit=st.sampled_from([0, 1, 5]))
    def begin(self, limit: int) -> None:
        self.real = type(self).make(limit=limit)
        self.model = Model(limit=limit)
        self.sent: list[tuple[list[Order], bool]] = []

    @rule(orders=batches, take=st.sampled_from([True, True, True, False]))
    def deduct(self, orders: list[Order], take: bool) -> None:
        self.sent.append((orders, take))
        self._deduct(orders, take)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        self._deduct(*data.draw(st.sampled_from(self.sent)))

    def _deduct(self, orders: list[Order], take: bool) -> None:
        seq_before = self.model.seq
        codes, records = self.model.deduct(orders, take=take)
        reply = self.real.deduct(*orders, take=take)
        assert (reply.kind, reply.codes, reply.quantities) == ("OK", codes, records)
        assert (reply.seq_before, reply.taken) == (seq_before, self.model.taken)
        assert [reply.left_a, reply.left_b] == self.model.stock
        assert (reply.active, reply.refill) == ("ab"[self.model.selling], self.model.refill)

    @rule(ahead=st.sampled_from([1, 1, 1, 0, 2, -1]), quantity=st.integers(1, 12), threshold=st.integers(1, 4))
    def install(self, ahead: int, quantity: int, threshold: int) -> None:
        no = len(self.model.leases) + ahead
        assert self.real.install(no, quantity, threshold) == list(self.model.install(no, quantity, threshold))

    @rule(ahead=st.sampled_from([1, 1, 1, 0, 2, -1]), quantity=st.integers(0, 12))
    def reclaim(self, ahead: int, quantity: int) -> None:
        no = len(self.model.reclaims) + ahead
        assert self.real.reclaim(no, quantity) == list(self.model.reclaim(no, quantity))

    @rule(data=st.data())
    def trim(self, data: st.DataObject) -> None:
        through = data.draw(st.integers(0, self.model.seq + 1))
        assert self.real.trim(through) == [self.model.trim(through)]

    @rule(incarnation=st.sampled_from([0, 2]), orders=batches)
    def call_with_another_incarnation(self, incarnation: int, orders: list[Order]) -> None:
        kind = "STALE" if incarnation == 0 else "FENCED"
        assert self.real.deduct(*orders, incarnation=incarnation).kind == kind
        assert self.real.install(len(self.model.leases) + 1, 5, 1, incarnation)[0] == kind
        assert self.real.reclaim(len(self.model.reclaims) + 1, 5, incarnation)[0] == kind
        assert self.real.trim(self.model.seq, incarnation)[0] == kind
        assert self.real.disarm(incarnation=incarnation)[0] == kind

    @rule(orders=batches)
    def deliver_late(self, orders: list[Order]) -> None:
        assert self.real.deduct(*orders, deadline=1).kind == "LATE"

    @rule()
    def begin_and_arm_again(self) -> None:
        assert self.real.begin() == ["ALREADY"]
        assert self.real.arm(1, self.model.seq) == ["ALREADY"]
        assert self.real.arm(1, self.model.seq + 1)[0] == "REFUSED"

    @invariant()
    def same_as_the_model(self) -> None:
        if not hasattr(self, "real"):
            return
        model, status = self.model, self.real.status()
        invariants.check(self.real)
        assert [status["left_a"], status["left_b"]] == model.stock
        assert (status["active"], status["threshold"]) == ("ab"[model.selling], model.threshold)
        assert (status["installed"], status["lease_no"]) == (sum(model.leases), len(model.leases))
        assert (status["returned"], status["reclaim_no"]) == (sum(model.reclaims), len(model.reclaims))
        assert (status["seq"], status["trimmed"], status["taken"]) == (model.seq, model.trimmed, model.taken)
        assert status["orders"] == len(model.orders)
        assert self.real.buyers() == model.bought
        assert [entry.last_seq for entry in self.real.entries()] == model.kept
        events = [(event.kind.value, _field(event), event.quantity) for event in self.real.events()]
        assert events == model.events[model.seq - len(events) :]

    def teardown(self) -> None:
        if hasattr(self, "real"):
            self.real.client.delete(*self.real.all_keys)


def _field(event: Event) -> str:
    return order_field(event.order_id, event.buyer_id) if event.order_id else ""


@pytest.mark.slow
@pytest.mark.timeout(600)  # finding the shortest way to a failure takes its time
def test_any_order_of_calls(shared: Callable[..., Partition]) -> None:
    class Machine(PartitionMachine):
        make = staticmethod(shared)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples(60),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        ),
    )
