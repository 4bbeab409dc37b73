"""Messages that share a transaction: each is taken as if it were alone, and all of them are in the ledger or none."""

import msgspec
import pytest
from msgspec import Raw
from tests.support.databases import Database
from tests.support.ledger import NOW, books_hold, figures_of, given_back, message, open_item, sale, sales, spec

from hotsku.domain.events import CorruptMessage, Event, EventKind, Message
from hotsku.errors import ConservationBroken
from hotsku.ledger import SqlLedger, apply
from hotsku.ports import Applied

pytestmark = pytest.mark.anyio


def _many(first: int, last: int, prefix: str) -> list[Event]:
    """Sales that are enough for whatever a database does with many rows."""
    return [sale(seq, f"{prefix}-{seq}") for seq in range(first, last + 1)]


async def test_none_is_nothing(ledger: SqlLedger) -> None:
    assert await ledger.apply_all([]) == []


async def test_twice_late_early_and_overlapping(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=1_000, partitions=2), 400, 400)
    await ledger.apply(message(ledger, item.id, sales(1, 10)))

    def of(first: int, last: int, partition: int = 0) -> Message:
        return message(ledger, item.id, _many(first, last, f"p{partition}"), partition=partition)

    together = [of(5, 10), of(11, 200), of(1, 150, 1), of(11, 200), of(150, 300), of(302, 310), of(151, 160, 1)]
    assert await ledger.apply_all(together) == [
        Applied(status="skipped", watermark=10),
        Applied(status="applied", watermark=200),
        Applied(status="applied", watermark=150),
        Applied(status="skipped", watermark=200),
        Applied(status="applied", watermark=300),
        Applied(status="gap", watermark=300),
        Applied(status="applied", watermark=160),
    ]
    assert await figures_of(ledger, item.id) == (200, 400, 300, 0, 300)
    assert await figures_of(ledger, item.id, 1) == (200, 400, 160, 0, 160)
    assert [answer.status for answer in await ledger.apply_all(together)] == ["skipped"] * 5 + ["gap", "skipped"]
    await books_hold(ledger, item.id)


async def test_strangers_are_parked_and_the_others_applied(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    strangers = [
        message(ledger, item.id, sales(1, 3), ledger_id="0000000000"),
        message(ledger, item.id, sales(1, 3), incarnation=2),
        message(ledger, 2**70, sales(1, 3)),
    ]
    answers = await ledger.apply_all([strangers[0], message(ledger, item.id, sales(1, 3)), *strangers[1:]])
    assert [answer.status for answer in answers] == ["parked", "applied", "parked", "parked"]
    assert (await ledger.figures()).parked == 3
    assert await figures_of(ledger, item.id) == (50, 50, 3, 0, 3)


async def test_orders_that_were_sold_twice_give_back_whichever_message_sold_them(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=2_000, partitions=3), 600, 600, 600)
    await ledger.apply(message(ledger, item.id, [sale(1, "old", 2)]))
    first = [*_many(2, 200, "a"), sale(201, "both", 3), sale(202, "both", 4)]
    second = [*_many(1, 150, "b"), sale(151, "both", 5), sale(152, "old", 6)]
    clean = _many(1, 120, "c")
    answers = await ledger.apply_all(
        [
            message(ledger, item.id, first),
            message(ledger, item.id, second, partition=1),
            message(ledger, item.id, clean, partition=2),
        ]
    )
    assert answers == [
        Applied(status="applied", watermark=202, returned=4),
        Applied(status="applied", watermark=152, returned=11),
        Applied(status="applied", watermark=120),
    ]
    assert await figures_of(ledger, item.id) == (215, 600, 204, 4, 202)
    assert await figures_of(ledger, item.id, 1) == (215, 600, 150, 11, 152)
    assert await figures_of(ledger, item.id, 2) == (215, 600, 120, 0, 120)
    figures = await ledger.figures(item.id)
    assert (figures.doubled, figures.parked, figures.strays) == (0, 0, 0)
    await books_hold(ledger, item.id)


async def test_steps_find_the_orders_of_the_messages_before_them(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=1_000), 300)
    refund = Event(seq=151, kind=EventKind.REFUNDED, quantity=1, at=NOW, order_id="o-7")
    answers = await ledger.apply_all(
        [message(ledger, item.id, sales(1, 150)), message(ledger, item.id, [refund, given_back(152, 9), sale(153)])]
    )
    assert answers == [
        Applied(status="applied", watermark=150),
        Applied(status="applied", watermark=153, returned=10),
    ]
    detail = await ledger.order(item.id, "o-7", "")
    assert detail is not None
    assert detail.state == "refunded"
    assert (await ledger.figures()).parked == 0
    await books_hold(ledger, item.id)


async def test_an_invalid_detail_among_many_is_parked(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=1_000), 300)
    broken = [*sales(1, 150), sale(151, "no id!"), *sales(152, 160)]
    assert await ledger.apply_all([message(ledger, item.id, broken)]) == [Applied(status="applied", watermark=160)]
    figures = (await ledger.figures(item.id)).partitions[0]
    assert (figures.parked, figures.deductions.count, figures.row.applied) == (1, 159, 160)


@pytest.mark.parametrize("step", ["_rows_there", "_move_partition", "_move_pool"])
async def test_a_transaction_that_ends_in_the_middle_moves_nothing(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    item = await open_item(ledger, spec(total=1_000, partitions=2), 400, 400)
    together = [
        message(ledger, item.id, [*sales(1, 150), given_back(151, 2)]),
        message(ledger, item.id, [*sales(1, 1), *_many(2, 140, "p")], partition=1),  # the first one has o-1
    ]
    before = await ledger.figures()

    def end(*_: object) -> None:
        raise RuntimeError("the end")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="the end"):  # noqa: PT012
        patch.setattr(apply, step, end)
        await ledger.apply_all(together)
    assert await ledger.figures() == before
    assert [answer.returned for answer in await ledger.apply_all(together)] == [2, 1]
    await books_hold(ledger, item.id)


async def test_one_that_is_refused_takes_the_others_with_it(ledger: SqlLedger, database: Database) -> None:
    item = await open_item(ledger, spec(partitions=2), 500, 10)
    good = message(ledger, item.id, sales(1, 200))
    too_many = message(ledger, item.id, _many(1, 150, "p"), partition=1)
    misnumbered = msgspec.structs.replace(good, first_seq=201, last_seq=203, events=Raw(b"[]"))
    before = await ledger.figures()
    with pytest.raises(ConservationBroken, match="rolled it back"):
        await ledger.apply_all([good, too_many])
    with pytest.raises(CorruptMessage):
        await ledger.apply_all([good, misnumbered])
    assert await ledger.figures() == before
    assert database.execute("SELECT count(*) FROM deductions") == (0,)
    assert (await ledger.apply(good)).status == "applied"
