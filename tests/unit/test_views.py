"""What the inventory tells of an item, from its figures."""

import pytest

from hotsku.domain.item import Item, ItemSpec, ItemState, Standing
from hotsku.engine.views import item_view
from hotsku.ports import PartitionStatus

NOW_MS = 1_000_000


def _view_state(
    state: ItemState, *, left: int = 5, opens_at_ms: int | None = None, closes_at_ms: int | None = None
) -> str:
    spec = ItemSpec(sku="sku", total=20, partitions=1, opens_at_ms=opens_at_ms, closes_at_ms=closes_at_ms)
    standing = Standing(total=20, pool=0, preallocated=left, sold=17 - left, held=3, state=state)
    status = PartitionStatus(incarnation=1, armed_incarnation=1, armed_seq=0, left_a=left)
    view = item_view(Item(1, spec), standing, [status], NOW_MS)
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
