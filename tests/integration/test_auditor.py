"""The auditor is green at every moment of a sale, and looks at whatever moves in between."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from tests.support.ledger import given_back, sale, spec
from tests.support.sale import Sale, names
from tests.support.servers import TestServer
from tests.support.workers import open_stack

from hotsku.domain.conservation import AuditReport
from hotsku.domain.events import PartitionRef
from hotsku.errors import BackendUnavailable
from hotsku.ports import Grant
from hotsku.stocking import install_missing, open_item
from hotsku.workers.auditor import Auditor

pytestmark = pytest.mark.anyio


async def test_an_item_that_never_began_is_no_problem(going: Sale) -> None:
    await going.stack.ledger.create_item(spec("fresh", total=10, partitions=3), "durable", 0)
    report = await going.auditor.audit()
    assert report.ok
    assert report.items == 2
    assert report.partitions == 5


async def test_a_begun_item_that_the_ledger_has_as_new_is_no_problem(going: Sale) -> None:
    item = (await going.stack.ledger.create_item(spec("fresh", total=10), "durable", 0)).item
    ref = PartitionRef(item.id, 0)
    await going.stack.shard.begin(ref, 1, item, await going.stack.shard.memory(ref))
    assert (await going.auditor.audit()).ok


async def test_a_lease_on_its_way_is_no_problem_and_a_lost_one_is(still: Sale) -> None:
    row = await still.stack.row(still.item, 1)
    await still.stack.ledger.lease([Grant(row.ref, 1, row.lease_no, 11)], 0)
    report = await still.audit()
    assert report.ok
    assert report.at_rest
    row = await still.stack.row(still.item, 1)
    await install_missing(still.stack.ledger, still.stack.shard, row, row.lease_no - 1)
    assert (await still.audit()).ok


async def test_an_order_that_another_seq_had_sold_keeps_the_audit_green(still: Sale) -> None:
    """As after a lost record: its units went from the shard as taken, and came back in the ledger as returned."""
    await still.forget("order")
    await still.deduct(("o-1", "b-1", 2))
    assert names(await still.audit()) == set()
    await still.apply()
    report = await still.audit()
    assert report.ok, report.problems
    assert report.at_rest


async def test_a_parked_detail_fails_the_audit_alone(going: Sale) -> None:
    ledger = going.stack.ledger
    await ledger.apply(going.message(going.ref, [given_back(4, 7), sale(5, "not an id", buyer_id="b-3")]))
    report = await going.audit()
    assert names(report) == {"parked"}
    assert report.at_rest


async def test_a_sale_on_its_way_is_green_at_every_moment(going: Sale) -> None:
    reports: list[AuditReport] = []
    selling = True

    async def sell(partition: int) -> None:
        for turn in range(60):
            ids = [f"s-{partition}-{turn}-{n}" for n in range(3)]
            await going.deduct(*((each, each, 1) for each in ids), partition=partition)
            if turn % 5 == 0:
                await going.lease(partition, 2)
            if turn % 7 == 0:
                no = (await going.stack.status(going.item, partition)).reclaim_no + 1
                await going.stack.shard.reclaim(PartitionRef(going.item.id, partition), 1, no, 1)

    async def follow(partition: int) -> None:
        while selling:
            await going.apply(partition, most=5)
            row = await going.stack.row(going.item, partition)
            await going.stack.shard.trim(row.ref, 1, row.watermark)

    async def audit() -> None:
        while selling:
            reports.append(await going.audit())

    background = [asyncio.create_task(work) for work in (follow(0), follow(1), audit(), audit())]
    await asyncio.gather(sell(0), sell(1))
    selling = False
    await asyncio.gather(*background)
    assert len(reports) > 10
    assert [str(problem) for report in reports for problem in report.problems] == []
    for partition in range(2):
        await going.apply(partition)
    last = await going.audit()
    assert last.ok
    assert last.at_rest


async def test_many_items_make_a_small_report(going: Sale) -> None:
    stack = going.stack
    for number in range(60):
        item = (await stack.ledger.create_item(spec(f"item-{number}", total=10), "durable", 0)).item
        await open_item(stack.ledger, stack.shard, stack.clock, item)
    report = await going.auditor.audit()
    assert report.ok
    assert report.items == 61
    assert report.checked > 61 * 20
    assert len(msgspec.json.encode(report)) < 20_000


async def test_a_shard_that_is_away_is_no_failed_audit(valkey: TestServer, tmp_path: Path) -> None:
    async with open_stack(valkey, tmp_path) as stack:
        item = await stack.item(total=10)
        valkey.kill()
        with pytest.raises(BackendUnavailable):
            await Auditor(stack.ledger, stack.shard).audit(item.id)
        valkey.start()
        report = await Auditor(stack.ledger, stack.shard).audit(item.id)
        assert names(report) == {"I8"}
        status = await stack.status(item)
        ref = PartitionRef(item.id, 0)
        assert await stack.shard.arm(ref, 1, status.seq, await stack.shard.memory(ref))
        assert (await Auditor(stack.ledger, stack.shard).audit(item.id)).ok
