"""Operations that tell of orders as the ledger has them: many at once, and what one went through."""

from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from hotsku.client.answers import fault_of, read_problem, to_deduction
from hotsku.client.asking import Asking, ask, reading
from hotsku.client.wire import Operation, Reply
from hotsku.domain.deduction import Deduction, OrderState, Proof
from hotsku.domain.identity import check_id, check_order_ids
from hotsku.engine.views import OrderEvent
from hotsku.errors import InvalidRequest
from hotsku.http.orders_after import order_at, place_of


class _OrdersPage(Struct, frozen=True):
    orders: list[dict[str, object]]
    next: str | None


class _History(Struct, frozen=True):
    events: list[OrderEvent]


class ListingOperations(Asking):
    """What the ledger tells of orders; it follows a sale within seconds."""

    def orders(
        self,
        sku: str,
        *,
        state: OrderState | str | None = None,
        older_than: timedelta | datetime | None = None,
        after: Deduction | None = None,
        limit: int = 100,
    ) -> Operation[list[Deduction]]:
        """An item's orders as the ledger has them, partition by partition, in each the oldest first.

        Args:
            state: only those in this state.
            older_than: only those accepted before a time (timezone-aware), or longer ago than that; in whole seconds,
                rounded up.
            after: the last one of the page before, which was full: only that one knows its place.
            limit: 1 to 1,000.
        """
        query = {"limit": str(limit)}
        if state is not None:
            query["state"] = str(state)
        if older_than is not None:
            query["older_than_s"] = str(self._age_s(older_than))
        if after is not None:
            query["after"] = _place(sku, after)
        request = reading("items", check_id("sku", sku), "orders", query=query)
        return ask(self.terms, request, lambda reply: _page(reply, sku), f"the orders of {sku!r}")

    def order_history(self, sku: str, order_id: str, buyer_id: str = "") -> Operation[list[OrderEvent]]:
        """Every event of an order as far as the ledger has it, the earliest first; none where it has no such order."""
        check_order_ids(order_id, buyer_id)
        query = {"buyer_id": buyer_id} if buyer_id else {}
        request = reading("items", check_id("sku", sku), "orders", order_id, "history", query=query)
        return ask(self.terms, request, _history, f"the order {order_id!r} of {sku!r}")

    def _age_s(self, older_than: timedelta | datetime) -> int:
        if isinstance(older_than, datetime) and older_than.utcoffset() is not None:
            older_than = self.terms.now() - older_than
        if not isinstance(older_than, timedelta) or older_than < timedelta(0):
            raise InvalidRequest("older_than", "a timedelta of 0 or more, or a timezone-aware datetime in the past")
        return -(-older_than // timedelta(seconds=1))


def _page(reply: Reply, sku: str) -> list[Deduction]:
    if reply.status >= 400:
        raise fault_of(reply)
    page = msgspec.json.decode(reply.body, type=_OrdersPage)
    found = [to_deduction(told, {"sku": sku}) for told in page.orders]
    return found if page.next is None else [*found[:-1], _placed(found[-1], order_at(sku, page.next))]


def _placed(order: Deduction, at: Deduction | None) -> Deduction:
    """The order, with the place where the next page begins."""
    if at is None:
        return order
    sign = order.proof.sign if order.proof else None
    return msgspec.structs.replace(order, partition=at.partition, seq=at.seq, proof=Proof(at.incarnation, 0, sign))


def _place(sku: str, after: object) -> str:
    if not isinstance(after, Deduction) or after.sku != sku or not after.incarnation:
        raise InvalidRequest("after", "the last order of the page before, which was full")
    return place_of(after)


def _history(reply: Reply) -> list[OrderEvent]:
    if reply.status >= 400:
        if read_problem(reply).missing:
            return []
        raise fault_of(reply)
    return msgspec.json.decode(reply.body, type=_History).events
