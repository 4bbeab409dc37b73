"""Messages: twice, late, out of order, half, doubled, foreign; figures move exactly once."""

import contextlib
from itertools import count

import msgspec
import pytest
from msgspec import Raw
from sqlalchemy import Connection
from tests.support.databases import Database
from tests.support.ledger import NOW, figures_of, given_back, message, open_item, sale, sales, spec

from hotsku.domain.events import CorruptMessage, Event, PartitionRef
from hotsku.domain.item import Standing
from hotsku.errors import BackendUnavailable, ConservationBroken
from hotsku.ledger import SqlLedger, apply
from hotsku.ledger.places import Place
from hotsku.ports import Applied

pytestmark = pytest.mark.anyio


async def test_a_message_moves_rows_figures_and_watermark_together(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    events = [sale(1, "o", 3, "b", at=NOW + 5), sale(2, "o", 2, "c")]
    assert await ledger.apply(message(ledger, item.id, events)) == Applied(status="applied", watermark=2)
    assert await figures_of(ledger, item.id) == (50, 50, 5, 0, 2)
    detail = await ledger.order(item.id, "o", "b")
    assert detail is not None
    assert (detail.quantity, detail.state, detail.seq, detail.created_at_ms) == (3, "confirmed", 1, NOW + 5)
    assert await ledger.order(item.id, "o", "") is None


async def test_the_same_message_again_is_skipped(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(), 50)
    await ledger.apply(message(ledger, item.id, sales(1, 30)))
    before = await ledger.figures()
    for again in (sales(1, 30), sales(1, 7), sales(30, 30)):
        assert await ledger.apply(message(ledger, item.id, again)) == Applied(status="skipped", watermark=30)
    assert await ledger.figures() == before


async def test_of_an_overlapping_message_only_the_new_events_count(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    await ledger.apply(message(ledger, item.id, sales(1, 10)))
    assert await ledger.apply(message(ledger, item.id, sales(4, 15))) == Applied(status="applied", watermark=15)
    assert await figures_of(ledger, item.id) == (50, 50, 15, 0, 15)


async def test_a_message_that_comes_too_early_is_refused_and_taken_later(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    early = message(ledger, item.id, sales(11, 20))
    assert await ledger.apply(early) == Applied(status="gap", watermark=0)
    assert await figures_of(ledger, item.id) == (50, 50, 0, 0, 0)
    await ledger.apply(message(ledger, item.id, sales(1, 10)))
    assert (await ledger.apply(early)).status == "applied"
    assert await figures_of(ledger, item.id) == (50, 50, 20, 0, 20)


@pytest.mark.parametrize("step", ["write_orders", "insert_steps", "_move_partition", "_move_pool"])
async def test_a_transaction_that_ends_in_the_middle_moves_nothing(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    item = await open_item(ledger, spec(), 50)
    whole = message(ledger, item.id, [*sales(1, 5), given_back(6, 3)])
    before = await ledger.figures()

    def end(*_: object) -> None:
        raise RuntimeError("the end")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="the end"):  # noqa: PT012
        patch.setattr(apply, step, end)
        await ledger.apply(whole)
    assert await ledger.figures() == before
    assert await ledger.order(item.id, "o-1", "") is None
    assert await ledger.apply(whole) == Applied(status="applied", watermark=6, returned=3)


@pytest.mark.parametrize(("losses", "moved"), [(1, 5), (99, 0)])
async def test_a_transaction_that_lost_a_race_is_made_again_but_not_for_ever(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch, losses: int, moved: int
) -> None:
    item = await open_item(ledger, spec(), 50)
    move, lost = apply._move_partition, count()

    def lose(connection: Connection, place: Place) -> None:
        move(connection, msgspec.structs.replace(place, watermark=place.watermark - (next(lost) < losses)))

    monkeypatch.setattr(apply, "_move_partition", lose)
    with contextlib.suppress(BackendUnavailable):
        await ledger.apply(message(ledger, item.id, sales(1, 5)))
    assert await figures_of(ledger, item.id) == (9_950, 50, moved, 0, moved)
    assert (await ledger.figures()).partitions[0].deductions.count == moved


async def test_units_that_a_partition_gave_back_are_in_the_pool(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    applied = await ledger.apply(message(ledger, item.id, [sale(1), given_back(2, 9), sale(3)]))
    assert applied == Applied(status="applied", watermark=3, returned=9)
    assert await figures_of(ledger, item.id) == (59, 50, 2, 9, 3)
    assert await ledger.standing(item.id) == Standing(total=100, pool=59, preallocated=39, sold=2)


async def test_an_order_that_another_seq_has_sold_gives_its_units_back(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=100, partitions=2), 20, 20)
    await ledger.apply(message(ledger, item.id, [sale(1, "o", 3)]))
    again = message(ledger, item.id, [sale(1, "p", 1), sale(2, "o", 4), sale(3, "p", 2), sale(4, "q", 1)], partition=1)
    assert await ledger.apply(again) == Applied(status="applied", watermark=4, returned=6)
    assert await figures_of(ledger, item.id, 1) == (66, 20, 2, 6, 4)
    assert await ledger.standing(item.id) == Standing(total=100, pool=66, preallocated=29, sold=5)
    figures = await ledger.figures(item.id)
    assert (figures.doubled, figures.parked, figures.strays) == (0, 0, 0)
    assert (figures.partitions[1].deductions.quantity, figures.partitions[1].in_steps.rebooked) == (2, 6)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (sale(2, quantity=1_000_000_001), "quantity must be"),
        (sale(2, quantity=0), "quantity must be"),
        (sale(2, "x" * 65), "order_id must be"),
        (sale(2, ""), "order_id must be"),
        (sale(2, "a\x00b"), "order_id must be"),
        (sale(2, "läuft"), "order_id must be"),
        (sale(2, buyer_id="{}"), "buyer_id must be"),
        (sale(2, at=10**18), "at must be"),
        (sale(2, at=-1), "at must be"),
        (given_back(2, 1_000_000_001), "quantity must be"),
    ],
)
async def test_a_detail_that_cannot_be_stored_is_parked_and_its_figures_move(
    ledger: SqlLedger, database: Database, event: Event, reason: str
) -> None:
    total = 4_000_000_000
    item = await open_item(ledger, spec(total=1_000_000_000), 1)
    database.execute(f"UPDATE items SET total = {total}, pool = {total - 2_000_000_000}")
    database.execute("UPDATE partitions SET granted = 2000000000")
    # "a" is what a careless reader would make of an id that goes on after a NUL.
    applied = await ledger.apply(message(ledger, item.id, [sale(1, "a"), event, sale(3)]))
    back = event.quantity if event.kind == "returned" else 0
    taken = 2 + (0 if back else event.quantity)
    assert applied == Applied(status="applied", watermark=3, returned=back)
    assert await figures_of(ledger, item.id) == (total - 2_000_000_000 + back, 2_000_000_000, taken, back, 3)
    figures = (await ledger.figures(item.id)).partitions[0]
    assert (figures.parked, figures.deductions.count, figures.steps.count) == (1, 2, 0)
    assert reason in str(database.execute("SELECT reason FROM parked WHERE seq = 2")[0])


async def test_a_message_of_another_ledger_is_parked_once(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(), 50)
    for _ in range(2):
        foreign = message(ledger, item.id, sales(1, 3), ledger_id="0000000000")
        assert await ledger.apply(foreign) == Applied(status="parked", watermark=0)
    figures = await ledger.figures()
    assert figures.parked == 1
    assert (figures.partitions[0].parked, figures.partitions[0].row.watermark) == (0, 0)


@pytest.mark.parametrize(("item", "partition", "incarnation"), [(9, 0, 1), (1, 1, 1), (1, 0, 2), (2**70, 0, 1)])
async def test_a_message_of_no_known_partition_is_parked(
    ledger: SqlLedger, item: int, partition: int, incarnation: int
) -> None:
    await open_item(ledger, spec(), 50)
    stray = message(ledger, item, sales(1, 3), partition=partition, incarnation=incarnation)
    assert (await ledger.apply(stray)).status == "parked"
    assert (await ledger.figures()).parked == 1


async def test_a_body_is_parked_once(ledger: SqlLedger) -> None:
    for body in (b"\xff\x00", b"\xff\x00", b"{}"):
        await ledger.park(body, "not a message", NOW)
    assert (await ledger.figures()).parked == 2


async def test_events_that_are_not_numbered_as_the_message_says_are_corrupt(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(), 50)
    good = message(ledger, item.id, sales(1, 3))
    for events in (b'[{"seq":1,"kind":"deducted","quantity":1,"at":1}]', b"[1]"):
        with pytest.raises(CorruptMessage):
            await ledger.apply(msgspec.structs.replace(good, events=Raw(events)))
    assert (await figures_of(ledger, item.id))[-1] == 0


@pytest.mark.parametrize("quantity", [51, 10**18, 10**30])
async def test_more_than_was_granted_is_refused_loudly_and_moves_nothing(ledger: SqlLedger, quantity: int) -> None:
    item = await open_item(ledger, spec(), 50)
    before = await ledger.figures()
    with pytest.raises(ConservationBroken, match="rolled it back"):
        await ledger.apply(message(ledger, item.id, [sale(1, quantity=quantity)]))
    assert await ledger.figures() == before


async def test_a_fenced_partition_still_follows_its_stream(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(), 50)
    await ledger.fence_partition(PartitionRef(item.id, 0), 1, "lost its memory")
    assert (await ledger.apply(message(ledger, item.id, sales(1, 3)))).status == "applied"


async def test_a_large_message_is_applied(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(), 6_000)
    assert (await ledger.apply(message(ledger, item.id, sales(1, 5_000)))).watermark == 5_000
    assert (await ledger.standing(item.id)).sold == 5_000
