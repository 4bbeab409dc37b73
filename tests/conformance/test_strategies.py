"""Every rung of the ladder, on every database that answers: never oversell, sell an order once, be exact at the end.

The servers are those of `HOTSKU_TEST_POSTGRES_URL`, `HOTSKU_TEST_MARIADB_URL` and `HOTSKU_TEST_REDIS_URL`.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from tests.support.strategies import PAIRS, PATIENCE_S, running, why_not
from tests.support.workers import until

from hotsku.errors import IdempotencyConflict, InvalidRequest, InvalidSettings, UnknownItem
from hotsku.strategies.base import Answer, Count, Strategy
from hotsku.strategies.names import make_strategy

pytestmark = pytest.mark.anyio

BUYERS = 200


@pytest.fixture(params=PAIRS, ids=lambda pair: "-".join(pair))
async def strategy(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Strategy]:
    name, database = request.param
    reason = await asyncio.to_thread(why_not, name, database)
    if reason is not None:
        pytest.skip(reason)
    async with running(name, database) as strategy:
        yield strategy


async def test_never_sells_more_than_there_is(strategy: Strategy) -> None:
    await strategy.create("sneaker", 50)
    answers = await asyncio.gather(
        *(strategy.deduct("sneaker", 1, f"o-{number}", f"u-{number}") for number in range(BUYERS))
    )
    assert Counter(answers) == {Answer.ACCEPTED: 50, Answer.SOLD_OUT: BUYERS - 50}
    assert await strategy.count("sneaker") == Count(sold=50, left=0)


async def test_is_exact_when_quantities_meet_the_end_of_the_stock(strategy: Strategy) -> None:
    total = 173
    await strategy.create("sneaker", total)
    quantities = random.Random(7).choices(range(1, 6), k=BUYERS)
    answers = await asyncio.gather(
        *(strategy.deduct("sneaker", quantity, f"o-{n}", f"u-{n}") for n, quantity in enumerate(quantities))
    )
    sold = sum(quantity for quantity, answer in zip(quantities, answers, strict=True) if answer is Answer.ACCEPTED)
    assert set(answers) <= {Answer.ACCEPTED, Answer.SOLD_OUT, Answer.INSUFFICIENT}
    assert await strategy.count("sneaker") == Count(sold=sold, left=total - sold)
    # Whoever asked for one unit was refused only when there was none: what is left is less than anybody refused wanted.
    refused = [q for q, answer in zip(quantities, answers, strict=True) if answer is not Answer.ACCEPTED]
    assert all(quantity > total - sold for quantity in refused)
    # And the rest sells.
    for number in range(total - sold):
        assert await strategy.deduct("sneaker", 1, f"last-{number}", "u") is Answer.ACCEPTED
    assert await strategy.deduct("sneaker", 1, "too-late", "u") is Answer.SOLD_OUT
    assert await strategy.count("sneaker") == Count(sold=total, left=0)


async def test_sells_an_order_once_however_often_it_is_sent(strategy: Strategy) -> None:
    await strategy.create("sneaker", 100)
    answers = await asyncio.gather(
        *(strategy.deduct("sneaker", 2, f"o-{number % 20}", f"u-{number % 20}") for number in range(BUYERS))
    )
    assert Counter(answers) == {Answer.ACCEPTED: 20, Answer.REPLAYED: BUYERS - 20}
    assert await strategy.count("sneaker") == Count(sold=40, left=60)


async def test_an_accepted_order_hears_its_answer_again_after_the_sell_out(strategy: Strategy) -> None:
    await strategy.create("sneaker", 1)
    assert await strategy.deduct("sneaker", 1, "o-1", "u-1") is Answer.ACCEPTED
    assert await strategy.deduct("sneaker", 1, "o-2", "u-2") is Answer.SOLD_OUT
    assert await strategy.deduct("sneaker", 1, "o-1", "u-1") is Answer.REPLAYED
    assert await strategy.deduct("sneaker", 1, "o-1", "another") is Answer.SOLD_OUT


async def test_refuses_another_quantity_for_the_same_order(strategy: Strategy) -> None:
    await strategy.create("sneaker", 10)
    assert await strategy.deduct("sneaker", 2, "o-1", "u-1") is Answer.ACCEPTED
    with pytest.raises(IdempotencyConflict, match="quantity 2"):
        await strategy.deduct("sneaker", 3, "o-1", "u-1")
    assert await strategy.count("sneaker") == Count(sold=2, left=8)


async def test_says_insufficient_while_something_is_left(strategy: Strategy) -> None:
    await strategy.create("sneaker", 3)
    assert await strategy.deduct("sneaker", 5, "o-1", "u-1") is Answer.INSUFFICIENT
    assert await strategy.deduct("sneaker", 3, "o-1", "u-1") is Answer.ACCEPTED
    # Partitions know what is left from a ledger read that may be a moment old, so this no may be either.
    assert await strategy.deduct("sneaker", 5, "o-2", "u-1") in (Answer.SOLD_OUT, Answer.INSUFFICIENT)


async def _counts(strategy: Strategy, expected: Count, sku: str = "sneaker") -> None:
    """Wait until what was released, or is on its way between pool and shard, is there again."""

    async def counted() -> bool:
        return await strategy.count(sku) == expected

    await until(counted, PATIENCE_S)


async def _sells(strategy: Strategy, quantity: int, order_id: str) -> None:
    """Wait until what was released sells: partitions say "sold out" until they hear that there is something again."""

    async def sold() -> bool:
        return await strategy.deduct("sneaker", quantity, order_id, "u") is Answer.ACCEPTED

    await until(sold, PATIENCE_S)


async def test_a_release_gives_back_once(strategy: Strategy) -> None:
    await strategy.create("sneaker", 4)
    for number in range(2):
        assert await strategy.deduct("sneaker", 2, f"o-{number}", "u") is Answer.ACCEPTED
    assert await strategy.deduct("sneaker", 1, "o-9", "u") is Answer.SOLD_OUT
    released = await asyncio.gather(*(strategy.release("sneaker", "o-0", "u") for _ in range(10)))
    assert Counter(released) == {True: 1, False: 9}
    assert not await strategy.release("sneaker", "never-sold", "u")
    await _counts(strategy, Count(sold=2, left=2))
    assert await strategy.deduct("sneaker", 2, "o-0", "u") is Answer.RELEASED
    await _sells(strategy, 2, "o-3")
    assert await strategy.count("sneaker") == Count(sold=4, left=0)


async def test_releases_and_sales_together_stay_exact(strategy: Strategy) -> None:
    await strategy.create("sneaker", 30)

    async def buyer(number: int) -> int:
        if await strategy.deduct("sneaker", 1, f"o-{number}", "u") is not Answer.ACCEPTED:
            return 0
        return 0 if number % 3 == 0 and await strategy.release("sneaker", f"o-{number}", "u") else 1

    sold = sum(await asyncio.gather(*(buyer(number) for number in range(BUYERS))))
    await _counts(strategy, Count(sold=sold, left=30 - sold))
    for number in range(30 - sold):
        await _sells(strategy, 1, f"last-{number}")
    assert await strategy.deduct("sneaker", 1, "too-late", "u") is Answer.SOLD_OUT
    assert await strategy.count("sneaker") == Count(sold=30, left=0)


async def test_items_do_not_mix_and_are_created_once(strategy: Strategy) -> None:
    await strategy.create("one", 5)
    await strategy.create("two", 7)
    await strategy.create("one", 5)
    with pytest.raises(IdempotencyConflict):
        await strategy.create("one", 6)
    assert await strategy.deduct("one", 5, "o-1", "u") is Answer.ACCEPTED
    assert await strategy.deduct("two", 1, "o-1", "u") is Answer.ACCEPTED
    await _counts(strategy, Count(sold=5, left=0), "one")
    await _counts(strategy, Count(sold=1, left=6), "two")
    with pytest.raises(UnknownItem):
        await strategy.deduct("three", 1, "o-1", "u")
    with pytest.raises(InvalidRequest):
        await strategy.deduct("two", 0, "o-2", "u")


async def test_sqlite_has_no_skip_locked() -> None:
    with pytest.raises(InvalidSettings, match="SKIP LOCKED"):
        make_strategy("skip_locked", "sqlite:////tmp/never-made.db")
