"""A sale of holds on the embedded stack: whatever 2,000 buyers do with theirs, the figures are exact, and what each was
told is what happened."""

import asyncio
import random
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import Struct
from tests.support.workers import until

import hotsku
from hotsku import Deduction, Inventory, OrderState, Outcome, Settings

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patient")]

BUYERS = 2000
TOTAL = 1600
HOUR = timedelta(hours=1)
SOLD = (OrderState.CONFIRMED, OrderState.REFUNDED)


class Story(Struct):
    """What one buyer knows of its order: the last state that it was told, and the units refunded."""

    quantity: int
    state: OrderState
    refunded: int = 0


class Sale:
    """Two inventories on one folder, and what the buyers were told."""

    def __init__(self, stocks: list[Inventory], rng: random.Random) -> None:
        self._stocks = stocks
        self._rng = rng
        self.stories: dict[str, Story] = {}
        self.refused: set[str] = set()
        self.receipts: dict[str, str | None] = {}

    @property
    def _stock(self) -> Inventory:
        return self._rng.choice(self._stocks)

    async def buyer(self, number: int) -> None:
        order, quantity = f"o-{number}", self._rng.choice((1, 1, 1, 2))
        way = self._rng.choice(WAYS)
        brief = way in (Sale.lapse, Sale.pay_late)
        ttl = timedelta(milliseconds=self._rng.randint(1, 60)) if brief else HOUR
        first = await self._stock.reserve("sku", quantity, order_id=order, ttl=ttl, metadata=str(number))
        if first.outcome is not Outcome.HELD:
            assert first.outcome in (Outcome.SOLD_OUT, Outcome.INSUFFICIENT)
            self.refused.add(order)
            return
        self.receipts[order] = first.receipt
        self.stories[order] = Story(quantity, OrderState.HELD)
        await way(self, order)

    def told(self, order: str, answer: Deduction) -> Deduction:
        """Note an answer. An order goes on, and never back."""
        story = self.stories[order]
        assert answer.state is not None
        assert (answer.quantity, answer.metadata) == (story.quantity, order[2:])
        if story.state is not OrderState.HELD:
            assert answer.state is story.state or (story.state, answer.state) == SOLD
        assert answer.refunded >= story.refunded
        story.state, story.refunded = answer.state, answer.refunded
        return answer

    async def keep(self, order: str) -> None:
        """Still undecided when the sale is over."""

    async def lapse(self, order: str) -> None:
        """Never heard of again; its hold is for the reaper."""
        self.stories[order].state = OrderState.EXPIRED

    async def pay(self, order: str) -> None:
        """Two requests at the same moment, as an impatient client sends them."""
        answers = await asyncio.gather(
            *(stock.confirm("sku", order_id=order, payment_ref="pay") for stock in self._stocks)
        )
        for answer in answers:
            assert self.told(order, answer).outcome is Outcome.CONFIRMED
        assert sorted(answer.replayed for answer in answers) == [False, True]

    async def pay_slowly(self, order: str) -> None:
        begun = self.told(order, await self._stock.begin_payment("sku", order_id=order))
        longer = self.told(order, await self._stock.extend("sku", order_id=order, ttl=2 * HOUR))
        assert begun.expires_at is not None
        assert longer.expires_at is not None
        assert longer.expires_at > begun.expires_at
        assert self.told(order, await self._stock.confirm("sku", order_id=order)).outcome is Outcome.CONFIRMED

    async def pay_late(self, order: str) -> None:
        """Just when the hold's time is over: one of the two wins, and a payment in vain is given back."""
        await asyncio.sleep(self._rng.random() * 0.06)
        answer = self.told(order, await self._stock.confirm("sku", order_id=order, payment_ref="pay"))
        assert answer.outcome in (Outcome.CONFIRMED, Outcome.EXPIRED)
        assert answer.refund_payment_ref == ("pay" if answer.outcome is Outcome.EXPIRED else None)

    async def change_mind(self, order: str) -> None:
        for replayed in (False, True):
            answer = self.told(order, await self._stock.release("sku", order_id=order))
            assert (answer.outcome, answer.replayed) == (Outcome.RELEASED, replayed)

    async def race(self, order: str) -> None:
        """One request confirms, another releases: both hear who won."""
        first, second = self._stocks
        answers = await asyncio.gather(
            first.confirm("sku", order_id=order, payment_ref="pay"), second.release("sku", order_id=order)
        )
        for answer in answers:
            self.told(order, answer)
        assert answers[0].state is answers[1].state
        assert answers[0].refund_payment_ref == ("pay" if answers[0].state is OrderState.RELEASED else None)

    async def give_back(self, order: str) -> None:
        """Sold, and refunded in two parts or at once."""
        await self.pay(order)
        part = self.told(order, await self._stock.refund("sku", order_id=order, quantity=1))
        assert (part.outcome, part.refunded) == (Outcome.REFUNDED, 1)
        if self._rng.random() < 0.5:
            assert self.told(order, await self._stock.refund("sku", order_id=order)).state is OrderState.REFUNDED

    def units(self, *states: OrderState) -> int:
        return sum(story.quantity - story.refunded for story in self.stories.values() if story.state in states)


