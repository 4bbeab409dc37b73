"""Buyers who hold, pay, think again, come too late and send everything twice; and the story that their answers tell."""

import asyncio
from random import Random

from tests.support.buyers import Answer, Json, Line, decided

# Where an order may go from a state; what has ended stays.
_GOES_TO = {
    "held": {"held", "confirmed", "released", "expired"},
    "confirmed": {"confirmed", "refunded"},
    "released": {"released"},
    "expired": {"expired"},
    "refunded": {"refunded"},
}
_SHORT_S, _LONG_S = 1, 120


class Known:
    """What was told of one order, and what that makes of it."""

    def __init__(self, buyer_id: str) -> None:
        self.buyer_id = buyer_id
        self.state: str | None = None
        self.quantity = 0
        self.refunded = 0
        self.short = False

    @property
    def final_state(self) -> str | None:
        """The state when all short holds are over; None: it was never accepted."""
        return "expired" if self.state == "held" and self.short else self.state


class Story:
    """All answers, put together."""

    longest_hold_s = _SHORT_S + 0.5

    def __init__(self) -> None:
        self.orders: dict[str, Known] = {}
        self.refunds_due: list[str] = []
        self._late: list[Shopper] = []

    def order(self, order_id: str, buyer_id: str = "") -> Known:
        return self.orders.setdefault(order_id, Known(buyer_id))

    def heard(self, order_id: str, verb: str, status: int, answer: Json) -> None:
        """An answer, which must fit to all that came before it."""
        known = self.order(order_id)
        state = answer.get("state")
        if state is None:
            assert (status, known.state) == (409, None), (verb, answer)
            assert answer["outcome"] in ("sold_out", "insufficient"), answer
            return
        assert known.state is None or state in _GOES_TO[known.state], (verb, known.state, answer)
        known.state = str(state)
        known.quantity = int(str(answer["quantity"]))
        known.refunded = int(str(answer.get("refunded", known.refunded)))
        if "refund_payment_ref" in answer:
            self.refunds_due.append(str(answer["refund_payment_ref"]))

    def comes_back(self, shopper: "Shopper") -> None:
        """They will want to pay when it is too late."""
        self._late.append(shopper)

    def who_come_late(self) -> "list[Shopper]":
        return list(self._late)

    def as_told(self) -> dict[str, tuple[str, int, int]]:
        """State, quantity and refunded units of every order that was accepted."""
        return {
            order_id: (known.final_state, known.quantity, known.refunded)
            for order_id, known in self.orders.items()
            if known.final_state is not None
        }

    def kinds(self) -> set[str]:
        return {state for state, _, _ in self.as_told().values()}


class Shopper:
    """One buyer, who wants one order of an item."""

    def __init__(self, story: Story, sku: str, number: int, random: Random) -> None:
        self._story = story
        self._random = random
        self._order_id = f"o-{number}"
        self._buyer_id = f"u-{number}"
        self._path = f"/v1/items/{sku}"
        self._known = story.order(self._order_id, self._buyer_id)
        self._late = False

    async def shop(self, line: Line) -> None:
        """Do what one does: the first time, or when it is too late."""
        if self._late:
            await self._step(line, "confirm", payment_ref=f"late-{self._order_id}")
            return
        quantity = self._random.choice([1, 1, 1, 2])
        if self._random.random() < 0.4:
            await self._send(line, "deductions", {"order_id": self._order_id, "quantity": quantity})
            if self._known.state == "confirmed" and self._random.random() < 0.1:
                await self._step(line, "refund")
            return
        self._known.short = self._random.random() < 0.3
        ttl_s = _SHORT_S if self._known.short else _LONG_S
        await self._send(line, "reservations", {"order_id": self._order_id, "quantity": quantity, "ttl_s": ttl_s})
        if self._known.state == "held":
            await self._go_on(line)

    async def _go_on(self, line: Line) -> None:
        if self._known.short:
            if self._random.random() < 0.5:
                self._late = True
                self._story.comes_back(self)
            return
        if self._random.random() < 0.3:
            await self._step(line, "release")
            return
        if self._random.random() < 0.3:
            await self._step(line, "extend", ttl_s=_LONG_S * 2)
        if self._random.random() < 0.5:
            await self._step(line, "begin-payment")
        await self._step(line, "confirm", payment_ref=f"pay-{self._order_id}")
        if self._random.random() < 0.1:
            await self._step(line, "confirm", payment_ref=f"twice-{self._order_id}")
        if self._random.random() < 0.1:
            await self._step(line, "refund", quantity=1)

    async def _step(self, line: Line, word: str, **body: object) -> None:
        await self._send(line, f"orders/{self._order_id}/{word}", body)

    async def _send(self, line: Line, path: str, body: Json) -> None:
        """Send a request until it is decided; some hang up before that, some send it twice again, both at once."""
        path, body = f"{self._path}/{path}", body | {"buyer_id": self._buyer_id}
        chance = self._random.random()
        if chance < 0.1:
            await line.send_and_vanish(path, body, self._random)
        answers = [await decided(line, path, body)]
        if chance > 0.9:
            answers += await self._twice_at_once(line, path, body)
        for status, answer in answers:
            self._story.heard(self._order_id, path, status, answer)

    async def _twice_at_once(self, line: Line, path: str, body: Json) -> list[Answer]:
        """Two answers; nobody knows which came first, but a no is none any more after a yes."""
        async with Line(line.port) as other:
            answers = await asyncio.gather(decided(line, path, body), decided(other, path, body))
        return sorted(answers, key=lambda answer: "state" in answer[1])
