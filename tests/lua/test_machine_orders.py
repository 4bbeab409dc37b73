"""Any order of orders, steps, sweeps and time, also repeated and late, against the model of an order's life. The time
is the test's, so that steps meet the very millisecond in which a hold ends."""

from typing import Any

import pytest
import redis
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
from msgspec.structs import replace

from hotsku.domain.events import Event
from hotsku.domain.order import OrderRecord, StepVerb, format_record
from hotsku.domain.routing import order_field
from hotsku.domain.steps import judge
from tests.lua import invariants, timed
from tests.lua.order_model import Happened, OrderModel
from tests.lua.partition import Order, Partition, words
from tests.lua.replay import replay
from tests.support.examples import examples

START = 1_700_000_000_000
STATES = ["open", "paused", "closed"]
LONG = 3_000

# Few names, so that orders meet again, and their buyers' counts.
fields = st.builds(order_field, st.sampled_from(["a", "b", "c"]), st.sampled_from(["", "u"]))
ttls = st.sampled_from([1, 2, 3, 10, LONG])
texts = st.sampled_from(["", "m", "::c:0:1", "é\0%d"])
whats: st.SearchStrategy[Any] = st.one_of(
    st.integers(1, 4),
    st.sampled_from([0, words(0, "m")]),
    st.builds(words, st.integers(1, 3), texts),
    st.builds(words, st.integers(1, 3), texts, ttls),
    st.builds(words, st.integers(1, 3), texts, ttls),
    st.builds(words, st.integers(1, 3), texts, ttls, st.just(1)),
)
batches = st.lists(st.tuples(fields, whats), min_size=1, max_size=5)
carts = st.sampled_from([False, False, False, True])
Asked = tuple[str, str, int | str, bool]
asked: st.SearchStrategy[Asked] = st.one_of(
    st.tuples(st.just("confirm"), fields, st.sampled_from(["", "p", "q:1"]), carts),
    st.tuples(st.just("release"), fields, st.just(""), carts),
    st.tuples(st.sampled_from(["extend", "begin_payment"]), fields, st.sampled_from([0, 1, 5, LONG]), carts),
    st.tuples(st.just("refund"), fields, st.integers(0, 4), carts),
)
step_batches = st.lists(asked, min_size=1, max_size=5)


