"""Helps tests of the ledger: a clock that stands still, a ledger with one item, messages."""

from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex

import msgspec

from hotsku.domain.cart import CartLine
from hotsku.domain.equations import item_equations, ledger_equations
from hotsku.domain.events import Event, EventKind, Message, PartitionRef, decode_message, encode_message
from hotsku.domain.evidence import Booked, ItemEvidence, LedgerWide
from hotsku.domain.item import Item, ItemSpec
from hotsku.ledger import SqlLedger, open_ledger
from hotsku.ports import CartRow, Grant, PartitionFigures

NOW = 1_700_000_000_000


class StillClock:
    """A clock that always says `NOW`."""

    def now_ms(self) -> int:
        return NOW

    def monotonic_ms(self) -> float:
        return 0.0


def open_at(folder: Path) -> SqlLedger:
    """The ledger in `folder`."""
    return open_ledger(f"sqlite:///{folder}/ledger.db", clock=StillClock(), token_hex=token_hex)


def spec(sku: str = "sneaker", total: int = 10_000, partitions: int = 1, **more: int | None) -> ItemSpec:
    """An item's configuration."""
    return ItemSpec(sku=sku, total=total, partitions=partitions, **more)  # type: ignore[arg-type]


def cart_row(order_id: str, buyer_id: str, *lines: CartLine) -> CartRow:
    """A cart that was opened at `NOW`."""
    return CartRow(
        order_id=order_id,
        buyer_id=buyer_id,
        lines=list(lines),
        state="open",
        held=False,
        finished=False,
        expires_at_ms=NOW,
        created_at_ms=NOW,
    )


async def open_item(ledger: SqlLedger, item_spec: ItemSpec, *units: int) -> Item:
    """An item whose partitions are open; the first ones have a lease of `units`."""
    item = (await ledger.create_item(item_spec, "durable", NOW)).item
    for partition in range(item_spec.partitions):
        await ledger.open_partition(PartitionRef(item.id, partition), 1)
    grants = [Grant(PartitionRef(item.id, partition), 1, 0, quantity) for partition, quantity in enumerate(units)]
    assert await ledger.lease(grants, NOW) is not None
    return item


def sale(seq: int, order_id: str | None = None, quantity: int = 1, buyer_id: str = "", at: int = NOW) -> Event:
    """A `deducted` event."""
    order = f"o-{seq}" if order_id is None else order_id
    return Event(seq=seq, kind=EventKind.DEDUCTED, quantity=quantity, at=at, order_id=order, buyer_id=buyer_id)


def sales(first: int, last: int) -> list[Event]:
    """One unit each."""
    return [sale(seq) for seq in range(first, last + 1)]


def given_back(seq: int, quantity: int) -> Event:
    """A `returned` event."""
    return Event(seq=seq, kind=EventKind.RETURNED, quantity=quantity, at=NOW)


def message(
    ledger: SqlLedger,
    item_id: int,
    events: Sequence[Event],
    *,
    partition: int = 0,
    incarnation: int = 1,
    ledger_id: str | None = None,
) -> Message:
    """The message that carries `events`, as it comes off the wire."""
    ref = PartitionRef(item_id, partition)
    body = encode_message(ledger_id or ledger.ledger_id, "sku", ref, incarnation, list(events))
    return decode_message(body)


async def figures_of(ledger: SqlLedger, item_id: int, partition: int = 0) -> tuple[int, int, int, int, int]:
    """(pool, granted, applied, returned, watermark)."""
    row = await ledger.partition(PartitionRef(item_id, partition))
    assert row is not None
    return (await ledger.standing(item_id)).pool, row.granted, row.applied, row.returned, row.watermark


async def books_hold(ledger: SqlLedger, item_id: int, parked: int = 0) -> None:
    """All that the audit asks of the ledger alone holds for the item, but that `parked` details wait for a person."""
    figures = await ledger.figures(item_id)
    (item,) = figures.items
    evidence = ItemEvidence(
        sku=item.sku,
        total=item.total,
        pool=item.pool,
        given_back=item.given_back,
        booked=[
            msgspec.convert({**msgspec.structs.asdict(each.row), **_tallies(each)}, Booked, from_attributes=True)
            for each in figures.partitions
        ],
        live=[],
    )
    wide = msgspec.convert(figures, LedgerWide, from_attributes=True)
    wide = msgspec.structs.replace(wide, parked=wide.parked - parked)
    failing = [str(each) for each in [*item_equations(evidence), *ledger_equations(wide)] if not each.holds]
    assert not failing, failing


def _tallies(each: PartitionFigures) -> dict[str, object]:
    tallies = msgspec.structs.asdict(each)
    del tallies["row"]
    return tallies
