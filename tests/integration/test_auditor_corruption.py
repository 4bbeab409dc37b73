"""Each corruption of the shard or of the ledger is told by its equation."""

from collections.abc import Awaitable, Callable

import pytest
from tests.support.sale import Sale, names

Corrupt = Callable[[Sale], Awaitable[object]]

pytestmark = pytest.mark.anyio


ON_THE_SHARD: list[tuple[str, Corrupt, set[str]]] = [
    ("left_a", lambda s: s.meta("left_a", 1), {"I6"}),
    ("left_b", lambda s: s.meta("left_b", -1), {"I6"}),
    ("a bucket below zero", lambda s: s.meta("left_b", -1000), {"I6"}),
    ("taken", lambda s: s.meta("taken", 1), {"I6"}),
    ("returned", lambda s: s.meta("returned", 1), {"I6"}),
    ("installed", lambda s: s.meta("installed", 5), {"I6", "leases"}),
    ("seq", lambda s: s.meta("seq", 1), {"I7"}),
    ("trimmed", lambda s: s.meta("trimmed", 100), {"I9"}),
    ("incarnation", lambda s: s.meta("incarnation", 1), {"I8"}),
    ("lease_no", lambda s: s.meta("lease_no", -1), {"leases"}),
    ("a lease that was not made", lambda s: s.meta("lease_no", 1), {"leases"}),
    ("an event", lambda s: s.forget("event"), {"I10"}),
    ("everything", lambda s: s.forget("all"), {"I8"}),
    ("the fence", lambda s: s.stack.shard.disarm(s.ref, 1, seal=False), {"I8"}),
]


@pytest.mark.parametrize(("corrupt", "told"), [row[1:] for row in ON_THE_SHARD], ids=[row[0] for row in ON_THE_SHARD])
async def test_what_the_shard_has_wrong_is_told(going: Sale, corrupt: Corrupt, told: set[str]) -> None:
    await corrupt(going)
    report = await going.audit()
    assert told <= names(report), names(report)
    assert {problem.partition for problem in report.problems if problem.name in told} <= {0}


async def test_an_order_without_its_record_is_told_at_rest(still: Sale) -> None:
    await still.forget("order")
    assert names(await still.audit()) == {"I10"}


@pytest.mark.parametrize(
    ("field", "by", "told"), [("left_a", 1, "I11"), ("left_b", -1, "I11"), ("taken", 1, "I11"), ("returned", 1, "I11")]
)
async def test_at_rest_the_shard_is_compared_with_the_ledger(still: Sale, field: str, by: int, told: str) -> None:
    await still.meta(field, by)
    assert {"I6", told} <= names(await still.audit())


IN_THE_LEDGER = [
    ("UPDATE partitions SET applied = applied + 1 WHERE partition = 0", {"I4"}),
    ("UPDATE partitions SET applied = applied - 1 WHERE partition = 0", {"I4"}),
    ("UPDATE partitions SET returned = returned + 1 WHERE partition = 0", {"I2", "I4"}),
    ("UPDATE partitions SET granted = granted + 1 WHERE partition = 1", {"I2", "leases"}),
    ("UPDATE partitions SET lease_no = lease_no + 1 WHERE partition = 1", {"leases"}),
    ("UPDATE partitions SET watermark = watermark + 1 WHERE partition = 0", {"I4"}),
    ("UPDATE partitions SET watermark = watermark + 100 WHERE partition = 0", {"I4", "I9"}),
    ("UPDATE partitions SET state = 'fenced' WHERE partition = 1", {"I8"}),
    ("UPDATE items SET pool = pool + 1", {"I2"}),
    ("UPDATE items SET pool = -1", {"I1", "I2"}),
    ("UPDATE items SET total = 3", {"I2", "I3"}),
    ("UPDATE leases SET quantity = quantity + 1 WHERE partition = 0 AND no = 1", {"leases"}),
    ("DELETE FROM leases WHERE partition = 0 AND no = 2", {"leases"}),
    ("UPDATE leases SET no = 7 WHERE partition = 0 AND no = 2", {"leases"}),
    ("UPDATE deductions SET quantity = quantity + 1 WHERE seq = 1", {"I4"}),
    ("DELETE FROM deductions WHERE seq = 2", {"I4"}),
    ("UPDATE deductions SET seq = 9 WHERE seq = 2", {"I4"}),
    ("UPDATE deductions SET partition = 1 WHERE seq = 2", {"I4"}),
    ("UPDATE deductions SET partition = 9 WHERE seq = 2", {"I4"}),
    ("UPDATE deductions SET state = 'lost' WHERE seq = 2", {"I5"}),
    ("UPDATE deductions SET quantity = 9 WHERE seq = 2", {"I4", "limit"}),
    (
        "INSERT INTO deductions SELECT item_id, partition, incarnation, 99, buyer_id, 'more', quantity, state, attempt,"
        " created_at FROM deductions WHERE seq = 1",
        {"I4"},
    ),
    (
        "INSERT INTO steps (item_id, partition, incarnation, seq, kind, buyer_id, order_id, quantity, at)"
        " SELECT item_id, partition, incarnation, 99, 'returned', '', '', 1, created_at FROM deductions WHERE seq = 1",
        {"I4"},
    ),
    (
        "INSERT INTO parked (item_id, partition, incarnation, seq, reason, body, digest, at)"
        " SELECT item_id, partition, incarnation, 99, '', '', '', 0 FROM deductions WHERE seq = 1",
        {"I4", "parked"},
    ),
]


@pytest.mark.parametrize(("statement", "told"), IN_THE_LEDGER, ids=[row[0][:70] for row in IN_THE_LEDGER])
async def test_what_the_ledger_has_wrong_is_told(going: Sale, statement: str, told: set[str]) -> None:
    columns = "item_id, partition, incarnation, seq, buyer_id, order_id, quantity, state, attempt, created_at"
    going.sql(statement.replace("INSERT INTO deductions SELECT", f"INSERT INTO deductions ({columns}) SELECT"))
    report = await going.audit()
    assert told <= names(report), names(report)
    assert not report.ok


async def test_an_order_counted_twice_is_told(going: Sale) -> None:
    going.sql(
        "CREATE TABLE copy AS SELECT * FROM deductions",
        "DROP VIEW events",
        "DROP TABLE deductions",
        "ALTER TABLE copy RENAME TO deductions",
        "UPDATE deductions SET order_id = 'o-1', buyer_id = 'b-1' WHERE seq = 2",
    )
    report = await going.audit()
    assert [problem.words for problem in report.problems if problem.name == "I4"] == ["no order has more than one row"]


async def test_a_problem_has_both_sides(going: Sale) -> None:
    going.sql("UPDATE items SET pool = pool + 1")
    (problem,) = (await going.audit()).problems
    assert problem.item == "sneaker"
    assert problem.sides == (1000, 1001)
    assert set(problem.right) == {"pool", "pre-allocated", "held", "sold"}


async def test_a_buyer_above_the_limit_on_the_shard_is_told_at_rest(still: Sale) -> None:
    await still.stack.client.hincrby(still.keys.buyers, "b-2", 4)
    assert names(await still.audit()) == {"limit"}
