"""Signals: they arrive, they never hold anyone up, and they outlive a server's restart."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.servers import TestServer
from tests.support.workers import Stack, open_stack, until

from hotsku.domain.events import PartitionRef
from hotsku.ports import Ask, Counted, FencedReport, Needs, News, Refill, Work
from hotsku.shard.nodes import OneNode
from hotsku.shard.signals import ValkeySignals

pytestmark = pytest.mark.anyio

REF = PartitionRef(7, 3)
NEEDS = Needs(
    engine_id="e-1",
    no=9,
    asks=[Ask(ref=REF, incarnation=1, waiting=5, smallest=2, age_ms=40)],
    refills=[Refill(ref=REF, incarnation=1, taken=100, at_ms=1_700_000_000_000)],
    counted=[Counted(ref=REF)],
    fenced=[FencedReport(ref=REF, incarnation=1, acknowledged_seq=77)],
)
NEWS = News(installed=[(REF, 40)], rearmed=[REF], item_id=7, available=0, heard={"e-1": 9})
WORK = Work(flush=[REF], applied=[(REF, 1, 77)])


@pytest.fixture
async def stack(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(module_valkey, tmp_path) as made:
        yield made


@pytest.fixture
async def other(stack: Stack) -> AsyncIterator[ValkeySignals]:
    """The signals of another process."""
    signals = ValkeySignals(OneNode(stack.client), stack.keys)
    await signals.start()
    yield signals
    await signals.close()


async def test_each_kind_arrives_whole_and_only_where_it_is_wanted(stack: Stack, other: ValkeySignals) -> None:
    needs: list[Needs] = []
    news: list[News] = []
    work: list[Work] = []
    stack.signals.subscribe(needs=needs.append, work=work.append)
    other.subscribe(news=news.append)
    await stack.signals.listening()
    await other.listening()
    other.publish(NEEDS)
    other.publish(WORK)
    stack.signals.publish(NEWS)
    await until(lambda: (needs, news, work) == ([NEEDS], [NEWS], [WORK]))


async def test_a_process_hears_itself(stack: Stack) -> None:
    news: list[News] = []
    stack.signals.subscribe(news=news.append)
    await stack.signals.listening()
    stack.signals.publish(NEWS)
    await until(lambda: news == [NEWS])


async def test_what_is_published_together_keeps_its_order(stack: Stack, other: ValkeySignals) -> None:
    heard: list[int] = []
    stack.signals.subscribe(needs=lambda needs: heard.append(needs.no))
    await stack.signals.listening()
    for number in range(300):
        other.publish(Needs(engine_id="e", no=number))
    await until(lambda: heard == list(range(300)))


async def test_a_later_subscription_counts(stack: Stack, other: ValkeySignals) -> None:
    first: list[Work] = []
    second: list[Work] = []
    news: list[News] = []
    stack.signals.subscribe(work=first.append)
    stack.signals.subscribe(work=second.append, news=news.append)
    await stack.signals.listening()
    other.publish(WORK)
    other.publish(NEWS)
    await until(lambda: (first, second, news) == ([WORK], [WORK], [NEWS]))


async def test_malformed_bodies_and_failing_handlers_are_survived(stack: Stack) -> None:
    heard: list[Work] = []

    def fail(_: Work) -> None:
        raise RuntimeError("a handler's own trouble")

    stack.signals.subscribe(work=fail)
    stack.signals.subscribe(work=heard.append)
    await stack.signals.listening()
    for body in (b"", b"\xc1", b"\x93\x01\x02\x03", b"\x81\xa5flush\x07"):
        await stack.client.publish(stack.keys.channel("work"), body)
    stack.signals.publish(WORK)
    await until(lambda: heard == [WORK])


async def test_they_survive_a_restart_and_publishing_never_fails(valkey: TestServer, tmp_path: Path) -> None:
    async with open_stack(valkey, tmp_path) as stack:
        heard: list[int] = []
        stack.signals.subscribe(needs=lambda needs: heard.append(needs.no))
        await stack.signals.listening()
        valkey.kill()
        for number in range(3_000):  # more than it queues
            stack.signals.publish(Needs(engine_id="e", no=number))
        valkey.start()

        def told_again() -> bool:
            stack.signals.publish(Needs(engine_id="e", no=-1))
            return -1 in heard

        await until(told_again)


async def test_closing_without_a_server_is_quick_and_quiet(valkey: TestServer, tmp_path: Path) -> None:
    async with open_stack(valkey, tmp_path) as stack:
        stack.signals.subscribe(work=lambda _: None)
        await stack.signals.listening()
        valkey.kill()
        stack.signals.publish(WORK)
