"""What the inventory tells of an item, from its figures."""

import pytest

from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item, ItemSpec, ItemState, Standing
from hotsku.engine.views import item_view
from hotsku.ports import PartitionRow, PartitionStatus

NOW_MS = 1_000_000
REF = PartitionRef(1, 0)


def _row(*, granted: int, returned: int = 0, incarnation: int = 1) -> PartitionRow:
    return PartitionRow(
        item_id=REF.item_id,
        partition=REF.partition,
        incarnation=incarnation,
        state="open",
        durability="durable",
        lease_no=2,
        granted=granted,
        applied=0,
        returned=returned,
        watermark=0,
    )


def _available(pool: int, row: PartitionRow, status: PartitionStatus) -> tuple[int, str]:
    standing = Standing(total=20, pool=pool, preallocated=20 - pool, sold=0)
    view = item_view(Item(1, ItemSpec(sku="sku", total=20, partitions=1)), standing, [row], {REF: status}, NOW_MS)
    return view.available, view.state


def test_the_total_is_of_the_same_moment_as_the_other_figures() -> None:
    """The item was read before a restock, and its figures behind it."""
    standing = Standing(total=710, pool=10, preallocated=699, sold=1)
    view = item_view(Item(1, ItemSpec(sku="sku", total=700, partitions=1)), standing, [], {}, NOW_MS)
    assert view.total == 710 == view.pool + view.preallocated + view.held + view.sold


def _status(*, left: int, installed: int, returned: int = 0, armed: int | None = 1) -> PartitionStatus:
    return PartitionStatus(
        incarnation=1, armed_incarnation=armed, armed_seq=0, left_b=left, installed=installed, returned=returned
    )


def _view_state(
    state: ItemState, *, left: int = 5, opens_at_ms: int | None = None, closes_at_ms: int | None = None
) -> str:
    spec = ItemSpec(sku="sku", total=20, partitions=1, opens_at_ms=opens_at_ms, closes_at_ms=closes_at_ms)
    standing = Standing(total=20, pool=0, preallocated=left, sold=17 - left, held=3, state=state)
    status = PartitionStatus(incarnation=1, armed_incarnation=1, armed_seq=0, left_a=left, installed=left)
    view = item_view(Item(1, spec), standing, [_row(granted=left)], {REF: status}, NOW_MS)
    assert (view.held, view.sold, view.available) == (3, 17 - left, 0 if view.state == "closed" else left)
    assert view.total == view.pool + view.preallocated + view.held + view.sold
    return view.state


def test_an_items_state_is_the_first_reason_not_to_sell() -> None:
    past, future = NOW_MS, NOW_MS + 1
    assert _view_state("open", opens_at_ms=past, closes_at_ms=future) == "open"
    assert _view_state("open", left=0) == "sold_out"
    assert _view_state("open", opens_at_ms=future) == "not_open"
    assert _view_state("open", closes_at_ms=past, opens_at_ms=past - 1) == "closed"
    assert _view_state("paused") == _view_state("paused", left=0) == "paused"
    assert _view_state("paused", opens_at_ms=future) == "paused"
    assert _view_state("paused", closes_at_ms=past) == "closed"


@pytest.mark.parametrize("left", [0, 5])
def test_a_closed_item_stays_closed(left: int) -> None:
    assert _view_state("closed", left=left, opens_at_ms=NOW_MS + 1) == "closed"


def test_units_on_their_way_are_there() -> None:
    """Else an item would look sold out while its last units move."""
    leased = _row(granted=20)
    assert _available(0, leased, _status(left=0, installed=15)) == (5, "open")
    # The shard was asked after the lease had come, and the ledger before it was made: these five are in the pool, too.
    assert _available(5, _row(granted=15), _status(left=5, installed=20)) == (5, "open")
    assert _available(0, leased, _status(left=0, installed=20)) == (0, "sold_out")


def test_units_that_came_after_the_ledger_was_asked_and_are_sold_make_no_debt() -> None:
    assert _available(0, _row(granted=15), _status(left=0, installed=20)) == (0, "sold_out")


def test_units_that_a_partition_gave_back_are_there_once() -> None:
    gave_back = _status(left=2, installed=20, returned=7)
    assert _available(0, _row(granted=20), gave_back) == (9, "open")
    assert _available(7, _row(granted=20, returned=7), gave_back) == (9, "open")
    # The ledger may have had to book an order's units as returned: they are in the pool, and never were on their way.
    assert _available(8, _row(granted=20, returned=8), gave_back) == (10, "open")


def test_a_partition_that_cannot_sell_has_nothing() -> None:
    assert _available(0, _row(granted=20), _status(left=5, installed=20, armed=None)) == (0, "sold_out")
    assert _available(3, _row(granted=20), _status(left=5, installed=15, armed=None)) == (3, "open")


def test_of_a_partition_that_is_between_incarnations_the_shard_knows() -> None:
    assert _available(0, _row(granted=90, incarnation=2), _status(left=5, installed=15)) == (5, "open")
