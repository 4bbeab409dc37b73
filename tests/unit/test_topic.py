"""The topic's slices and names."""

import pytest

from hotsku.broker.topic import Topic, slice_of
from hotsku.domain.events import PartitionRef
from hotsku.domain.placement import POINTS, point_of

REFS = [PartitionRef(item, partition) for item in range(1, 4) for partition in range(POINTS)]


def test_on_a_cluster_a_slice_lies_where_its_partitions_do() -> None:
    for ref in REFS:
        assert slice_of(ref, POINTS) == point_of(ref)


@pytest.mark.parametrize("slices", [1, 4, 8, 48])
def test_partitions_are_spread_over_all_slices(slices: int) -> None:
    assert {slice_of(ref, slices) for ref in REFS} == set(range(slices))


def test_names_carry_namespace_and_ledger() -> None:
    topic = Topic("hs", "3f9c1a7be2")
    ref = PartitionRef(7, 5)
    assert (topic.name, topic.group) == ("hs.events", "hs.3f9c1a7be2.ledger")
    assert topic.queue(3) == "hs.3f9c1a7be2.events.3"
    assert topic.key(ref) == f"3f9c1a7be2.{topic.slice_of(ref)}.7.5"
    assert topic.key(ref).startswith(topic.slice_key(topic.slice_of(ref)) + ".")
