"""Every family of metrics that a gateway has, each with a sample."""

from collections.abc import Iterator

from prometheus_client.core import Metric

from hotsku.domain.item import Standing
from hotsku.http.counters import Counters
from hotsku.http.metrics import request_families, stock_families
from hotsku.http.stock_figures import ItemFigures, PartitionFigures, StockFigures
from hotsku.ports import PartitionRow, PartitionStatus


def every_family() -> Iterator[Metric]:
    """The families of a gateway that has answered one request about one item."""
    counters = Counters(orders={"accepted": 1}, dropped={"not HTTP": 1}, levels={"in_flight": 1})
    counters.route("/").note(201, "accepted", 1.0)
    yield from request_families(counters)
    row = PartitionRow(
        item_id=1,
        partition=0,
        incarnation=1,
        state="open",
        durability="durable",
        lease_no=1,
        granted=1,
        applied=0,
        returned=0,
        watermark=0,
    )
    partition = PartitionFigures(row, PartitionStatus(incarnation=1))
    item = ItemFigures("sku", Standing(total=1, pool=0, preallocated=1, sold=0), [partition])
    yield from stock_families(StockFigures([item], 1, 1))
