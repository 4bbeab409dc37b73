"""The background writer of `one_key`: details from the item's stream into SQL, in bulk, each once.

What SQL has is the item's `drained` number, moved by a guarded update in the transaction that writes the rows. So a
writer that dies between its commit and the trimming of the stream, or a second one beside it, writes nothing twice.
"""

from typing import cast

import redis.asyncio

from hotsku.domain.routing import split_field
from hotsku.strategies.databases.base import Database, Session, Value
from hotsku.strategies.locks.base import RELEASED, SOLD
from hotsku.strategies.one_key.keys import ItemKeys

BATCH = 1000

_Detail = tuple[int, bool, str, int]  # number, sold (else released), order field, quantity


class Drain:
    """Writes the details of items.

    Args:
        database: with the tables of `SqlStrategy`.
        prefix: of the tables.
    """

    def __init__(self, database: Database, prefix: str, client: redis.asyncio.Redis) -> None:
        self._database = database
        self._client = client
        before, behind = database.dialect.insert
        self._drained = f"SELECT drained FROM {prefix}items WHERE id = :item"
        self._move = (
            f"UPDATE {prefix}items SET drained = :last, stock = stock - :units WHERE id = :item AND drained = :first"
        )
        self._insert = (
            f"{before} INTO {prefix}orders (item_id, buyer_id, order_id, quantity, state) "
            f"VALUES (:item, :buyer, :order, :quantity, {SOLD}) {behind}"
        )
        self._release = (
            f"UPDATE {prefix}orders SET state = {RELEASED} "
            "WHERE item_id = :item AND buyer_id = :buyer AND order_id = :order"
        )

    async def drain(self, item: int, keys: ItemKeys) -> int:
        """Write up to 1,000 details. Returns how many there were."""
        ((first,),) = await self._database.statements(lambda session: session.rows(self._drained, {"item": item}))
        entries = cast(
            "list[tuple[bytes, dict[bytes, bytes]]]",
            await self._client.xrange(keys.details, min=f"{first + 1}-0", count=BATCH),
        )
        details = [_detail(entry_id, fields) for entry_id, fields in entries]
        if not details:
            return 0
        if await self._database.transaction(lambda session: self._write(session, item, first, details)):
            await self._client.xtrim(keys.details, minid=f"{details[-1][0] + 1}-0", approximate=False)
        return len(details)

    def _write(self, session: Session, item: int, first: int, details: list[_Detail]) -> bool:
        """Returns whether these details are written: another writer may have been quicker, and written fewer."""
        units = sum(quantity if sold else -quantity for _, sold, _, quantity in details)
        moved = session.execute(self._move, {"item": item, "first": first, "last": details[-1][0], "units": units})
        if moved == 0:
            session.rollback()
            return False
        for sold, sql in ((True, self._insert), (False, self._release)):
            rows = [_row(item, field, quantity) for _, kind, field, quantity in details if kind is sold]
            if rows:
                session.execute_many(sql, rows)
        return True


def _detail(entry_id: bytes, fields: dict[bytes, bytes]) -> _Detail:
    sold = b"sold" in fields
    field = fields[b"sold" if sold else b"released"].decode()
    return int(entry_id.partition(b"-")[0]), sold, field, int(fields[b"q"])


def _row(item: int, field: str, quantity: int) -> dict[str, Value]:
    order_id, buyer_id = split_field(field)
    return {"item": item, "buyer": buyer_id, "order": order_id, "quantity": quantity}


def first_of(reply: object) -> tuple[str, str]:
    """A script's reply of one or two parts, as text."""
    parts = [part.decode() if isinstance(part, bytes) else str(part) for part in cast("list[bytes | int]", reply)]
    return parts[0], parts[1] if len(parts) > 1 else ""
