"""Where partitions lie: an item is evenly spread over any usual number of masters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from hotsku.domain.events import PartitionRef
from hotsku.domain.placement import POINTS, SLOTS, point_of, slot_of_point
from hotsku.shard.keys import Keys, slot_of, tag_for_slot

KEYS = Keys("hs", "0123456789")


def test_every_point_has_partitions() -> None:
    assert {point_of(PartitionRef(1, number)) for number in range(POINTS)} == set(range(POINTS))


@pytest.mark.parametrize(("masters", "spare"), [(1, 0), (2, 1), (3, 0), (4, 1), (5, 2), (6, 0), (8, 1), (12, 0)])
@pytest.mark.parametrize("rounds", range(1, 9))
def test_an_item_is_evenly_spread_over_the_masters(masters: int, spare: int, rounds: int) -> None:
    """By ranges of slots as clusters are made: equal ones, in order. What an item's id changes is where it begins."""
    for item_id in range(1, POINTS + 1):
        count = [0] * masters
        for number in range(masters * rounds):
            slot = slot_of(KEYS.partition(PartitionRef(item_id, number)).meta)
            count[slot * masters // SLOTS] += 1
        assert max(count) <= rounds + spare


@given(st.integers(1, 10**12), st.integers(0, 1023))
def test_a_partitions_keys_are_in_the_slot_of_its_point(item_id: int, number: int) -> None:
    ref = PartitionRef(item_id, number)
    keys = KEYS.partition(ref)
    assert keys.slot == slot_of_point(point_of(ref))
    assert {key_slot(key.encode()) for key in (keys.meta, keys.orders, keys.buyers, keys.stream)} == {keys.slot}


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789.", min_size=1), st.integers(0, SLOTS - 1))
def test_a_tag_for_every_slot(name: str, slot: int) -> None:
    tag = tag_for_slot(name, slot)
    assert tag.startswith(f"{name}.")
    assert key_slot(f"{{{tag}}}:x".encode()) == slot


@pytest.mark.parametrize("key", ["plain", "a{tag}b", "a{}b", "{open", "a}b{c}", "{a}{b}"])
def test_the_slot_of_a_key(key: str) -> None:
    assert slot_of(key) == key_slot(key.encode())


def test_a_slice_of_the_topic_lies_with_its_partitions() -> None:
    for number in range(POINTS):
        ref = PartitionRef(7, number)
        assert slot_of(KEYS.topic_slice(point_of(ref), POINTS)) == KEYS.partition(ref).slot
