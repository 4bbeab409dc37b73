"""What the engines have told of their needs, kept as long as it is to be believed."""

from msgspec import Struct

from hotsku.domain.events import PartitionRef
from hotsku.domain.leasing import DemandMeter, Need, merge_needs
from hotsku.ports import Ask, Needs, Refill

# An ask that is not told again within this time stands no more.
_ASK_VALID_MS = 200
_REFILL_VALID_MS = 500
# Where the pool was too low for a refill, none is tried for so long: engines tell of it with every batch they sell.
_REST_MS = 500


class _Heard(Struct, frozen=True):
    ask: Ask
    at_ms: float


class ItemDemand:
    """One item's standing asks and refills, and its partitions' demand."""

    def __init__(self) -> None:
        self._asks: dict[tuple[str, PartitionRef], _Heard] = {}
        self._refills: dict[PartitionRef, float] = {}
        self._meters: dict[PartitionRef, DemandMeter] = {}
        self._ran_dry: set[PartitionRef] = set()
        self._heard: dict[str, int] = {}
        self._rests_until_ms = float("-inf")

    def hear_ask(self, engine_id: str, number: int, ask: Ask, now_ms: float) -> None:
        self._asks[engine_id, ask.ref] = _Heard(ask, now_ms)
        self._heard[engine_id] = max(number, self._heard.get(engine_id, 0))
        self._ran_dry.add(ask.ref)

    def hear_refill(self, refill: Refill, now_ms: float) -> bool:
        """Returns whether a round is worth its while."""
        self._refills[refill.ref] = now_ms
        self._meters.setdefault(refill.ref, DemandMeter()).observe(refill.at_ms, refill.taken)
        return now_ms >= self._rests_until_ms

    def rest(self, now_ms: float) -> None:
        """The pool had nothing for the refills."""
        self._rests_until_ms = now_ms + _REST_MS

    def needs(self, now_ms: float) -> list[Need]:
        """What dry partitions lack now, the oldest first."""
        self._asks = {key: heard for key, heard in self._asks.items() if now_ms - heard.at_ms < _ASK_VALID_MS}
        return merge_needs(
            Need(ask.ref, ask.waiting, ask.smallest, ask.age_ms) for ask in (heard.ask for heard in self._asks.values())
        )

    def heard(self) -> dict[str, int]:
        """The last `Needs` of each engine that has been heard."""
        return dict(self._heard)

    def refills(self, now_ms: float) -> list[PartitionRef]:
        """The partitions whose standby is low."""
        self._refills = {ref: at for ref, at in self._refills.items() if now_ms - at < _REFILL_VALID_MS}
        return list(self._refills)

    def demand_per_s(self, ref: PartitionRef) -> float:
        meter = self._meters.get(ref)
        return meter.per_s if meter else 0.0

    def ran_dry(self, ref: PartitionRef) -> bool:
        return ref in self._ran_dry

    def served(self, ref: PartitionRef) -> None:
        """A partition got stock: what was asked before is not asked any more until it is told again."""
        self._asks = {key: heard for key, heard in self._asks.items() if key[1] != ref}
        self._refills.pop(ref, None)

    def refilled(self, ref: PartitionRef) -> None:
        """A partition got a lease of the size that its demand wants."""
        self._ran_dry.discard(ref)
        self.served(ref)


class Demand:
    """The demand of all items."""

    def __init__(self) -> None:
        self._items: dict[int, ItemDemand] = {}

    def of(self, item_id: int) -> ItemDemand:
        return self._items.setdefault(item_id, ItemDemand())

    def hear(self, needs: Needs, now_ms: float) -> set[int]:
        """Note what an engine needs. Returns the items that it is about."""
        items = set()
        for ask in needs.asks:
            self.of(ask.ref.item_id).hear_ask(needs.engine_id, needs.no, ask, now_ms)
            items.add(ask.ref.item_id)
        for refill in needs.refills:
            if self.of(refill.ref.item_id).hear_refill(refill, now_ms):
                items.add(refill.ref.item_id)
        return items
