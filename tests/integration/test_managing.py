"""Items that are paused, resumed, closed and restocked while they sell: wherever a crash or a race comes between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.cutting import Between, Crash, Scissors
from tests.support.engines import Bench, accepted_units, open_bench, outcomes
from tests.support.ledger import spec
from tests.support.orders import Caller
from tests.support.servers import TestServer
from tests.support.workers import Stack, open_stack, until

from hotsku.domain.deduction import Deduction, Outcome
from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item
from hotsku.domain.routing import home
from hotsku.errors import BackendUnavailable, IdempotencyConflict, InvalidRequest, UnknownItem
from hotsku.managing import Management, StateChange
from hotsku.ports import Grant, Ledger, Shard
from hotsku.stocking import open_item
from hotsku.workers.auditor import Auditor
from hotsku.workers.renewal import Renewal

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stack(valkey: TestServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(valkey, tmp_path) as made:
        yield made


@pytest.fixture
async def bench(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(module_valkey, tmp_path) as made:
        yield made


@pytest.fixture
def caller(stack: Stack) -> Caller:
    return Caller(stack.ledger, stack.shard)


def _management(
    stack: Stack, scissors: Scissors | None = None, *, reach_ms: int = 0, patience_ms: int = 60_000
) -> Management:
    cut = scissors or Scissors()
    return Management(
        cut.on(stack.ledger),
        cut.on(stack.shard),
        stack.signals,
        stack.clock,
        reach_ms=reach_ms,
        patience_ms=patience_ms,
    )


def _at(partition: int, partitions: int, nth: int = 0) -> str:
    """An order whose home is that partition."""
    names = [f"o-{n}" for n in range(2_000) if home(f"o-{n}", "", partitions) == partition]
    return names[nth]


async def _audited(stack: Stack) -> None:
    report = await Auditor(stack.ledger, stack.shard).audit()
    assert report.ok, report.problems


async def _known(stack: Stack, item: Item) -> Item:
    known = await stack.ledger.item_by_id(item.id)
    assert known is not None
    return known


# --- pause and resume ---


async def test_a_paused_item_sells_nothing_and_its_orders_go_on(stack: Stack, caller: Caller) -> None:
    item = await stack.item(partitions=3)
    orders = [_at(n, 3) for n in range(3)]
    for order in orders:
        assert await caller.hold(item, order) == "A"
    management = _management(stack)
    assert await management.pause(item) == StateChange(sku="sneaker", state="paused")
    for n, order in enumerate(orders):
        assert await caller.deduct(item, _at(n, 3, 1)) == "P"
        assert await caller.hold(item, order) == "R"
        assert await caller.step(item, "confirm", order) == "A"
    assert await management.pause(item) == StateChange(sku="sneaker", state="paused")
    assert (await _known(stack, item)).version == 2
    assert await management.resume(item) == StateChange(sku="sneaker", state="open")
    assert [await caller.deduct(item, _at(n, 3, 1)) for n in range(3)] == ["A", "A", "A"]


async def test_partitions_that_may_sell_on_are_named_and_get_it_before_they_do(stack: Stack, caller: Caller) -> None:
    item = await stack.item(partitions=3)
    await stack.shard.disarm(PartitionRef(item.id, 1), 1, seal=True)
    change = await _management(stack).pause(item)
    assert change == StateChange(sku="sneaker", state="paused", unreachable=[1])
    await stack.new_recoverer().look()
    assert await caller.deduct(item, _at(1, 3)) == "P"


async def test_a_partition_that_restarts_is_waited_for(stack: Stack, caller: Caller) -> None:
    item = await stack.item(partitions=3)
    stack.server.kill()
    pausing = asyncio.create_task(_management(stack, reach_ms=60_000).pause(item))
    stack.server.start()
    stack.run(stack.new_recoverer())
    assert await pausing == StateChange(sku="sneaker", state="paused")
    assert [await caller.deduct(item, _at(n, 3)) for n in range(3)] == ["P"] * 3


async def test_without_any_shard_all_partitions_are_named(stack: Stack) -> None:
    item = await stack.item(partitions=2)
    stack.server.kill()
    assert (await _management(stack).pause(item)).unreachable == [0, 1]
    stack.server.start()
    assert (await _management(stack).pause(item)).unreachable == [0, 1], "not armed yet"
    stack.run(stack.new_recoverer(), stack.new_reaper())

    async def both() -> bool:
        return [(await stack.status(item, n)).version for n in range(2)] == [2, 2]

    await until(both)


@pytest.mark.parametrize(("durability", "named"), [("durable", []), ("replicated", [0]), ("fast", [0])])
async def test_a_partition_whose_older_server_may_still_sell_is_named(
    stack: Stack, durability: str, named: list[int]
) -> None:
    item = (await stack.ledger.create_item(spec(total=1_000, partitions=1), durability, 0)).item
    await open_item(stack.ledger, stack.shard, stack.clock, item)
    await stack.client.flushall()
    await stack.ledger.fence_partition(PartitionRef(item.id, 0), 1, "promoted")
    assert (await _management(stack, reach_ms=100).pause(item)).unreachable == named


async def test_who_opens_an_item_with_an_older_look_at_it_opens_it_paused(stack: Stack, caller: Caller) -> None:
    looked = (await stack.ledger.create_item(spec(total=1_000, partitions=2), "durable", 0)).item
    assert (await _management(stack).pause(looked)).unreachable == []
    await open_item(stack.ledger, stack.shard, stack.clock, looked)
    assert [await caller.deduct(looked, _at(n, 2)) for n in range(2)] == ["P", "P"]


@pytest.mark.parametrize("after", ["memory", "begin"])
async def test_who_pauses_an_item_that_another_begins_dies_at_once(stack: Stack, caller: Caller, after: str) -> None:
    """The ledger has it, no partition does: it is not opened for sale all the same."""
    item = (await stack.ledger.create_item(spec(total=1_000, partitions=2), "durable", 0)).item
    between: Between[Shard] = Between(after, lambda: stack.ledger.set_item_state(item.id, "paused"))
    await open_item(stack.ledger, between.on(stack.shard), stack.clock, item)
    assert [await caller.deduct(item, _at(n, 2)) for n in range(2)] == ["P", "P"]


@pytest.mark.parametrize("state", ["paused", "closed"])
@pytest.mark.parametrize("after", ["memory", "partitions", "begin"])
async def test_an_item_is_paused_while_another_begins_it(stack: Stack, caller: Caller, after: str, state: str) -> None:
    """The other has read the item before, and may have begun a partition with that."""
    item = (await stack.ledger.create_item(spec(total=1_000, partitions=2), "durable", 0)).item
    management = _management(stack)
    unreachable: list[int] = []

    async def change() -> None:
        done = await (management.pause(item) if state == "paused" else management.close(item))
        unreachable.extend(done.unreachable)

    between: Between[Shard] = Between(after, change)
    ledger: Ledger = stack.ledger
    if after == "partitions":
        ledger = Between[Ledger](after, change).on(ledger)
    await open_item(ledger, between.on(stack.shard), stack.clock, item)
    assert unreachable == []
    codes = [await caller.deduct(item, _at(n, 2)) for n in range(2)]
    assert codes == (["P", "P"] if state == "paused" else ["C", "C"])
    assert (await _known(stack, item)).version == 2


@pytest.mark.parametrize("after", ["item_by_id", "renew", "load", "finish"])
async def test_an_item_is_paused_while_a_partition_is_renewed(stack: Stack, caller: Caller, after: str) -> None:
    item = await stack.item()
    await caller.deduct(item, "a")
    relay, applier = stack.new_relay(), stack.new_applier()
    loop = stack.run(relay, applier)
    assert await relay.drain(60_000) == []
    await loop.stop()
    ref = PartitionRef(item.id, 0)
    await stack.client.flushall()
    await stack.ledger.fence_partition(ref, 1, "lost")
    unreachable: list[int] = []

    async def pause() -> None:
        unreachable.extend((await _management(stack).pause(item)).unreachable)

    ledger: Ledger = stack.ledger
    shard: Shard = stack.shard
    if after == "item_by_id":
        ledger = Between[Ledger](after, pause).on(ledger)
    else:
        shard = Between[Shard](after, pause).on(shard)
    renewal = Renewal(
        shard, ledger, stack.signals, stack.clock, durability_of_new=lambda: "durable", quarantine_ms=60_000
    )
    assert await renewal.close(await stack.row(item), proven=False)
    assert await renewal.rebuild(ref)
    assert unreachable == []
    assert await caller.deduct(item, "b") == "P"
    assert await caller.deduct(item, "a") == "R"


async def test_engines_hear_paused_and_buy_again(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 1_000, partitions=3)
    assert (await engine.pause("sku")).unreachable == []
    answers = await asyncio.gather(*(engine.deduct("sku", order_id=f"o-{n}") for n in range(20)))
    assert outcomes(answers) == {"paused": 20}
    assert (await engine.item("sku")).state == "paused"
    await engine.resume("sku")
    answers = await asyncio.gather(*(engine.deduct("sku", order_id=f"o-{n}") for n in range(20)))
    assert outcomes(answers) == {"accepted": 20}
    with pytest.raises(UnknownItem):
        await engine.pause("other")


# --- close ---


async def _sold_out_of(stack: Stack, item: Item) -> tuple[int, int, int, int]:
    standing = await stack.ledger.standing(item.id)
    return standing.pool, standing.preallocated, standing.held, standing.sold


async def test_a_closed_item_has_all_that_is_unsold_in_its_pool(stack: Stack, caller: Caller) -> None:
    item = await stack.item(total=1_000, partitions=3)
    stack.run(stack.new_relay(), stack.new_applier())
    for n in range(3):
        assert await caller.hold(item, *[_at(n, 3, k) for k in range(3)], quantity=2) == "AAA"
        assert await caller.deduct(item, _at(n, 3, 3), quantity=5) == "A"
        assert await caller.step(item, "begin_payment", _at(n, 3), 60_000) == "A"
        assert await caller.hold(item, _at(n, 3, 4), cart=True) == "A"
    management = _management(stack)
    assert await management.close(item) == StateChange(sku="sneaker", state="closed")
    assert await _sold_out_of(stack, item) == (1_000 - 15 - 6 - 3, 0, 9, 15)
    for n in range(3):
        assert await caller.deduct(item, _at(n, 3, 5)) == "C"
        assert await caller.deduct(item, _at(n, 3, 3), quantity=5) == "R"
        states = [await caller.state(item, _at(n, 3, k)) for k in range(5)]
        assert states == ["held", "released", "released", "confirmed", "held"]
    # What was in payment ends by itself, one way or the other.
    assert await caller.step(item, "confirm", _at(0, 3), "pay") == "A"
    assert await caller.step(item, "release", _at(1, 3)) == "A"
    stack.run(stack.new_reaper())

    async def returned() -> bool:
        return await _sold_out_of(stack, item) == (1_000 - 17 - 2 - 3, 0, 5, 17)

    await until(returned)
    await _audited(stack)
    with pytest.raises(InvalidRequest, match="sku must be that of an item that is not closed"):
        await management.resume(item)
    with pytest.raises(InvalidRequest, match="sku must be that of an item that is not closed"):
        await management.restock(item, 5, "a-1")


async def test_a_close_that_was_cut_off_anywhere_is_finished_by_the_next(stack: Stack, caller: Caller) -> None:
    """And a lease that was made before, and is not installed yet, comes back as well."""
    stack.run(stack.new_relay(), stack.new_applier())
    after, ended = 1, False
    while not ended:
        made = (await stack.ledger.create_item(spec(sku=f"s-{after}", total=100, partitions=2), "durable", 0)).item
        await open_item(stack.ledger, stack.shard, stack.clock, made)
        for n in range(2):
            await caller.hold(made, _at(n, 2), quantity=3)
            await caller.deduct(made, _at(n, 2, 1), quantity=4)
        rows = await stack.ledger.partitions(made.id)
        assert await stack.ledger.lease([Grant(rows[0].ref, 1, rows[0].lease_no, 7)], 0)
        scissors = Scissors(after)
        try:
            await _management(stack, scissors).close(made)
            ended = True
        except Crash:
            pass
        assert await _management(stack).close(made) == StateChange(sku=made.sku, state="closed")
        assert await _sold_out_of(stack, made) == (92, 0, 0, 8)
        after += 3
    assert after > 9
    await _audited(stack)


async def test_a_close_while_everybody_buys(bench: Bench) -> None:
    await bench.workers()
    await bench.workers(["replenisher", "reaper"])
    engines = [await bench.engine() for _ in range(2)]
    await engines[0].create_item("sku", 5_000, partitions=4)
    answers: list[Deduction] = []

    async def buy(n: int) -> None:
        for k in range(1_000):
            answers.append(await engines[n % 2].deduct("sku", 1 + k % 3, order_id=f"o-{n}-{k}"))
            if answers[-1].outcome is Outcome.CLOSED:
                return

    async with asyncio.TaskGroup() as group:
        for n in range(20):
            group.create_task(buy(n))
        await until(lambda: len(answers) > 300)
        change = await engines[1].close_item("sku")
    assert change == StateChange(sku="sku", state="closed")
    sold = accepted_units(answers)
    assert set(outcomes(answers)) == {"accepted", "closed"}
    assert outcomes(answers)["closed"] == 20
    await bench.settled("sku", sold)
    view = await engines[0].item("sku")
    assert (view.pool, view.preallocated, view.sold, view.state) == (5_000 - sold, 0, sold, "closed")
    assert (await engines[0].deduct("sku", 1, order_id="late")).outcome is Outcome.CLOSED
    assert (await engines[0].reserve("sku", 1, order_id="late-too")).outcome is Outcome.CLOSED


async def test_what_cannot_be_reached_is_told_and_comes_back_later(stack: Stack) -> None:
    item = await stack.item(total=1_000, partitions=2)
    stack.run(stack.new_relay(), stack.new_applier())
    await stack.shard.disarm(PartitionRef(item.id, 1), 1, seal=True)
    there = (await stack.status(item, 1)).left
    change = await _management(stack).close(item)
    assert change == StateChange(sku="sneaker", state="closed", unreachable=[1], outstanding=there)
    await stack.new_recoverer().look()
    assert await _management(stack).close(item) == StateChange(sku="sneaker", state="closed")
    assert (await stack.ledger.standing(item.id)).pool == 1_000


async def test_what_could_not_be_reached_comes_back_by_itself(stack: Stack, caller: Caller) -> None:
    """Its holds and its stock, as if it had been there; also a lease that it has not heard of."""
    item = await stack.item(total=1_000, partitions=2)
    stack.run(stack.new_relay(), stack.new_applier())
    assert await caller.hold(item, _at(1, 2), _at(1, 2, 1), quantity=2) == "AA"
    assert await caller.step(item, "begin_payment", _at(1, 2), 600_000) == "A"
    ref = PartitionRef(item.id, 1)
    await stack.shard.disarm(ref, 1, seal=True)
    rows = await stack.ledger.partitions(item.id)
    assert await stack.ledger.lease([Grant(ref, 1, rows[1].lease_no, 7)], 0)
    assert (await _management(stack).close(item)).unreachable == [1]
    stack.run(stack.new_reaper(), stack.new_recoverer())

    async def returned() -> bool:
        return await _sold_out_of(stack, item) == (998, 0, 2, 0)

    await until(returned)
    assert [await caller.state(item, _at(1, 2, k)) for k in range(2)] == ["held", "released"]
    await _audited(stack)


async def test_where_the_ledger_does_not_move_the_answer_says_so(stack: Stack) -> None:
    item = await stack.item(total=100, partitions=1)
    change = await _management(stack, patience_ms=50).close(item)
    assert (change.unreachable, change.outstanding) == ([], 100 - (await stack.ledger.standing(item.id)).pool)
    assert change.outstanding > 0


# --- restock ---


async def test_new_units_reach_buyers_at_once(bench: Bench) -> None:
    await bench.workers()
    engines = [await bench.engine() for _ in range(2)]
    await engines[0].create_item("sku", 5, partitions=2)
    answers = await asyncio.gather(*(engines[0].deduct("sku", order_id=f"o-{n}") for n in range(9)))
    assert outcomes(answers) == {"accepted": 5, "sold_out": 4}
    await bench.settled("sku", 5)
    views = [await engines[1].restock("sku", 10, "more-1") for _ in range(2)]
    assert [(view.total, view.sold, view.actual) for view in views] == [(15, 5, 10)] * 2
    with pytest.raises(IdempotencyConflict, match="more-1"):
        await engines[1].restock("sku", 11, "more-1")

    async def bought() -> bool:
        return (await engines[0].deduct("sku", order_id="x")).outcome is Outcome.ACCEPTED

    await until(bought)
    answers = await asyncio.gather(*(engines[n % 2].deduct("sku", order_id=f"p-{n}") for n in range(12)))
    assert outcomes(answers) == {"accepted": 9, "sold_out": 3}
    await bench.settled("sku", 15)


async def test_units_that_go_are_taken_from_the_partitions(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 1_000, partitions=4)
    await engine.reserve("sku", 30, order_id="h")
    await engine.deduct("sku", 70, order_id="d")
    view = await engine.restock("sku", -880, "less-1")
    assert view.total == 120
    await bench.settled("sku", 70)
    view = await engine.item("sku")
    assert (view.held, view.sold, view.actual) == (30, 70, 20)
    with pytest.raises(InvalidRequest, match="quantity must be at most 20 fewer; all others are sold or held"):
        await engine.restock("sku", -21, "less-2")
    assert (await engine.restock("sku", -880, "less-1")).total == 120
    assert (await engine.restock("sku", -20, "less-2")).total == 100
    assert (await engine.deduct("sku", 1, order_id="none")).outcome is Outcome.SOLD_OUT
    await engine.release("sku", order_id="h")
    assert (await engine.audit()).ok


@pytest.mark.parametrize("quantity", [0, True, 1.0, "5", 10**9 + 1, -(10**9) - 1])
async def test_a_quantity_that_is_none(stack: Stack, quantity: object) -> None:
    item = await stack.item()
    with pytest.raises(InvalidRequest, match="quantity must be an integer"):
        await _management(stack).restock(item, quantity, "a")  # type: ignore[arg-type]


async def test_while_everybody_buys_no_restock_goes_below_what_is_sold(bench: Bench) -> None:
    await bench.workers()
    await bench.workers(["replenisher"])
    engines = [await bench.engine() for _ in range(2)]
    await engines[0].create_item("sku", 2_000, partitions=4)
    answers: list[Deduction] = []
    changed = 0

    async def buy(n: int) -> None:
        for k in range(60):
            answer = await engines[n % 2].deduct("sku", 1, order_id=f"o-{n}-{k}")
            answers.append(answer)

    async def shrink(n: int) -> None:
        nonlocal changed
        for k in range(4):
            with suppress(InvalidRequest):
                await engines[n].restock("sku", -150, f"less-{n}-{k}")
                changed -= 150
            await engines[n].restock("sku", 40, f"more-{n}-{k}")
            changed += 40

    async with asyncio.TaskGroup() as group:
        for n in range(20):
            group.create_task(buy(n))
        for n in range(2):
            group.create_task(shrink(n))
    sold = accepted_units(answers)
    await bench.settled("sku", sold)
    view = await engines[0].item("sku")
    assert view.total == 2_000 + changed
    assert (view.sold, view.actual) == (sold, view.total - sold)


async def test_units_that_have_just_been_released_may_go(stack: Stack, caller: Caller) -> None:
    """The ledger does not know of the release yet; what it will not know of, either, is refused at once."""
    item = await stack.item(total=50, partitions=1)
    assert await caller.hold(item, "h", quantity=10) == "A"
    relay, applier = stack.new_relay(), stack.new_applier()
    workers = stack.run(relay, applier)
    assert await relay.drain(60_000) == []
    with pytest.raises(InvalidRequest, match="quantity must be at most 40 fewer"):
        await _management(stack).restock(item, -41, "a-1")
    await workers.stop()
    assert await caller.step(item, "release", "h") == "A"
    with pytest.raises(BackendUnavailable, match="not enough units"):
        await _management(stack, patience_ms=0).restock(item, -45, "a-2")
    stack.run(stack.new_relay(), stack.new_applier())
    await _management(stack).restock(item, -45, "a-2")
    pool, preallocated, held, sold = await _sold_out_of(stack, item)
    assert (pool + preallocated, held, sold) == (5, 0, 0)
    await _audited(stack)


async def test_a_restock_that_was_cut_off_is_finished_once(stack: Stack) -> None:
    stack.run(stack.new_relay(), stack.new_applier())
    after, ended = 1, False
    while not ended:
        item = (await stack.ledger.create_item(spec(sku=f"s-{after}", total=100, partitions=2), "durable", 0)).item
        await open_item(stack.ledger, stack.shard, stack.clock, item)
        try:
            await _management(stack, Scissors(after)).restock(item, -90, "a")
            ended = True
        except Crash:
            pass
        await _management(stack).restock(item, -90, "a")
        standing = await stack.ledger.standing(item.id)
        assert (standing.total, standing.actual) == (10, 10)
        after += 1
    assert after > 4
    await _audited(stack)