WAYS = (
    Sale.keep,
    Sale.lapse,
    Sale.pay,
    Sale.pay,
    Sale.pay_slowly,
    Sale.pay_late,
    Sale.change_mind,
    Sale.race,
    Sale.give_back,
)


async def _all_orders(stock: Inventory) -> list[Deduction]:
    listed: list[Deduction] = []
    while page := await stock.orders("sku", after=listed[-1] if listed else None, limit=500):
        listed += page
    return listed


@pytest.mark.timeout(600)
@pytest.mark.slow
async def test_two_thousand_buyers_hold_and_every_unit_is_accounted_for(tmp_path: Path) -> None:
    settings = Settings(shard_url=f"embedded:{tmp_path}/e", relay_interval_ms=100)
    async with hotsku.connect(settings) as stock, hotsku.connect(settings) as other:
        await stock.create_item("sku", TOTAL, partitions=4)
        rng = random.Random(20_260_501)
        sale = Sale([stock, other], rng)
        crowd = asyncio.Semaphore(300)

        async def comes(number: int) -> None:
            async with crowd:
                await sale.buyer(number)

        await asyncio.gather(*(comes(number) for number in range(BUYERS)))
        assert len(sale.stories) + len(sale.refused) == BUYERS
        assert {story.state for story in sale.stories.values()} == set(OrderState)

        held, sold = sale.units(OrderState.HELD), sale.units(*SOLD)

        async def settled() -> bool:  # the reaper has come to all that lapsed, and the ledger has it all
            item = await other.item("sku")
            return (item.held, item.sold) == (held, sold)

        await until(settled, 120)
        item = await stock.item("sku")
        assert item.total == TOTAL == item.pool + item.preallocated + item.held + item.sold
        await _check_orders(stock, other, sale)

        # What came back sells: all of it, and no unit more.
        answers = await stock.deduct_many("sku", [{"order_id": f"last-{n}"} for n in range(item.actual + 50)])
        assert Counter(a.outcome for a in answers if isinstance(a, Deduction)) == {
            Outcome.ACCEPTED: item.actual,
            Outcome.SOLD_OUT: 50,
        }

        async def green() -> bool:
            report = await other.audit()
            return report.ok and report.at_rest

        await until(green)
        item = await other.item("sku")
        assert (item.sold, item.held, item.actual, item.available) == (TOTAL - held, held, 0, 0)


async def _check_orders(stock: Inventory, other: Inventory, sale: Sale) -> None:
    listed = await _all_orders(other)
    assert Counter(order.order_id for order in listed) == dict.fromkeys(sale.stories, 1)
    for order in listed:
        story = sale.stories[order.order_id]
        assert (order.state, order.quantity, order.refunded) == (story.state, story.quantity, story.refunded)
    for order_id, story in list(sale.stories.items())[::10]:
        seen = await stock.order("sku", order_id)
        assert (seen.state, seen.refunded) == (story.state, story.refunded)
        again = await other.reserve("sku", story.quantity, order_id=order_id)
        assert (again.outcome, again.state, again.replayed) == (Outcome.HELD, story.state, True)
        if story.state is OrderState.EXPIRED:  # nothing has moved its time: it is the very same receipt
            assert again.receipt == sale.receipts[order_id] is not None
        kinds = [event.kind.value for event in await other.order_history("sku", order_id)]
        assert kinds[0] == "held"
        assert kinds[-1] in (story.state.value, "refunded" if story.refunded else "held")
        assert len([kind for kind in kinds if kind in ("confirmed", "released", "expired")]) == (
            story.state is not OrderState.HELD
        )
