"""A shop that keeps its own order table beside HotSKU: hold, insert, pay, confirm.

No transaction spans HotSKU, the shop's database and the payment provider. So every step may be done twice, and a crash
leaves something that `recover` finishes:

    crash                          HotSKU has   the table has   `recover`
    before the hold                nothing      nothing         has nothing to do
    after the hold                 a hold       nothing         releases it
    after the insert               a hold       new             finds no payment: releases it, cancelled
    after the payment              a hold       new             finds the payment: confirms it, done
    after the row says so          a hold       paid            confirms it, done
    after the confirmation         confirmed    paid            hears that it is confirmed: done
    anywhere, the hold expired     expired      new, paid       gives the money back: refunded

See docs/order-table.md.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

from sqlalchemy import Column, Engine, Float, MetaData, Row, String, Table, insert, select, update
from sqlalchemy.exc import IntegrityError

import hotsku.sync
from hotsku import Deduction, OrderState, Outcome
from hotsku.client import BlockingClient

# Either will do: the engine in this process, or a gateway.
Stock = hotsku.sync.BlockingInventory | BlockingClient
OrderRow = Row[tuple[str, str, str, str, str | None, float]]

PAGE = 1000

metadata = MetaData()
orders = Table(
    "orders",
    metadata,
    Column("order_id", String(64), primary_key=True),
    Column("buyer_id", String(64), nullable=False),
    Column("sku", String(64), nullable=False),
    # new ─► paid ─► done, or refunded where the hold was gone; new ─► cancelled where nobody paid
    Column("state", String(16), nullable=False),
    Column("payment_ref", String(128)),
    Column("created_at", Float, nullable=False),
)


class Payments(Protocol):
    """The payment provider; every call may be repeated."""

    def charge(self, order_id: str) -> str:
        """Take the money for an order; returns the payment's reference. Raises where `settle` came before."""
        ...

    def settle(self, order_id: str) -> str | None:
        """The payment of an order. Where there is none, from now on none can be made."""
        ...

    def refund(self, payment_ref: str) -> None:
        """Give the money back."""
        ...


class Shop:
    """Sells one unit to an order."""

    def __init__(self, stock: Stock, database: Engine, payments: Payments) -> None:
        self._stock = stock
        self._database = database
        self._payments = payments

    def check_out(self, sku: str, order_id: str, buyer_id: str) -> str:
        """Sell to an order, which may be repeated. Returns the row's state, or why nothing is held: `sold_out`, say."""
        held = self._stock.reserve(sku, 1, order_id=order_id, buyer_id=buyer_id)
        if held.state is None:
            return held.outcome.value
        row = self._insert(sku, order_id, buyer_id)
        paying = self._stock.begin_payment(sku, order_id=order_id, buyer_id=buyer_id)
        if row.state == "new" and paying.state is OrderState.HELD:
            return self._finish(row, self._payments.charge(order_id))
        return self._resolve(row)

    def recover(self, sku: str, older_than: timedelta) -> None:
        """Finish what crashes left behind. Run it every minute, in any number of processes.

        Args:
            older_than: longer than a check-out takes: younger orders may still be under way.
        """
        for row in self._unfinished(sku, older_than):
            self._resolve(row)
        for hold in self._holds(sku, older_than):
            row_of_hold = self._find(hold.order_id)
            if row_of_hold is None or row_of_hold.state not in ("new", "paid"):
                self._stock.release(sku, order_id=hold.order_id, buyer_id=hold.buyer_id)

    # --- how an order ends ---

    def _resolve(self, row: OrderRow) -> str:
        """Lead an order to its end, whoever left it where."""
        if row.state not in ("new", "paid"):
            return str(row.state)
        payment_ref = row.payment_ref or self._payments.settle(row.order_id)
        if payment_ref is not None:
            return self._finish(row, payment_ref)
        self._stock.release(row.sku, order_id=row.order_id, buyer_id=row.buyer_id)
        return self._mark(row, "cancelled")

    def _finish(self, row: OrderRow, payment_ref: str) -> str:
        """It is paid: sell what is held, or give the money back where the hold is gone."""
        self._mark(row, "paid", payment_ref)
        sold = self._stock.confirm(row.sku, order_id=row.order_id, buyer_id=row.buyer_id, payment_ref=payment_ref)
        if sold.outcome is Outcome.CONFIRMED and sold.refund_payment_ref is None:
            return self._mark(row, "done")
        self._payments.refund(payment_ref)
        return self._mark(row, "refunded")

    # --- the shop's own table ---

    def _insert(self, sku: str, order_id: str, buyer_id: str) -> OrderRow:
        """The order's row, new if it was not there."""
        values = {"order_id": order_id, "buyer_id": buyer_id, "sku": sku, "state": "new", "created_at": time.time()}
        with suppress(IntegrityError), self._database.begin() as transaction:  # it is there
            transaction.execute(insert(orders).values(values))
        with self._database.begin() as transaction:
            return transaction.execute(select(orders).where(orders.c.order_id == order_id)).one()

    def _mark(self, row: OrderRow, state: str, payment_ref: str | None = None) -> str:
        """Write a state down, unless another process has led the order further."""
        before = ("new",) if state == "paid" else ("new", "paid")
        values = {"state": state} | ({} if payment_ref is None else {"payment_ref": payment_ref})
        open_row = (orders.c.order_id == row.order_id) & orders.c.state.in_(before)
        with self._database.begin() as transaction:
            transaction.execute(update(orders).where(open_row).values(values))
        return state

    def _find(self, order_id: str) -> OrderRow | None:
        with self._database.begin() as transaction:
            return transaction.execute(select(orders).where(orders.c.order_id == order_id)).one_or_none()

    def _unfinished(self, sku: str, older_than: timedelta) -> list[OrderRow]:
        old = orders.c.created_at <= time.time() - older_than.total_seconds()
        wanted = select(orders).where(orders.c.sku == sku, orders.c.state.in_(("new", "paid")), old)
        with self._database.begin() as transaction:
            return list(transaction.execute(wanted).all())

    # --- HotSKU's holds ---

    def _holds(self, sku: str, older_than: timedelta) -> Iterator[Deduction]:
        after: Deduction | None = None
        while True:
            page = self._stock.orders(sku, state="held", older_than=older_than, after=after, limit=PAGE)
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1]