class OrderMachine(RuleBasedStateMachine):
    """`client` is of a server whose time is the test's; one partition is used for each run."""

    client: "redis.Redis"

    @initialize(limit=st.sampled_from([0, 3, 8]), restores=st.booleans())
    def begin(self, limit: int, restores: bool) -> None:
        self.real = Partition(self.client)
        self.model = OrderModel(limit=limit, restores=restores, time=START)
        timed.set_time(self.client, START)
        assert self.real.begin(limit=limit, restores=int(restores)) == ["OK"]
        self.leases = 0
        self.install(30)
        self.sent: list[tuple[list[Order], bool]] = []
        self.steps_sent: list[list[Asked]] = []
        self.told: dict[str, OrderRecord] = {}  # by the stream
        self.heard = 0  # the last seq of the stream that was replayed

    # --- calls ---

    @rule(quantity=st.integers(1, 20))
    def install(self, quantity: int) -> None:
        self.leases += 1
        assert self.real.install(self.leases, quantity, 1, self.model.incarnation) == ["OK", self.leases]
        self.model.left += quantity

    @rule(orders=batches, take=st.sampled_from([True, True, True, False]))
    def deduct(self, orders: list[Order], take: bool) -> None:
        self.sent.append((orders, take))
        self._deduct(orders, take)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def deduct_again(self, data: st.DataObject) -> None:
        self._deduct(*data.draw(st.sampled_from(self.sent)))

    def _deduct(self, orders: list[Order], take: bool) -> None:
        seq_before, now = self.model.seq, self.model.now
        codes, answers = self.model.deduct(orders, take=take)
        reply = self.real.deduct(*orders, take=take, incarnation=self.model.incarnation)
        assert (reply.kind, reply.codes, reply.parsed, reply.now) == ("OK", codes, answers, now)
        assert (reply.seq_before, reply.taken) == (seq_before, self.model.taken)
        assert reply.left_a + reply.left_b == self.model.left

    @rule(steps=step_batches)
    def step(self, steps: list[Asked]) -> None:
        self.steps_sent.append(steps)
        self._step(steps)

    @precondition(lambda self: self.steps_sent)
    @rule(data=st.data())
    def step_again(self, data: st.DataObject) -> None:
        self._step(data.draw(st.sampled_from(self.steps_sent)))

    @rule(step=asked)
    def step_twice(self, step: Asked) -> None:
        """An answer was lost: whoever asks again hears that it was done."""
        first, second = self._step([step]), self._step([step])
        assert second == ("R" if first == "A" and step[0] != "extend" else first)

    def _step(self, steps: list[Asked]) -> str:
        seq_before, now = self.model.seq, self.model.now
        codes, answers = "", []
        for verb, name, argument, cart in steps:
            found = self.model.records.get(name)
            code, record = self.model.step(verb, name, argument, cart)
            codes += code
            if record is not None:
                answers.append(record)
            if found is not None:  # the ledger's judgement of orders that have left the shard is the same
                assert judge(StepVerb(verb), argument, cart, _as_of(found, now)) == code
        packed = [[verb, name, argument, int(cart)] for verb, name, argument, cart in steps]
        reply = self.real.step(*packed, incarnation=self.model.incarnation)
        assert (reply.kind, reply.codes, list(reply.records), reply.now) == ("OK", codes, answers, now)
        assert (reply.seq_before, reply.events) == (seq_before, self.model.seq - seq_before)
        return codes

    @rule(most=st.sampled_from([1, 2, 1000]))
    def expire(self, most: int) -> None:
        ended, next_ms, lines = self.model.expire(most)
        assert self.real.expire(most, self.model.incarnation) == ["OK", ended, next_ms, 0, *lines]

    @rule(most=st.sampled_from([1, 2, 1000]), offset=st.sampled_from([0, 0, 1]))
    def release_holds(self, most: int, offset: int) -> None:
        ended, go_on = self.model.release_holds(most, offset)
        assert self.real.release_holds(most, offset, self.model.incarnation) == ["OK", ended, 0, go_on]

    @rule(age=st.sampled_from([-1, 0, 2, LONG]), keep=st.sampled_from([0, 1, 2, 100]), most=st.sampled_from([1, 1000]))
    def forget(self, age: int, keep: int, most: int) -> None:
        before = self.model.now - age
        dropped = self.model.forget(before, keep, most)
        assert self.real.forget(before, keep, most, self.model.incarnation) == ["OK", dropped]

    @rule(ahead=st.sampled_from([1, 1, 0, -1]), state=st.sampled_from(STATES))
    def configure(self, ahead: int, state: str) -> None:
        version = self.model.version + ahead
        wanted = self.model.configure(version, state)
        assert self._configure(version, state) == ["OK", wanted]

    def _configure(self, version: int, state: str) -> list[Any]:
        model = self.model
        return self.real.configure(
            model.incarnation,
            version=version,
            limit=model.limit,
            state=STATES.index(state),
            restores=int(model.restores),
        )

    @precondition(lambda self: self.model.state != "open")
    @rule()
    def open_again(self) -> None:
        self.configure(1, "open")

    @rule(data=st.data())
    def trim(self, data: st.DataObject) -> None:
        through = data.draw(st.integers(0, self.model.seq))
        assert self.real.trim(through, self.model.incarnation) == ["OK"]
        self.model.trimmed = max(self.model.trimmed, through)

    # --- time ---

    @rule(ms=st.sampled_from([1, 1, 2, 5, LONG, -1, -LONG]))
    def pass_time(self, ms: int) -> None:
        """Also backwards, by less than what is no clock to sell by."""
        self._set_time(max(self.model.time + ms, self.model.clock - LONG))

    @precondition(lambda self: self.model.holds)
    @rule(off=st.sampled_from([-1, 0, 0, 1]), data=st.data())
    def come_to_the_end_of_a_hold(self, off: int, data: st.DataObject) -> None:
        self._set_time(max(self.model.time, data.draw(st.sampled_from(sorted(self.model.holds.values()))) + off))

    def _set_time(self, now_ms: int) -> None:
        self.model.time = now_ms
        timed.set_time(self.client, now_ms)

    # --- incarnations ---

    @rule(kept=st.booleans())
    def renew(self, kept: bool) -> None:
        """Another incarnation, with the orders as they are, or brought back from a ledger that has all of them."""
        model = self.model
        seq = model.seq
        model.renew()
        # With a configuration that is out of date: the shard keeps its own.
        kind = self.real.renew(model.incarnation, keep=seq if kept else -1, version=0, state=2)
        if kept:
            assert kind == ["OK", "armed"]
        else:
            assert kind == ["OK", "rebuilding"]
            records = {name: format_record(r).decode() for name, r in model.records.items()}
            bought = {buyer: units for buyer, units in model.bought.items() if units}
            assert self.real.load(model.incarnation, records, bought, holds=model.holds, ended=model.ended) == ["OK"]
            assert self.real.finish(model.incarnation) == ["OK"]
        self.leases = self.heard = 0
        self.install(10)

    # --- what must hold ---

    @invariant()
    def same_as_the_model(self) -> None:
        if not hasattr(self, "real"):
            return
        model = self.model
        earlier = sum(r.quantity for r in model.records.values()) - model.taken
        invariants.check(self.real, earlier=earlier)
        status = self.real.status()
        assert self.real.parsed() == model.records
        assert (self.real.holds(), self.real.ended()) == (model.holds, model.ended)
        assert self.real.buyers() == {buyer: units for buyer, units in model.bought.items() if units}
        assert all(0 <= units <= model.limit for units in model.bought.values())
        assert (status["seq"], status["trimmed"], status["holds"]) == (model.seq, model.trimmed, len(model.holds))
        assert (status["version"], status["state"]) == (model.version, STATES.index(model.state))
        assert (status["clock"], status["now_ms"]) == (model.clock, model.time)
        for name, record in model.records.items():
            assert self.real.order(name) == (record, model.now)

    @invariant()
    def the_stream_tells_the_same(self) -> None:
        if not hasattr(self, "real"):
            return
        events = [event for event in self.real.events() if event.seq > self.heard]
        assert [_happened(event) for event in events] == self.model.events[self.heard :]
        replay(self.model.incarnation, events, self.told)
        self.heard = self.model.seq
        assert {name: self.told[name] for name in self.model.records} == self.model.records

    def teardown(self) -> None:
        if hasattr(self, "real"):
            self.client.delete(*self.real.all_keys)


def _as_of(record: OrderRecord, now: int) -> OrderRecord:
    """As the ledger would have it after the reaper."""
    return replace(record, state=record.state_at(now))


def _happened(event: Event) -> Happened:
    name = order_field(event.order_id, event.buyer_id)
    return event.kind.value, name, event.quantity, event.expires_at, event.payment_ref, event.metadata, event.cart


@pytest.mark.slow
@pytest.mark.timeout(600)  # finding the shortest way to a failure takes its time
def test_any_life_of_orders(timed_client: "redis.Redis") -> None:
    machine = type("Machine", (OrderMachine,), {"client": timed_client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples(150),
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        ),
    )
