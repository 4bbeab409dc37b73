"""What proves that a restarted partition has all that it ever acknowledged."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotsku.domain.deduction import OrderState
from hotsku.domain.order import OrderRecord
from hotsku.domain.recovery import (
    RETENTION_MS,
    Evidence,
    counted_units,
    held_at_least,
    is_forgotten,
    judge_restart,
)

DURABLE = Evidence(
    ledger_incarnation=1,
    watermark=80,
    durability="durable",
    incarnation=1,
    seq=100,
    stream_seq=100,
    sealed=None,
    whole=True,
    every_write_synced=True,
    single_copy=True,
    acknowledged_seq=100,
)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"seq": 80, "stream_seq": 80, "acknowledged_seq": 80},
        {"seq": 0, "stream_seq": 0, "watermark": 0, "acknowledged_seq": 0},
        {"durability": "fast", "sealed": 100},
        {"every_write_synced": False, "sealed": 100},
        {"single_copy": False, "sealed": 100},
    ],
)
def test_proven(change: dict[str, object]) -> None:
    assert judge_restart(msgspec.structs.replace(DURABLE, **change)).action == "arm"


@pytest.mark.parametrize("single_copy", [True, False])
def test_proven_but_another_copy_may_wake(single_copy: bool) -> None:
    """A promotion always begins a new incarnation; so does the restart of what may have been promoted meanwhile."""
    evidence = msgspec.structs.replace(DURABLE, durability="replicated", single_copy=single_copy)
    assert judge_restart(evidence).action == "renew"
    # A copy may lack what was relayed before it had it: nobody was told of that, and the ledger has it.
    assert judge_restart(msgspec.structs.replace(evidence, watermark=101)).action == "renew"
    assert judge_restart(msgspec.structs.replace(evidence, acknowledged_seq=101)).action == "lost"


@pytest.mark.parametrize("change", [{}, {"durability": "fast", "sealed": 100}])
def test_proven_but_records_are_missing(change: dict[str, object]) -> None:
    """Stream and ledger have the events, so the records can come back; nothing that was sold is forgotten."""
    verdict = judge_restart(msgspec.structs.replace(DURABLE, whole=False, **change))
    assert (verdict.action, verdict.proven) == ("renew", True)


@pytest.mark.parametrize("change", [{}, {"durability": "fast", "sealed": 100}])
def test_proven_but_the_stream_is_gone(change: dict[str, object]) -> None:
    """The ledger has all of it."""
    evidence = msgspec.structs.replace(DURABLE, stream_seq=0, watermark=100, **change)
    verdict = judge_restart(evidence)
    assert (verdict.action, verdict.proven) == ("renew", True)
    assert not judge_restart(msgspec.structs.replace(evidence, watermark=99)).proven


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"incarnation": 0, "seq": 0, "stream_seq": 0}, "does not have the partition"),
        ({"incarnation": 2}, "incarnation 2, the ledger 1"),
        ({"stream_seq": 99}, "stream ends at 99"),
        ({"stream_seq": 99, "watermark": 100}, "stream ends at 99"),
        ({"watermark": 101}, "the ledger already at 101"),
        ({"acknowledged_seq": 101}, "101 was acknowledged"),
        ({"acknowledged_seq": 101, "sealed": 100}, "101 was acknowledged"),
        ({"durability": "fast"}, "not sealed"),
        ({"durability": "fast", "sealed": 99}, "not sealed"),
        ({"every_write_synced": False}, "does not sync every write"),
        ({"single_copy": False}, "not the only copy"),
        ({"single_copy": False, "whole": False}, "not the only copy"),
    ],
)
def test_unproven(change: dict[str, object], reason: str) -> None:
    verdict = judge_restart(msgspec.structs.replace(DURABLE, **change))
    assert not verdict.proven
    assert reason in verdict.reason


_SMALL = st.integers(0, 4)


@given(
    st.builds(
        Evidence,
        ledger_incarnation=st.integers(1, 2),
        watermark=_SMALL,
        durability=st.sampled_from(["durable", "replicated", "fast"]),
        incarnation=st.integers(0, 2),
        seq=_SMALL,
        stream_seq=_SMALL,
        sealed=st.none() | _SMALL,
        whole=st.booleans(),
        every_write_synced=st.booleans(),
        single_copy=st.booleans(),
        acknowledged_seq=_SMALL,
    )
)
def test_nothing_that_anyone_counted_on_may_be_missing(evidence: Evidence) -> None:
    verdict = judge_restart(evidence)
    if verdict.proven:
        assert evidence.incarnation == evidence.ledger_incarnation
        assert evidence.stream_seq in (evidence.seq, 0)
        assert evidence.stream_seq == evidence.seq or evidence.watermark == evidence.seq
        assert max(evidence.seq, evidence.watermark) >= evidence.acknowledged_seq
        always_synced = evidence.durability != "fast" and evidence.every_write_synced
        assert always_synced or evidence.sealed == evidence.seq
    if verdict.action == "arm":
        assert evidence.whole
        assert evidence.seq == evidence.stream_seq
        assert evidence.seq >= evidence.watermark
        # Under the same incarnation only where no other copy can answer: there is none, or it was sealed.
        assert (evidence.durability == "durable" and evidence.single_copy) or evidence.sealed == evidence.seq


def _record(state: OrderState, **more: int) -> OrderRecord:
    record = OrderRecord(5, 1, 1, 0, held=True, state=state, expires_at_ms=100, step_at_ms=50)
    return msgspec.structs.replace(record, **more)


def test_no_hold_ends_before_what_was_lost_may_be_proven() -> None:
    held = _record(OrderState.HELD)
    assert held_at_least(held, 300).expires_at_ms == 300
    assert held_at_least(held, 100) is held
    assert held_at_least(held, 0) is held
    for state in (OrderState.CONFIRMED, OrderState.RELEASED, OrderState.EXPIRED, OrderState.REFUNDED):
        assert held_at_least(_record(state), 300) == _record(state)


@pytest.mark.parametrize(
    ("state", "refunded", "restores", "units"),
    [
        (OrderState.HELD, 0, False, 5),
        (OrderState.CONFIRMED, 0, False, 5),
        (OrderState.CONFIRMED, 2, False, 5),
        (OrderState.CONFIRMED, 2, True, 3),
        (OrderState.REFUNDED, 5, False, 5),
        (OrderState.REFUNDED, 5, True, 0),
        (OrderState.RELEASED, 0, False, 0),
        (OrderState.EXPIRED, 0, True, 0),
    ],
)
def test_what_counts_towards_a_limit(state: OrderState, refunded: int, restores: bool, units: int) -> None:
    assert counted_units(_record(state, refunded=refunded), restores=restores) == units


def test_only_what_ended_long_ago_is_forgotten() -> None:
    now_ms = 50 + RETENTION_MS
    for state in OrderState:
        ended = state in (OrderState.RELEASED, OrderState.EXPIRED)
        assert not is_forgotten(_record(state), now_ms)
        assert is_forgotten(_record(state), now_ms + 1) is ended
