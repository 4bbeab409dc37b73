"""The applier: each event once, whatever comes twice, late, in disorder or broken."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy
from tests.support.ledger import sale, sales
from tests.support.servers import TestServer
from tests.support.workers import Stack, open_stack, until

from hotsku.domain.events import Message, PartitionRef, decode_message, encode_message
from hotsku.domain.item import Item
from hotsku.ports import Applied, Work

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stack(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(module_valkey, tmp_path) as made:
        yield made


def _body(stack: Stack, item: Item, first: int, last: int) -> bytes:
    return encode_message(stack.ledger.ledger_id, item.sku, PartitionRef(item.id, 0), 1, sales(first, last))


async def _publish(stack: Stack, item: Item, *bodies: bytes) -> None:
    for body in bodies:
        await stack.broker.publish(PartitionRef(item.id, 0), body)


async def test_a_message_moves_the_ledger_and_the_news_spreads(stack: Stack) -> None:
    item = await stack.item()
    heard: list[tuple[PartitionRef, int, int]] = []
    stack.signals.subscribe(work=lambda work: heard.extend(work.applied))
    await stack.signals.listening()
    stack.run(stack.new_applier())
    await _publish(stack, item, _body(stack, item, 1, 30))
    await until(lambda: heard == [(PartitionRef(item.id, 0), 1, 30)])
    assert await stack.applied(item) == 30
    await until(lambda: _idle(stack))


async def test_duplicates_overlaps_and_disorder(stack: Stack) -> None:
    item = await stack.item()
    applier = stack.new_applier()
    stack.run(applier)
    spans = [(1, 10), (5, 20), (11, 20), (21, 25), (1, 25), (30, 40), (26, 29), (26, 40)]
    bodies = [_body(stack, item, first, last) for first, last in spans]
    await _publish(stack, item, *bodies)
    await until(lambda: applier.counts.total() == len(spans))
    assert await stack.applied(item) == 40
    assert applier.counts == {"applied": 5, "skipped": 2, "gap": 1}
    random.Random(1).shuffle(bodies)
    await _publish(stack, item, *bodies)
    await until(lambda: applier.counts.total() == 2 * len(spans))
    assert applier.counts["skipped"] == 2 + len(spans)
    assert (await stack.ledger.standing(item.id)).sold == 40


async def test_a_gap_is_acknowledged_and_the_relay_fills_it(stack: Stack) -> None:
    item = await stack.item()
    await stack.sell(item, 100, batch=10)
    whole = await stack.shard.read(PartitionRef(item.id, 0), 1, 0, 100)
    events = [event for entry in whole for event in entry.events()]
    late = encode_message(stack.ledger.ledger_id, item.sku, PartitionRef(item.id, 0), 1, events[50:])
    await _publish(stack, item, late)
    applier = stack.new_applier()
    stack.run(applier)
    await until(lambda: applier.counts["gap"] == 1)
    assert await stack.applied(item) == 0
    stack.run(stack.new_relay())
    await until(lambda: _applied_is(stack, item, 100))


async def test_killed_between_commit_and_acknowledgement(stack: Stack) -> None:
    item = await stack.item()
    await _publish(stack, item, _body(stack, item, 1, 30), _body(stack, item, 31, 40))
    async with aclosing(stack.new_broker().consume()) as deliveries, asyncio.timeout(60):
        async for delivery in deliveries:
            assert (await stack.ledger.apply(decode_message(delivery.body))).status == "applied"
            break  # and no acknowledgement
    assert await stack.applied(item) == 30
    applier = stack.new_applier()
    stack.run(applier)
    await until(lambda: applier.counts == {"skipped": 1, "applied": 1})
    assert await stack.applied(item) == 40
    await until(lambda: _idle(stack))


@pytest.mark.parametrize("attempt", range(5))
async def test_cancelled_anywhere_and_started_again(stack: Stack, attempt: int) -> None:
    item = await stack.item()
    draw = random.Random(attempt)
    await stack.sell(item, 400, batch=20)
    stack.run(stack.new_relay())
    while await stack.applied(item) < 400:
        loop = stack.run(stack.new_applier())
        await asyncio.sleep(draw.uniform(0, 0.06))
        await loop.stop()
    standing = await stack.ledger.standing(item.id)
    assert (standing.sold, standing.actual) == (400, 9_600)


@pytest.mark.parametrize("broken", ["noise", "cut", "flipped", "misnumbered", "empty"])
async def test_a_corrupt_message_is_dropped_and_read_again_from_the_stream(stack: Stack, broken: str) -> None:
    item = await stack.item()
    await stack.sell(item, 20)
    good = _body(stack, item, 1, 20)
    misnumbered = [sale(1), sale(3)]
    body = {
        "noise": b"\x00\xff{}",
        "cut": good[:-7],
        "flipped": good.replace(b'"quantity":1', b'"quantity":2', 1),
        "misnumbered": encode_message(stack.ledger.ledger_id, item.sku, PartitionRef(item.id, 0), 1, misnumbered),
        "empty": b"",
    }[broken]
    applier = stack.new_applier()
    stack.run(applier)
    await _publish(stack, item, body)
    await until(lambda: applier.counts == {"corrupt": 1})
    assert await stack.applied(item) == 0
    stack.run(stack.new_relay())
    await until(lambda: _applied_is(stack, item, 20))
    await until(lambda: _idle(stack))


async def test_what_the_broker_spoils_on_the_way_is_read_again(stack: Stack) -> None:
    item = await stack.item()
    await stack.sell(item, 20)
    stack.run(stack.new_relay())
    await until(lambda: _has_messages(stack))
    name = stack.broker.slice_of(PartitionRef(item.id, 0))
    await stack.client.delete(name)
    await stack.client.xadd(name, {b"m": b"spoilt"})
    stack.run(stack.new_applier())
    await until(lambda: _applied_is(stack, item, 20))


async def test_a_strangers_message_is_parked_and_stops_nobody(stack: Stack) -> None:
    item = await stack.item()
    ref = PartitionRef(item.id, 0)
    applier = stack.new_applier()
    heard: list[Work] = []
    stack.signals.subscribe(work=heard.append)
    await stack.signals.listening()
    stack.run(applier)
    await _publish(stack, item, encode_message("another", item.sku, ref, 1, sales(1, 5)))
    await _publish(stack, item, encode_message(stack.ledger.ledger_id, item.sku, ref, 9, sales(1, 5)))
    await _publish(stack, item, _body(stack, item, 1, 3))
    await until(lambda: applier.counts == {"parked": 2, "applied": 1})
    assert await stack.applied(item) == 3
    await until(lambda: [work.applied for work in heard] == [[(ref, 1, 3)]])


async def test_a_message_that_the_ledger_refuses_does_not_stop_the_others(stack: Stack) -> None:
    items = [await stack.item(total=10), None]
    item = items[0]
    assert item is not None
    too_many = [sale(1, quantity=1_000)]
    applier = stack.new_applier()
    stack.run(applier)
    await _publish(stack, item, encode_message(stack.ledger.ledger_id, item.sku, PartitionRef(item.id, 0), 1, too_many))
    await until(lambda: applier.counts == {"refused": 1})
    await _publish(stack, item, _body(stack, item, 1, 2))
    await until(lambda: _applied_is(stack, item, 2))


async def test_messages_that_come_while_the_ledger_is_busy_share_a_transaction(stack: Stack, tmp_path: Path) -> None:
    item = await stack.item(partitions=2, total=1_000)
    bodies = [_body(stack, item, number, number) for number in range(1, 21)]
    wrong = encode_message(stack.ledger.ledger_id, item.sku, PartitionRef(item.id, 1), 1, [sale(1, "p", 1_000)])
    misnumbered = encode_message(stack.ledger.ledger_id, item.sku, PartitionRef(item.id, 0), 1, [sale(21), sale(23)])
    applier = stack.new_applier()
    groups: list[int] = []
    apply_all = stack.ledger.apply_all

    async def counted(messages: Sequence[Message]) -> list[Applied]:
        groups.append(len(messages))
        return await apply_all(messages)

    stack.ledger.apply_all = counted  # type: ignore[method-assign]
    heard: list[tuple[PartitionRef, int, int]] = []
    stack.signals.subscribe(work=lambda work: heard.extend(work.applied))
    await stack.signals.listening()
    with _locked(tmp_path):
        stack.run(applier)
        await _publish(stack, item, *bodies)
        await until(lambda: groups != [])
    await until(lambda: applier.counts == {"applied": 20})
    assert len(groups) < 20
    await until(lambda: heard[-1:] == [(PartitionRef(item.id, 0), 1, 20)])
    with _locked(tmp_path):
        groups.clear()
        await _publish(
            stack, item, wrong, misnumbered, *(_body(stack, item, number, number) for number in range(21, 31))
        )
        await until(lambda: groups != [])
    await until(lambda: applier.counts == {"applied": 30, "refused": 1, "corrupt": 1})
    assert await stack.applied(item) == 30
    await until(lambda: _idle(stack))


@contextmanager
def _locked(tmp_path: Path) -> Iterator[None]:
    """Somebody else writes to the ledger meanwhile."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/ledger.db")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield
            connection.exec_driver_sql("ROLLBACK")
    finally:
        engine.dispose()


async def test_a_ledger_that_is_locked_is_waited_for(stack: Stack, tmp_path: Path) -> None:
    item = await stack.item()
    applier = stack.new_applier()
    with _locked(tmp_path):
        stack.run(applier)
        await _publish(stack, item, _body(stack, item, 1, 3))
        await until(lambda: _has_pending(stack))
        assert applier.counts.total() == 0
    await until(lambda: _applied_is(stack, item, 3))


async def _applied_is(stack: Stack, item: Item, units: int) -> bool:
    return await stack.applied(item) == units


async def _idle(stack: Stack) -> bool:
    return await stack.broker.lag() == 0


async def _has_messages(stack: Stack) -> bool:
    return await stack.topic() != []


async def _has_pending(stack: Stack) -> bool:
    name = stack.broker.slice_of(PartitionRef(1, 0))
    groups = await stack.client.xinfo_groups(name)
    return bool(groups) and groups[0]["pending"] > 0
