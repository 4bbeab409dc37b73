"""A partition in plain Python: what the functions must answer, written without looking at how they do it."""

from dataclasses import dataclass, field

from hotsku.domain.routing import split_field
from tests.lua.partition import Order

MAX_QUANTITY = 10**9


@dataclass
class Model:
    """One armed partition of incarnation 1."""

    limit: int = 0
    stock: list[int] = field(default_factory=lambda: [0, 0])
    selling: int = 0  # the bucket that sells: 0 or 1
    threshold: int = 1
    leases: list[int] = field(default_factory=list)
    reclaims: list[int] = field(default_factory=list)
    orders: dict[str, tuple[int, int]] = field(default_factory=dict)  # order field -> quantity, seq
    bought: dict[str, int] = field(default_factory=dict)
    events: list[tuple[str, str, int]] = field(default_factory=list)  # kind, order field, quantity; seq = place + 1
    batches: list[int] = field(default_factory=list)  # the last seq of every stream entry
    trimmed: int = 0

    @property
    def seq(self) -> int:
        return len(self.events)

    @property
    def taken(self) -> int:
        return sum(quantity for quantity, _ in self.orders.values())

    @property
    def refill(self) -> bool:
        return self.stock[1 - self.selling] < self.threshold

    @property
    def kept(self) -> list[int]:
        """The last seqs of the entries that the stream still holds."""
        return [last for last in self.batches if last > self.trimmed]

    def deduct(self, orders: list[Order], *, take: bool) -> tuple[str, list[tuple[int, int]]]:
        """Returns the codes, and (quantity, seq) of the records that the reply has."""
        codes, records, left = "", [], sum(self.stock)
        for name, quantity in orders:
            code = self._decide(name, quantity, left if take and "D" not in codes else 0)
            codes += code
            if code == "A":
                left -= self.orders[name][0]
            if code in "RX":
                records.append(self.orders[name])
        if "A" in codes:
            self._take(sum(self.stock) - left)  # the buckets move once a batch
            self.batches.append(self.seq)
        return codes, records

    def _decide(self, name: str, quantity: object, left: int) -> str:
        if type(quantity) is not int or not 1 <= quantity <= MAX_QUANTITY:
            return "I"
        if name in self.orders:
            return "R" if self.orders[name][0] == quantity else "X"
        buyer = split_field(name)[1]
        if self.limit and self.bought.get(buyer, 0) + quantity > self.limit:
            return "L"
        if left < quantity:
            return "D"
        self.events.append(("deducted", name, quantity))
        self.orders[name] = (quantity, self.seq)
        if self.limit:
            self.bought[buyer] = self.bought.get(buyer, 0) + quantity
        return "A"

    def _take(self, quantity: int) -> None:
        for _ in range(quantity):
            self.stock[self.selling if self.stock[self.selling] else 1 - self.selling] -= 1
        self._switch()

    def _switch(self) -> None:
        sells, waits = self.stock[self.selling], self.stock[1 - self.selling]
        if sells < self.threshold <= waits or (sells == 0 < waits):
            self.selling = 1 - self.selling

    def install(self, no: int, quantity: int, threshold: int) -> tuple[str, int]:
        if no != len(self.leases) + 1:
            return ("GAP" if no > len(self.leases) else "ALREADY"), len(self.leases)
        self.leases.append(quantity)
        self.stock[1 - self.selling] += quantity
        self.threshold = threshold
        self._switch()
        return "OK", no

    def reclaim(self, no: int, quantity: int) -> tuple[str, int]:
        if no > len(self.reclaims) + 1:
            return "GAP", len(self.reclaims)
        if no <= len(self.reclaims):
            # Only the last one's answer is remembered: a caller has one reclaim of a partition under way.
            return "ALREADY", self.reclaims[-1] if self.reclaims and no == len(self.reclaims) else 0
        units = min(quantity, sum(self.stock))
        if units < 1:
            return "OK", 0
        self.reclaims.append(units)
        for _ in range(units):
            self.stock[1 - self.selling if self.stock[1 - self.selling] else self.selling] -= 1
        self.events.append(("returned", "", units))
        self.batches.append(self.seq)
        self._switch()
        return "OK", units

    def trim(self, through: int) -> str:
        if through > self.seq:
            return "FENCED"
        self.trimmed = max(self.trimmed, through)
        return "OK"
