"""What an item may be created with."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotsku.domain.item import MAX_PARTITIONS, ItemSpec, Standing, check_spec, default_partitions
from hotsku.errors import InvalidRequest

GOOD = ItemSpec(sku="sneaker-42", total=10_000, partitions=8)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"total": 1, "partitions": 1},
        {"total": 10**9, "partitions": MAX_PARTITIONS},
        {"limit_per_buyer": 1},
        {"limit_per_buyer": 10**9},
        {"routing": "random"},
        {"routing": "round_robin"},
        {"opens_at_ms": 10, "closes_at_ms": 11},
        {"opens_at_ms": 10},
        {"closes_at_ms": 10},
        {"hold_ttl_ms": 1},
        {"refund_restores_limit": True},
    ],
    ids=repr,
)
def test_what_is_allowed(changes: dict[str, object]) -> None:
    spec = msgspec.structs.replace(GOOD, **changes)
    assert check_spec(spec) is spec


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("sku", {"sku": ""}),
        ("sku", {"sku": "a b"}),
        ("total", {"total": 0}),
        ("total", {"total": 10**9 + 1}),
        ("total", {"total": True}),
        ("total", {"total": 1.5}),
        ("partitions", {"partitions": 0}),
        ("partitions", {"partitions": -1}),
        ("partitions", {"partitions": MAX_PARTITIONS + 1}),
        ("partitions", {"partitions": True}),
        ("partitions", {"partitions": "8"}),
        ("limit_per_buyer", {"limit_per_buyer": 0}),
        ("limit_per_buyer", {"limit_per_buyer": "2"}),
        ("routing", {"routing": "sticky "}),
        ("routing", {"routing": None}),
        ("routing", {"routing": ["sticky"]}),
        ("routing", {"routing": "random", "limit_per_buyer": 2}),
        ("routing", {"routing": "round_robin", "limit_per_buyer": 2}),
        ("hold_ttl", {"hold_ttl_ms": 0}),
        ("hold_ttl", {"hold_ttl_ms": 10**11 + 1}),
        ("hold_ttl", {"hold_ttl_ms": 1.0}),
        ("closes_at", {"opens_at_ms": 10, "closes_at_ms": 10}),
        ("closes_at", {"opens_at_ms": 10, "closes_at_ms": 9}),
        ("refund_restores_limit", {"refund_restores_limit": 1}),
    ],
    ids=repr,
)
def test_what_is_not_allowed_is_named(field: str, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field} must be ") as caught:
        check_spec(msgspec.structs.replace(GOOD, **changes))
    assert caught.value.field == field
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("total", "shards", "expected"),
    [(1, 1, 1), (249, 1, 1), (499, 1, 1), (500, 1, 2), (999, 1, 3), (10**9, 1, 4), (3999, 2, 15), (10**9, 3, 24)],
)
def test_how_many_partitions_an_item_gets(total: int, shards: int, expected: int) -> None:
    assert default_partitions(total, shards) == expected


@given(st.integers(1, 10**9), st.integers(1, 128))
def test_the_default_is_always_allowed(total: int, shards: int) -> None:
    partitions = default_partitions(total, shards)
    assert check_spec(msgspec.structs.replace(GOOD, total=total, partitions=partitions)).partitions <= 8 * shards


def test_the_seed_example() -> None:
    """10,000 units; a lease of 400; a message applies 30; a lease of 100."""
    assert Standing(total=10_000, pool=9500, preallocated=470, sold=30).actual == 9970
