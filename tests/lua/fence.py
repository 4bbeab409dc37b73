"""What every test of the fence asks: does everything that changes a partition refuse, and leave it alone?"""

from tests.lua.partition import Partition, order, step
from tests.support.servers import TestServer

STEPS: dict[str, object] = {"confirm": "p", "release": "", "extend": 1, "begin_payment": 1, "refund": 0}


def debug_reload(server: TestServer, partition: Partition) -> None:
    """Save everything, forget it, load it again."""
    partition.client.execute_command("DEBUG", "RELOAD")  # type: ignore[no-untyped-call]


def assert_fenced(partition: Partition) -> None:
    """Every mutating function answers FENCED, for old orders and new ones, and nothing was written."""
    memory, status = partition.memory(), partition.status()
    next_lease, next_reclaim = status.get("lease_no", 0) + 1, status.get("reclaim_no", 0) + 1
    assert partition.deduct(order("a"), order("never")).kind == "FENCED"
    assert partition.deduct(order("a"), take=False).kind == "FENCED"
    assert partition.deduct(order("a"), deadline=1).kind == "FENCED"
    assert partition.deduct(order("a"), incarnation=0).kind == "FENCED"
    assert partition.install(next_lease, 10) == ["FENCED"]
    assert partition.install(1, 10) == ["FENCED"]
    assert partition.reclaim(next_reclaim, 10) == ["FENCED"]
    assert partition.trim(1) == ["FENCED"]
    assert partition.disarm(seal=True) == ["FENCED"]
    for verb, argument in STEPS.items():
        assert partition.step(step(verb, "a", argument)).kind == "FENCED"
    assert partition.step(step("confirm", "a"), incarnation=0).kind == "FENCED"
    assert partition.expire() == ["FENCED"]
    assert partition.release_holds() == ["FENCED"]
    assert partition.forget() == ["FENCED"]
    assert partition.configure(version=10**6, state=1) == ["FENCED"]
    assert partition.begin() == ["FENCED"]
    assert partition.memory() == memory
