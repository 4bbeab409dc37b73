"""What became of orders: one as its shard has it now, many as the ledger has them."""

from datetime import datetime, timedelta

from hotsku.domain.deduction import Deduction, OrderState, Outcome
from hotsku.domain.identity import check_order_ids
from hotsku.domain.order import OrderRecord
from hotsku.domain.routing import home, order_field
from hotsku.domain.times import TIME_ALLOWED, to_ms
from hotsku.engine.answers import birth_outcome, record_of, told
from hotsku.engine.engine import Engine, check_page
from hotsku.engine.item_path import ItemPath
from hotsku.engine.views import OrderEvent, order_event
from hotsku.errors import BackendUnavailable, InvalidRequest
from hotsku.ports import DetailRow, Fenced, Lost

_STATES = ", ".join(OrderState)


class Lookup(Engine):
    """The part of the inventory that tells of orders. All raise `InvalidRequest`, `UnknownItem` and
    `BackendUnavailable`."""

    async def order(self, sku: str, order_id: str, buyer_id: str = "") -> Deduction:
        """What became of an order: how it was accepted, and its state now; or an answer whose outcome is
        `not_found`."""
        path = await self._path(sku)
        check_order_ids(order_id, buyer_id)
        field = order_field(order_id, buyer_id)
        partition = home(order_id, buyer_id, len(path.partitions))
        try:
            record, now_ms = await self._shard.order(path.partitions[partition].ref, field)
        except Lost as error:
            raise BackendUnavailable(str(error)) from error
        except Fenced as error:  # the ledger may not have the order yet, or not its last step
            raise BackendUnavailable("a shard's memory is not the one that was armed; ask again") from error
        if record is None and (row := await self._ledger.order(path.item.id, order_id, buyer_id)):
            record = record_of(row)
        if record is not None:
            return self._accepted(path, order_id, buyer_id, partition, record, now_ms)
        return Deduction(
            outcome=Outcome.NOT_FOUND,
            sku=sku,
            order_id=order_id,
            buyer_id=buyer_id,
            quantity=0,
            partition=partition,
        )

    async def orders(
        self,
        sku: str,
        *,
        state: OrderState | str | None = None,
        older_than: timedelta | datetime | None = None,
        after: Deduction | None = None,
        limit: int = 100,
    ) -> list[Deduction]:
        """An item's orders as the ledger has them, partition by partition, in each the oldest first.

        Args:
            state: only those in this state.
            older_than: only those accepted before a time (timezone-aware), or longer ago than that.
            after: the last one of the page before.
            limit: 1 to 1,000.
        """
        path = await self._path(sku)
        before_ms = self._before_ms(older_than)
        last = None if after is None else _row_of(path, after)
        rows = await self._ledger.orders(path.item.id, _state(state), before_ms, last, check_page(limit))
        return [self._accepted(path, row.order_id, row.buyer_id, row.partition, record_of(row), 0) for row in rows]

    async def order_history(self, sku: str, order_id: str, buyer_id: str = "") -> list[OrderEvent]:
        """Every event of an order as far as the ledger has it, the earliest first; none where it has no such order."""
        path = await self._path(sku)
        check_order_ids(order_id, buyer_id)
        return [order_event(row) for row in await self._ledger.history(path.item.id, order_id, buyer_id)]

    # --- inside ---

    def _accepted(
        self, path: ItemPath, order_id: str, buyer_id: str, partition: int, record: OrderRecord, now_ms: int
    ) -> Deduction:
        signer = self._paths.signer
        return told(
            record,
            birth_outcome(record),
            sku=path.item.sku,
            order_id=order_id,
            buyer_id=buyer_id,
            partition=partition,
            now_ms=now_ms,
            sign=signer.signs_step(record) if signer else None,
        )

    def _before_ms(self, older_than: object) -> int | None:
        if not isinstance(older_than, timedelta):
            return to_ms("older_than", older_than)
        if older_than < timedelta(0):
            raise InvalidRequest("older_than", f"a timedelta of 0 or more, or {TIME_ALLOWED}")
        return self._clock.now_ms() - older_than // timedelta(milliseconds=1)


def _state(state: object) -> str | None:
    if state is None or (isinstance(state, str) and state in OrderState._value2member_map_):
        return None if state is None else str(state)
    raise InvalidRequest("state", f"one of {_STATES}")


def _row_of(path: ItemPath, after: object) -> DetailRow:
    """What the ledger finds its place by."""
    if not isinstance(after, Deduction) or after.state is None or after.sku != path.item.sku:
        raise InvalidRequest("after", "the last order of the page before")
    return DetailRow(
        item_id=path.item.id,
        buyer_id=after.buyer_id,
        order_id=after.order_id,
        quantity=after.quantity,
        state=after.state.value,
        partition=after.partition,
        incarnation=after.incarnation,
        seq=after.seq,
        created_at_ms=after.at_ms,
    )
