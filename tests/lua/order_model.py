"""Orders' lives in plain Python: what the functions must answer and leave, written without looking at their code."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from hotsku.domain.deduction import OrderState
from hotsku.domain.order import OrderRecord
from hotsku.domain.routing import split_field
from tests.lua.partition import Order

HELD, CONFIRMED, RELEASED, EXPIRED, REFUNDED = OrderState
ENDED = (RELEASED, EXPIRED)

# kind, order field, quantity, expires at, payment reference, metadata, cart
Happened = tuple[str, str, int, int, str, str, bool]
Decision = tuple[str, OrderRecord | None]


@dataclass
class OrderModel:
    """One armed partition. `time` is the server's clock, `clock` the partition's, which never runs backwards."""

    limit: int
    restores: bool
    time: int
    left: int = 0
    clock: int = 0
    state: str = "open"
    version: int = 1
    incarnation: int = 1
    seq: int = 0
    taken: int = 0
    trimmed: int = 0
    records: dict[str, OrderRecord] = field(default_factory=dict)
    bought: Counter[str] = field(default_factory=Counter)
    events: list[Happened] = field(default_factory=list)  # of this incarnation; seq = place + 1

    @property
    def now(self) -> int:
        return max(self.time, self.clock)

    @property
    def holds(self) -> dict[str, int]:
        return {name: r.expires_at_ms for name, r in self.records.items() if r.state is HELD}

    @property
    def ended(self) -> dict[str, int]:
        return {name: r.step_at_ms for name, r in self.records.items() if r.state in ENDED}

    def by_time(self, times: dict[str, int]) -> list[str]:
        """In the order of a sorted set."""
        return sorted(times, key=lambda name: (times[name], name.encode()))

    # --- orders ---

    def deduct(self, orders: list[Order], *, take: bool) -> tuple[str, list[OrderRecord]]:
        """Returns the codes, and the records that the reply has."""
        codes, answers, dry = "", [], not take
        for name, what in orders:
            quantity, metadata, ttl_ms, cart = what if isinstance(what, list) else _bare(what)
            known = self.records.get(name)
            if quantity < 1:
                codes += "I"
            elif known is not None:
                same = (known.quantity, known.held, known.cart) == (quantity, ttl_ms > 0, cart == 1)
                codes += "R" if same else "X"
                answers.append(known)
            else:
                code = self._refusal(name, quantity, dry)
                dry = dry or code == "D"
                codes += code or "A"
                if not code:
                    self._accept(name, quantity, metadata, ttl_ms, cart == 1)
        return codes, answers

    def _refusal(self, name: str, quantity: int, dry: bool) -> str:
        if self.state != "open":
            return "P" if self.state == "paused" else "C"
        if self.limit and self.bought[_buyer(name)] + quantity > self.limit:
            return "L"
        return "D" if dry or self.left < quantity else ""

    def _accept(self, name: str, quantity: int, metadata: str, ttl_ms: int, cart: bool) -> None:
        held = ttl_ms > 0
        until = self.now + ttl_ms if held else 0
        self._happen("held" if held else "deducted", name, quantity, until, "", metadata, cart)
        self.records[name] = OrderRecord(
            quantity, self.incarnation, self.seq, self.now, held=held, state=HELD if held else CONFIRMED, cart=cart,
            expires_at_ms=until, metadata=metadata,
        )  # fmt: skip
        self.left -= quantity
        self.taken += quantity
        if self.limit:
            self.bought[_buyer(name)] += quantity

    # --- steps ---

    def step(self, verb: str, name: str, argument: int | str, cart: bool) -> Decision:
        """Returns the code, and the record after it, where the reply has one."""
        if self.records.get(name) is None:
            return "-", None
        self._expire_due(name)
        of_cart = self.records[name].cart
        foreign = of_cart != cart and not (of_cart and verb == "refund")  # what a cart sold is refunded line by line
        code = "X" if foreign else self._decide(verb, name, argument)
        return code, (None if code == "I" else self.records[name])

    def _decide(self, verb: str, name: str, argument: int | str) -> str:
        r = self.records[name]
        if verb == "refund":
            return self._refund(name, r, int(argument))
        if verb == "confirm" and r.state in (CONFIRMED, REFUNDED) and argument in ("", r.payment_ref):
            return "R"
        if verb == "confirm" and r.state is CONFIRMED:
            if r.payment_ref:
                return "O"
        elif r.state is not HELD:
            return "R" if verb == "release" and r.state is RELEASED else "N"
        if verb == "confirm":
            self._change(name, "confirmed", state=CONFIRMED, paying=False, payment_ref=str(argument))
        elif verb == "release":
            self._end(name, "released")
        elif verb == "begin_payment" and r.paying:
            return "R"
        else:
            until = max(r.expires_at_ms, self.now + int(argument))
            paying = r.paying or verb == "begin_payment"
            kind = "extended" if verb == "extend" else "payment_begun"
            self._change(name, kind, expires_at=until, paying=paying, expires_at_ms=until)
        return "A"

    def _refund(self, name: str, r: OrderRecord, total: int) -> str:
        if r.state not in (CONFIRMED, REFUNDED):
            return "N"
        if total > r.quantity:
            return "I"
        total = total or r.quantity
        units = total - r.refunded
        if units <= 0:
            return "R"
        state = REFUNDED if total == r.quantity else CONFIRMED
        self._change(name, "refunded", quantity=units, state=state, refunded=total)
        if self.restores:
            self._give_back(name, units)
        return "A"

    def _expire_due(self, name: str) -> bool:
        due = self.records[name].state_at(self.now) is not self.records[name].state
        if due:
            self._end(name, "expired")
        return due

    def _end(self, name: str, kind: str) -> None:
        self._give_back(name, self.records[name].quantity)
        self._change(name, kind, state=OrderState(kind), paying=False)

    def _give_back(self, name: str, units: int) -> None:
        if self.limit:
            self.bought[_buyer(name)] -= units

    def _change(self, name: str, kind: str, *, quantity: int = 0, expires_at: int = 0, **changes: object) -> None:
        r = self.records[name]
        reference = str(changes.get("payment_ref", ""))
        self._happen(kind, name, quantity or r.quantity, expires_at, reference, "", False)
        step = {"step_incarnation": self.incarnation, "step_seq": self.seq, "step_at_ms": self.now}
        self.records[name] = replace(r, **step, **changes)

    def _happen(
        self, kind: str, name: str, quantity: int, until: int, reference: str, metadata: str, cart: bool
    ) -> None:
        self.seq += 1
        self.clock = self.now
        self.events.append((kind, name, quantity, until, reference, metadata, cart))

    # --- sweeps ---

    def expire(self, most: int) -> tuple[int, int, list[str]]:
        """Returns how many ended, when the next is due, and the carts' lines that are due."""
        now = self.now
        due = [name for name in self.by_time(self.holds) if self.holds[name] <= now][:most]
        ended = sum(self._expire_due(name) for name in due)
        return ended, min(self.holds.values(), default=0), [name for name in due if self.records[name].cart]

    def release_holds(self, most: int, offset: int) -> tuple[int, int]:
        """Returns how many ended, and where to go on."""
        if self.state != "closed":
            return 0, 0
        looked = self.by_time(self.holds)[offset : offset + most]
        ended = 0
        for name in looked:
            r = self.records[name]
            if self._expire_due(name):
                ended += 1
            elif not (r.paying or r.cart):
                self._end(name, "released")
                ended += 1
        return ended, 0 if len(looked) < most else offset + most - ended

    def forget(self, before: int, keep: int, most: int) -> int:
        ended = self.ended
        oldest = self.by_time(ended)
        too_many = set(oldest[: max(0, len(oldest) - keep)])
        forgotten = [
            name for name in oldest[:most] if (ended[name] < before or name in too_many) and self._is_booked(name)
        ]
        for name in forgotten:
            del self.records[name]
        return len(forgotten)

    def _is_booked(self, name: str) -> bool:
        r = self.records[name]
        return r.step_incarnation < self.incarnation or r.step_seq <= self.trimmed

    def configure(self, version: int, state: str) -> int:
        if version > self.version:
            self.version, self.state = version, state
        return self.version

    def renew(self) -> None:
        """A new incarnation that has the same orders and no stock."""
        self.incarnation += 1
        self.seq = self.left = self.taken = self.trimmed = 0
        self.events = []


def _bare(quantity: Any) -> list[Any]:
    return [quantity, "", 0, 0]


def _buyer(name: str) -> str:
    return split_field(name)[1]
