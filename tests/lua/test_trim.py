"""hs_trim: the stream forgets what the ledger has, and nothing else."""

from tests.lua import invariants
from tests.lua.partition import Partition, connect, order
from tests.support.servers import TestServer


def sell(partition: Partition, *sizes: int) -> None:
    """Batches of so many orders each."""
    for size in sizes:
        start = partition.status()["seq"]
        partition.deduct(*[order(f"o{start + i}") for i in range(size)])


def kept(partition: Partition) -> list[int]:
    return [entry.last_seq for entry in partition.entries()]


def test_an_entry_goes_when_all_of_its_events_are_in_the_ledger(partition: Partition) -> None:
    sell(partition, 3, 2, 1)
    assert kept(partition) == [3, 5, 6]
    for through, left in [(0, [3, 5, 6]), (2, [3, 5, 6]), (3, [5, 6]), (4, [5, 6]), (5, [6]), (6, [])]:
        assert partition.trim(through) == ["OK"]
        assert kept(partition) == left
        assert partition.status()["trimmed"] == through
        invariants.check(partition)


def test_an_older_watermark_that_comes_late_changes_nothing(partition: Partition) -> None:
    sell(partition, 1, 1, 1)
    partition.trim(2)
    memory = partition.memory()
    for through in (2, 1, 0, -1):
        assert partition.trim(through) == ["OK"]
    assert partition.memory() == memory


def test_a_ledger_that_is_ahead_of_the_shard_is_fenced(partition: Partition) -> None:
    """Memory that the ledger has and the shard has not: it went back in time, whatever the fence says."""
    sell(partition, 2)
    memory = partition.memory()
    assert partition.trim(3) == ["FENCED"]
    assert partition.memory() == memory


def test_records_outlive_their_events(partition: Partition) -> None:
    sell(partition, 3)
    partition.trim(3)
    assert partition.deduct(order("o1")).quantities == [(1, 2)]


def test_numbering_goes_on_after_everything_was_trimmed(partition: Partition) -> None:
    sell(partition, 3)
    partition.trim(3)
    assert partition.deduct(order("next")).seq_before == 3
    assert kept(partition) == [4]
    invariants.check(partition)


def test_an_empty_stream_still_proves_its_end_after_a_restart(server: TestServer) -> None:
    with connect(server) as client:
        partition = Partition.begun(client, stock=10)
        sell(partition, 3)
        partition.trim(3)
        for rewrite in (False, True):
            if rewrite:  # what is rewritten has no deleted entries any more, only the stream's last id
                client.config_set("appendonly", "no")
                client.config_set("appendonly", "yes")
                while (
                    client.info("persistence")["aof_rewrite_in_progress"]
                    or client.info("persistence")["aof_rewrite_scheduled"]
                ):
                    client.wait(0, 1)
            server.restart()
            assert partition.arm(1, 3) == ["OK"]
            invariants.check(partition)


def test_another_incarnation(partition: Partition) -> None:
    sell(partition, 1)
    memory = partition.memory()
    assert partition.trim(1, incarnation=0) == ["STALE", 1]
    assert partition.trim(1, incarnation=2) == ["FENCED"]
    assert partition.memory() == memory
