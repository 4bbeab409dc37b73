"""What must hold of a partition after every call, read from the shard alone."""

from collections.abc import Sequence
from typing import cast

from hotsku.domain.deduction import OrderState
from tests.lua import timed
from tests.lua.partition import Partition

_ENDED = (OrderState.RELEASED, OrderState.EXPIRED)


def check(partition: Partition, *, earlier: int = 0, among: Sequence[Partition] = ()) -> None:
    """I6 to I9 of the design, for an armed partition; records, stream and sets agree; no key but its own exists.

    Args:
        earlier: units of orders of earlier incarnations, less those of records that were forgotten.
        among: other partitions that the server has.
    """
    status = partition.status()
    check_stock(partition, earlier=earlier)
    assert status["armed_seq"] == status["seq"] == _stream_seq(status), "I7"
    assert status["armed_incarnation"] == status["incarnation"], "I8"
    assert 0 <= status["trimmed"] <= status["seq"], "I9"
    check_stream(partition)
    check_sets(partition)
    check_keys(partition, *among)


def check_stock(partition: Partition, *, earlier: int = 0) -> None:
    status = partition.status()
    parts = [status[name] for name in ("left_a", "left_b", "taken", "returned")]
    assert min(parts) >= 0, "I6"
    assert sum(parts) == status["installed"], "I6"
    assert sum(int(record.split(":")[1]) for record in partition.records().values()) == status["taken"] + earlier


def check_stream(partition: Partition) -> None:
    """Numbered without a gap from the first entry that the ledger lacks, and never behind what was trimmed."""
    status = partition.status()
    seqs = [event.seq for event in partition.events()]
    assert seqs == list(range(status["seq"] - len(seqs) + 1, status["seq"] + 1))
    assert len(seqs) >= status["seq"] - status["trimmed"]
    assert all(entry.last_seq > status["trimmed"] for entry in partition.entries())


def check_sets(partition: Partition) -> None:
    """Time and retention find each hold that they are to end, and no other order."""
    records = partition.parsed()
    held = {field: record.expires_at_ms for field, record in records.items() if record.state is OrderState.HELD}
    ended = {field: record.step_at_ms for field, record in records.items() if record.state in _ENDED}
    assert (partition.holds(), partition.ended()) == (held, ended)


def check_keys(*partitions: Partition) -> None:
    found = {key.decode() for key in cast("list[bytes]", partitions[0].client.keys("*"))}
    assert found <= {timed.KEY, *(key for partition in partitions for key in partition.all_keys)}


def _stream_seq(status: dict[str, int]) -> int:
    return status["stream_seq"] if status["stream_incarnation"] == status["incarnation"] else 0
