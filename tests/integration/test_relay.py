"""The relay: two triggers, each on its own, and nothing lost whatever the broker forgets."""

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest
from tests.support.servers import TestServer
from tests.support.workers import NEVER_MS, Stack, open_stack, until

from hotsku.domain.events import PartitionRef, decode_events, decode_message
from hotsku.ports import Counted, Fenced, Lost, Needs, Work

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stack(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(module_valkey, tmp_path) as made:
        yield made


def _counted(item_id: int) -> Needs:
    return Needs(engine_id="e", no=1, counted=[Counted(ref=PartitionRef(item_id, 0))])


async def test_the_count_publishes_without_the_timer(stack: Stack) -> None:
    item = await stack.item()
    await stack.sell(item, 50)
    relay = stack.new_relay(interval_ms=NEVER_MS)
    stack.run(relay)
    await stack.signals.listening()
    await relay.drain(0)  # it has looked once, and published
    await stack.sell(item, 70)
    stack.signals.publish(_counted(item.id))
    await until(lambda: _published(stack, 120))


async def test_the_time_publishes_without_a_count(stack: Stack) -> None:
    item = await stack.item()
    stack.run(stack.new_relay())
    await stack.sell(item, 1)
    await until(lambda: _published(stack, 1))


async def test_a_flush_publishes_whatever_the_count(stack: Stack) -> None:
    item = await stack.item()
    stack.run(stack.new_relay(interval_ms=NEVER_MS, upkeep_ms=NEVER_MS))
    await stack.signals.listening()
    await stack.sell(item, 1)
    stack.signals.publish(Work(flush=[PartitionRef(item.id, 0)]))
    await until(lambda: _published(stack, 1))


async def test_what_is_counted_while_the_relay_rests_goes_out_together(stack: Stack) -> None:
    """A message and its transaction cost what a hundred events cost."""
    item = await stack.item()
    stack.run(stack.new_relay(interval_ms=NEVER_MS, upkeep_ms=NEVER_MS, rest_ms=NEVER_MS))
    await stack.signals.listening()
    for number in range(1, 11):
        await stack.sell(item, 10)
        stack.signals.publish(_counted(item.id))
        if number == 1:
            await until(lambda: _published(stack, 10))
    stack.signals.publish(Work(flush=[PartitionRef(item.id, 0)]))
    await until(lambda: _published(stack, 100))
    assert [decode_message(body).last_seq for body in await stack.topic()] == [10, 100]


async def test_a_flush_does_not_wait_for_the_rest(stack: Stack) -> None:
    item = await stack.item()
    stack.run(stack.new_relay(interval_ms=NEVER_MS, upkeep_ms=NEVER_MS, rest_ms=NEVER_MS))
    await stack.signals.listening()
    for number in (1, 2, 3):
        await stack.sell(item, 1)
        stack.signals.publish(Work(flush=[PartitionRef(item.id, 0)]))
        await until(lambda n=number: _published(stack, n))  # type: ignore[misc]


async def test_what_the_window_held_up_does_not_wait_for_the_rest(stack: Stack) -> None:
    """Or a backlog would take as many rests as it has windows."""
    item = await stack.item(total=100_000)
    await stack.sell(item, 60_000, batch=1000)
    relay = stack.new_relay(interval_ms=NEVER_MS, upkeep_ms=NEVER_MS, rest_ms=NEVER_MS)
    stack.run(relay)
    await stack.signals.listening()
    stack.signals.publish(_counted(item.id))
    await until(lambda: _published(stack, 40_000))
    stack.run(stack.new_applier())
    await until(lambda: _is(stack.applied(item, 0), 60_000))


async def test_the_count_triggers_and_does_not_cap(stack: Stack) -> None:
    item = await stack.item(total=40_000)
    await stack.sell(item, 6_000, batch=1000)
    stack.run(stack.new_relay(resend_after_ms=NEVER_MS))
    await until(lambda: _published(stack, 6_000))
    messages = [decode_message(body) for body in await stack.topic()]
    assert [(m.first_seq, m.last_seq) for m in messages] == [(1, 5000), (5001, 6000)]
    events = [event for message in messages for event in decode_events(message)]
    assert [event.seq for event in events] == list(range(1, 6001))
    assert len({event.order_id for event in events}) == 6_000


async def test_everything_reaches_the_ledger_and_is_trimmed(stack: Stack) -> None:
    item = await stack.item(partitions=3)
    stack.run(stack.new_relay(), stack.new_applier())
    for partition in range(3):
        await stack.sell(item, 250 + partition, partition)
    for partition in range(3):
        await until(lambda p=partition: _is(stack.applied(item, p), 250 + p))  # type: ignore[misc]
        await until(lambda p=partition: _is(_trimmed(stack, item.id, p), 250 + p))  # type: ignore[misc]
        assert await stack.shard.read(PartitionRef(item.id, partition), 1, 0, 10) == []
    assert (await stack.ledger.standing(item.id)).sold == 753


async def test_only_the_ledgers_watermark_trims(stack: Stack) -> None:
    item = await stack.item()
    await stack.sell(item, 10)
    relay = stack.new_relay()
    loop = stack.run(relay)
    await until(lambda: _published(stack, 10))
    # Published, also claimed to be applied, but the ledger does not have it.
    stack.signals.publish(Work(applied=[(PartitionRef(item.id, 0), 1, 10)]))
    await stack.sell(item, 1)
    await until(lambda: _published(stack, 11))
    await loop.stop()
    assert (await stack.status(item)).trimmed == 0
    assert len(await stack.shard.read(PartitionRef(item.id, 0), 1, 0, 10)) == 2


async def test_a_broker_that_forgets_everything_is_told_again(stack: Stack) -> None:
    item = await stack.item(partitions=2)
    stack.run(stack.new_relay())
    for partition in range(2):
        await stack.sell(item, 300, partition)
    await until(lambda: _published(stack, 600))
    await stack.client.delete(*stack.slices)
    stack.run(stack.new_applier())
    for partition in range(2):
        await until(lambda p=partition: _is(stack.applied(item, p), 300))  # type: ignore[misc]


async def test_two_relays_and_two_appliers_do_no_harm(stack: Stack) -> None:
    item = await stack.item(partitions=2)
    relays = [stack.new_relay(interval_ms=5), stack.new_relay(interval_ms=7)]
    stack.run(*relays, stack.new_applier(), stack.new_applier())
    for _ in range(10):
        for partition in range(2):
            await stack.sell(item, 40, partition, batch=15)
    for partition in range(2):
        await until(lambda p=partition: _is(stack.applied(item, p), 400))  # type: ignore[misc]
    standing = await stack.ledger.standing(item.id)
    assert (standing.sold, standing.actual) == (800, 9_200)


async def test_a_lost_stream_fences_the_partition(stack: Stack) -> None:
    item = await stack.item()
    await stack.sell(item, 10)
    await stack.client.delete(stack.keys.partition(PartitionRef(item.id, 0)).stream)
    with pytest.raises(Fenced):
        await stack.sell(item, 5)
    assert await _unarmed(stack, item.id)
    stack.run(stack.new_relay())
    await until(lambda: _is(_state(stack, item.id), "fenced"))
    assert await stack.topic() == []


async def test_a_lost_end_of_a_stream_fences_the_partition_though_nothing_waits(stack: Stack) -> None:
    item = await stack.item()
    await stack.sell(item, 10)
    await stack.client.delete(stack.keys.partition(PartitionRef(item.id, 0)).stream)
    stack.run(stack.new_relay())
    await until(lambda: _is(_state(stack, item.id), "fenced"))


async def test_a_hole_in_a_stream_fences_the_partition(stack: Stack) -> None:
    item = await stack.item()
    await stack.sell(item, 30, batch=10)
    await stack.client.xdel(stack.keys.partition(PartitionRef(item.id, 0)).stream, "1-20")
    stack.run(stack.new_relay(), stack.new_applier())
    await until(lambda: _is(_state(stack, item.id), "fenced"))


async def test_a_stream_that_another_relay_trimmed_is_no_loss(stack: Stack) -> None:
    item = await stack.item()
    # This one knows the partition at watermark 0, and then hears nothing of the ledger.
    behind = stack.new_relay(interval_ms=NEVER_MS, upkeep_ms=NEVER_MS)
    await stack.sell(item, 10)
    await behind.drain(0)
    ahead = stack.run(stack.new_relay(), stack.new_applier())
    await stack.sell(item, 10)
    await until(lambda: _is(_trimmed(stack, item.id, 0), 20))
    await ahead.stop()
    await stack.sell(item, 10)
    stack.run(behind, stack.new_applier())
    await until(lambda: _is(stack.applied(item), 30))
    assert await _state(stack, item.id) == "open"


async def test_a_drain_ends_when_the_ledger_has_it_all(stack: Stack) -> None:
    item = await stack.item(partitions=2)
    relay = stack.new_relay(interval_ms=NEVER_MS)
    stack.run(relay, stack.new_applier())
    await stack.sell(item, 400, 0)
    await stack.sell(item, 300, 1)
    assert await relay.drain(60_000) == []
    assert (await stack.ledger.standing(item.id)).sold == 700


async def test_a_drain_says_what_is_left(stack: Stack) -> None:
    item = await stack.item(partitions=2)
    await stack.sell(item, 4, 1)
    assert await stack.new_relay(resend_after_ms=NEVER_MS).drain(50) == [PartitionRef(item.id, 1)]
    assert len(await stack.topic()) == 1


async def test_it_goes_on_after_the_server_restarts(valkey: TestServer, tmp_path: Path) -> None:
    async with open_stack(valkey, tmp_path) as stack:
        item = await stack.item()
        stack.run(stack.new_relay(), stack.new_applier(), stack.new_recoverer())
        await stack.sell(item, 100)
        valkey.restart()
        await until(lambda: _armed(stack, item.id))
        await stack.sell(item, 100)
        await until(lambda: _is(stack.applied(item), 200))


async def _published(stack: Stack, last_seq: int) -> bool:
    """Are so many events in the broker, or was the last seq (with several partitions: their sum)?"""
    last: dict[PartitionRef, int] = {}
    for body in await stack.topic():
        message = decode_message(body)
        last[message.ref] = max(message.last_seq, last.get(message.ref, 0))
    return sum(last.values()) == last_seq


async def _trimmed(stack: Stack, item_id: int, partition: int) -> int:
    return (await stack.shard.status(PartitionRef(item_id, partition))).trimmed


async def _state(stack: Stack, item_id: int) -> str:
    row = await stack.ledger.partition(PartitionRef(item_id, 0))
    return row.state if row is not None else ""


async def _armed(stack: Stack, item_id: int) -> bool:
    try:
        return (await stack.shard.status(PartitionRef(item_id, 0))).armed
    except Lost:
        return False


async def _unarmed(stack: Stack, item_id: int) -> bool:
    return not await _armed(stack, item_id)


async def _is(answer: Awaitable[object], expected: object) -> bool:
    return bool(await answer == expected)
