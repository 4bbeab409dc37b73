"""How the ledger books a partition's events: what each makes of its order, and of the figures.

An event that its order does not allow, or that can be no row, is refused: its detail waits for a person. Of a birth the
units have gone all the same, and are applied. A refused step moves no figure: its order's row stays as it is, and the
figures say what the rows say. So no order's units can go back to the pool twice.
"""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from hotsku.domain.booked import BookedOrder, BookedStep, OrderKey, after_step
from hotsku.domain.deduction import OrderState
from hotsku.domain.events import Event, EventKind, PartitionRef
from hotsku.domain.validity import fault


class Booking:
    """Books events of one incarnation of a partition, in their order.

    Attributes:
        orders: the orders as they are now.
        steps: rows to be made.
        refused: events whose details wait for a person, and why.
        taken, held, returned: what is to be added to the partition's figures.
        given_back: units of orders that ended, straight to the pool.
    """

    def __init__(self, ref: PartitionRef, incarnation: int, orders: Mapping[OrderKey, BookedOrder]) -> None:
        """
        Args:
            orders: as the ledger has them, of every order that the events name; those it does not have are not there.
        """
        self.orders = dict(orders)
        self.steps: list[BookedStep] = []
        self.refused: list[tuple[Event, str]] = []
        self.taken = self.held = self.returned = self.given_back = 0
        self._ref = ref
        self._incarnation = incarnation

    def book(self, events: Iterable[Event]) -> None:
        """Book the events."""
        for event in events:
            if event.kind is EventKind.RETURNED:
                self._book_return(event)
            elif event.kind is EventKind.DEDUCTED or event.kind is EventKind.HELD:
                self._book_birth(event)
            else:
                self._book_step(event)

    def _book_return(self, event: Event) -> None:
        self.returned += event.quantity
        reason = fault(event)
        if reason is not None:
            self.refused.append((event, reason))
        else:
            self.steps.append(self._row(event, event.kind))

    def _book_birth(self, event: Event) -> None:
        reason = fault(event)
        key = (event.buyer_id, event.order_id)
        known = self.orders.get(key)
        if reason is not None:
            self.taken += event.quantity
            self.refused.append((event, reason))
        elif known is None:
            self._open(event, 1)
        elif known.state in (OrderState.RELEASED, OrderState.EXPIRED):
            self.steps.append(_birth_of(known))
            self._open(event, known.attempt + 1)
        else:
            # The order has been sold under another seq. Its units go back to the pool, or they would be stranded.
            self.returned += event.quantity
            self.steps.append(self._row(event, EventKind.RETURNED))

    def _open(self, event: Event, attempt: int) -> None:
        held = event.kind is EventKind.HELD
        self.taken += event.quantity
        self.held += event.quantity if held else 0
        self.orders[(event.buyer_id, event.order_id)] = BookedOrder(
            buyer_id=event.buyer_id,
            order_id=event.order_id,
            quantity=event.quantity,
            state=(OrderState.HELD if held else OrderState.CONFIRMED).value,
            item_id=self._ref.item_id,
            partition=self._ref.partition,
            incarnation=self._incarnation,
            seq=event.seq,
            created_at=event.at,
            born=event.kind.value,
            attempt=attempt,
            cart=event.cart,
            expires_at=event.expires_at,
            metadata=event.metadata,
        )

    def _book_step(self, event: Event) -> None:
        reason = fault(event)
        key = (event.buyer_id, event.order_id)
        before = self.orders.get(key)
        after = self._stepped(before, event) if reason is None else reason
        if before is None or isinstance(after, str):
            self.refused.append((event, str(after)))
            return
        self.held += _on_hold(after) - _on_hold(before)
        self.given_back += _given_back(after) - _given_back(before)
        self.steps.append(self._row(event, event.kind))
        self.orders[key] = replace(after, step_incarnation=self._incarnation, step_seq=event.seq, step_at=event.at)

    def _stepped(self, order: BookedOrder | None, event: Event) -> BookedOrder | str:
        """The order after the step, or why it cannot take it."""
        if order is None:
            return "the ledger does not have the order"
        if order.partition != self._ref.partition:
            return f"the order is of partition {order.partition}"
        if event.kind is not EventKind.REFUNDED and event.quantity != order.quantity:
            return f"the order has {order.quantity} units"
        after = after_step(order, event)
        return after or f"the order is {order.state}, with {order.refunded} of {order.quantity} units refunded"

    def _row(self, event: Event, kind: EventKind) -> BookedStep:
        return BookedStep(
            item_id=self._ref.item_id,
            partition=self._ref.partition,
            incarnation=self._incarnation,
            seq=event.seq,
            kind=kind.value,
            buyer_id=event.buyer_id,
            order_id=event.order_id,
            quantity=event.quantity,
            at=event.at,
            expires_at=event.expires_at,
            payment_ref=event.payment_ref,
        )


def _birth_of(order: BookedOrder) -> BookedStep:
    """The birth of an order's earlier attempt, which gives up the order's row."""
    return BookedStep(
        item_id=order.item_id,
        partition=order.partition,
        incarnation=order.incarnation,
        seq=order.seq,
        kind=order.born,
        buyer_id=order.buyer_id,
        order_id=order.order_id,
        quantity=order.quantity,
        at=order.created_at,
        expires_at=order.expires_at,
    )


def _on_hold(order: BookedOrder) -> int:
    return order.quantity if order.state == OrderState.HELD else 0


def _given_back(order: BookedOrder) -> int:
    ended = order.state in (OrderState.RELEASED, OrderState.EXPIRED)
    return order.quantity if ended else order.refunded
