"""An item's deductions, read page by page."""

import pytest
from tests.support.ledger import message, open_item, sale, sales, spec

from hotsku.ledger import SqlLedger
from hotsku.ports import DetailRow


@pytest.mark.anyio
async def test_details_come_in_pages_and_in_order(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(partitions=2), 10, 10)
    other = await open_item(ledger, spec("other"), 10)
    for partition in (1, 0):
        renamed = [sale(seq, f"p{partition}-{seq}") for seq in (1, 2, 3)]
        await ledger.apply(message(ledger, item.id, renamed, partition=partition))
    await ledger.apply(message(ledger, other.id, sales(1, 1)))
    pages: list[list[DetailRow]] = []
    after: DetailRow | None = None
    while page := await ledger.details(item.id, after, 4):
        pages.append(page)
        after = page[-1]
    assert [[(row.partition, row.seq, row.order_id) for row in page] for page in pages] == [
        [(0, 1, "p0-1"), (0, 2, "p0-2"), (0, 3, "p0-3"), (1, 1, "p1-1")],
        [(1, 2, "p1-2"), (1, 3, "p1-3")],
    ]
