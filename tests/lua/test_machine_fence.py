"""Crashes, reloads, flushes and returns of older memory, in any order, while a careful worker arms what it has proven.

The model knows what the shard's memory and its fence are. What must never happen: one seq acknowledged for two
different things, or more units given away than the ledger ever leased."""

import copy

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

from hotsku.shard import library
from tests.lua import invariants
from tests.lua.fence import debug_reload
from tests.lua.model import Model
from tests.lua.partition import Memory, Partition, connect, order
from tests.support.examples import examples
from tests.support.servers import TestServer

batches = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 3)), min_size=1, max_size=4)


class FenceMachine(RuleBasedStateMachine):
    """`server` is the machine's own."""

    server: TestServer

    @initialize()
    def begin(self) -> None:
        self.connection = connect(self.server)
        client = self.connection.__enter__()
        client.flushall()
        client.function_load(library.source(), replace=True)
        self.real = Partition.begun(client)
        self.memory: Model | None = Model()
        self.fence: int | None = 0
        self.sealed = -1
        self.copies: list[tuple[Memory, Model, int]] = []
        self.leased: list[int] = []  # by the ledger
        # seq -> order (none: reclaimed), quantity: all that was acknowledged
        self.given: dict[int, tuple[str, int]] = {}
        self._lease(20)

    @property
    def live(self) -> bool:
        return self.memory is not None and self.fence == self.memory.seq

    @rule(orders=batches)
    def sell(self, orders: list[tuple[str, int]]) -> None:
        asked = [order(name, quantity) for name, quantity in orders]
        reply = self.real.deduct(*asked)
        if not self.live:
            assert reply.kind == "FENCED"
            return
        assert self.memory is not None
        codes, records = self.memory.deduct(asked, take=True)
        assert (reply.kind, reply.codes, reply.quantities) == ("OK", codes, records)
        seq = reply.seq_before
        for (name, quantity), code in zip(orders, codes, strict=True):
            if code == "A":
                seq += 1
                self._give(seq, name, quantity)
        self.fence = self.memory.seq

    @rule(quantity=st.integers(1, 9))
    def lease(self, quantity: int) -> None:
        self._lease(quantity)

    def _lease(self, quantity: int) -> None:
        """The ledger grants one where the shard has installed all of them; else the missing one is installed."""
        installed = len(self.memory.leases) if self.memory else 0
        if self.live and installed == len(self.leased):
            self.leased.append(quantity)
        no = min(installed + 1, len(self.leased)) or 1
        units = self.leased[no - 1] if self.leased else quantity
        reply = self.real.install(no, units)
        if not self.live:
            assert reply == ["FENCED"]
        else:
            assert self.memory is not None
            assert reply == list(self.memory.install(no, units, 1))

    @rule(quantity=st.integers(1, 9))
    def reclaim(self, quantity: int) -> None:
        no = len(self.memory.reclaims) + 1 if self.memory else 1
        reply = self.real.reclaim(no, quantity)
        if not self.live:
            assert reply == ["FENCED"]
            return
        assert self.memory is not None
        assert reply == list(self.memory.reclaim(no, quantity))
        if reply[1]:
            self._give(self.memory.seq, "", reply[1])
        self.fence = self.memory.seq

    @rule(data=st.data())
    def trim(self, data: st.DataObject) -> None:
        through = data.draw(st.integers(0, self.memory.seq if self.memory else 3))
        reply = self.real.trim(through)
        assert reply == ([self.memory.trim(through)] if self.live and self.memory else ["FENCED"])

    @rule()
    @precondition(lambda self: self.memory is not None)
    def back_up(self) -> None:
        assert self.memory is not None
        self.copies.append((self.real.memory(), copy.deepcopy(self.memory), self.sealed))

    @precondition(lambda self: self.copies)
    @rule(data=st.data())
    def go_back(self, data: st.DataObject) -> None:
        dump, memory, self.sealed = data.draw(st.sampled_from(self.copies))
        self.real.restore(dump)
        self.memory = copy.deepcopy(memory)

    @precondition(lambda self: self.live)
    @rule(how=st.sampled_from(["kill", "replace the library", "debug reload", "flush"]))
    def disaster(self, how: str) -> None:
        if how == "flush":
            self.real.client.flushall()
            self.memory = None
            return
        if how == "kill":
            self.server.restart()
        elif how == "debug reload":
            debug_reload(self.server, self.real)
        else:
            self.real.client.function_load(library.source(), replace=True)
        self.fence = None

    @precondition(lambda self: self.live)
    @rule(seal=st.booleans())
    def disarm(self, seal: bool) -> None:
        assert self.memory is not None
        assert self.real.disarm(seal=seal) == ["OK"]
        self.fence = None
        self.sealed = self.memory.seq if seal else self.sealed

    @rule()
    def arm_what_is_proven(self) -> None:
        """As the recoverer does: only memory that has every acknowledged seq."""
        seq = int(self.real.status().get("seq", -1))
        if self.memory is None or seq < max(self.given, default=0):
            return
        kind = self.real.arm(1, seq)[0]
        assert kind == ("ALREADY" if self.live else "OK" if self.fence is None else "REFUSED")
        if kind == "OK":
            self.fence, self.sealed = seq, -1

    @rule(off=st.sampled_from([-1, 1, 5]), incarnation=st.sampled_from([1, 1, 0, 2]))
    def arm_something_else(self, off: int, incarnation: int) -> None:
        assert self.real.arm(incarnation, (self.memory.seq if self.memory else 0) + off)[0] == "REFUSED"

    @precondition(lambda self: not self.live and self.fence is not None)
    @rule()
    def arm_over_a_fence(self) -> None:
        """A careless worker: the memory under an armed fence is another one, so nobody has proven it."""
        assert self.real.arm(1, self.memory.seq if self.memory else 0)[0] == "REFUSED"

    @rule()
    def begin_again(self) -> None:
        """Late: the ledger has leased to it. (That the memory is wholly gone is for the caller to know.)"""
        if self.live:
            assert self.real.begin() == ["ALREADY"]
        elif self.fence is not None or (self.memory is not None and self.memory.leases):
            assert self.real.begin() == ["FENCED"]

    def _give(self, seq: int, name: str, quantity: int) -> None:
        assert seq not in self.given, "two acknowledgements of one seq"
        assert name == "" or name not in {known for known, _ in self.given.values()}, "an order was sold twice"
        self.given[seq] = (name, quantity)

    @invariant()
    def nothing_is_given_twice(self) -> None:
        if not hasattr(self, "real"):
            return
        left = sum(self.memory.stock) if self.live and self.memory else 0
        assert sum(quantity for _, quantity in self.given.values()) + left <= sum(self.leased)
        status = self.real.status()
        if self.memory is None:
            assert status == {}
            return
        assert [status["left_a"], status["left_b"]] == self.memory.stock
        assert (status["seq"], status["sealed"]) == (self.memory.seq, self.sealed)
        assert status.get("armed_seq") == self.fence
        invariants.check_stock(self.real)
        invariants.check_stream(self.real)
        if self.live:
            invariants.check(self.real)

    def teardown(self) -> None:
        if hasattr(self, "connection"):
            self.connection.__exit__(None, None, None)


@pytest.mark.slow
@pytest.mark.timeout(600)  # finding the shortest way to a failure takes its time
def test_any_order_of_disasters(server: TestServer) -> None:
    machine = type("Machine", (FenceMachine,), {"server": server})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples(60),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        ),
    )
