"""Rung 1, one row a unit with `SKIP LOCKED`: buyers take different rows, so they do not wait for each other."""

from hotsku.errors import InvalidSettings
from hotsku.strategies.base import Answer, Sale, refusal
from hotsku.strategies.databases.base import Again, Database, Session
from hotsku.strategies.locks.base import SqlStrategy

_FREE, _TAKEN = 0, 1


class SkipLocked(SqlStrategy):
    """Takes as many free rows of `units` as are asked, leaving out those that somebody else is just taking.

    It spreads the lock at the price of a row and an index entry a unit. The others' rows may come back when they roll
    back, so finding too few is no answer yet: what is committed is counted, and if that would do, the order waits for
    the rows of the others.
    """

    def __init__(self, database: Database, prefix: str) -> None:
        super().__init__(database, prefix)
        if database.dialect.skip_locked is None:
            raise InvalidSettings(
                f"skip_locked: {database.dialect.name} has no SKIP LOCKED; use another strategy there"
            )
        # As literals: a partial index serves only a condition that says the same.
        free = f"SELECT no FROM {prefix}units WHERE item_id = :item AND state = {_FREE} ORDER BY no LIMIT :quantity"
        self._pick = f"{free} {database.dialect.skip_locked}"
        self._wait = f"{free} {database.dialect.for_update}"
        self._count = f"SELECT count(*) FROM {prefix}units WHERE item_id = :item AND state = {_FREE}"
        self._any_taken = (
            f"SELECT no FROM {prefix}units WHERE item_id = :item AND state = {_TAKEN} LIMIT :quantity "
            f"{database.dialect.skip_locked}"
        )

    async def _sell(self, item: int, sale: Sale) -> Answer:
        answer = await self._try(item, sale, self._pick)
        while answer is None:
            answer = await self._try(item, sale, self._wait)
        return answer

    async def _try(self, item: int, sale: Sale, pick: str) -> Answer | None:
        return await self._database.transaction(lambda session: self._decide(session, item, sale, pick))

    def _decide(self, session: Session, item: int, sale: Sale, pick: str) -> Answer | None:
        values = self._values(item, sale)
        if session.execute(self._insert_order, values) == 0:
            return self._replay(session, item, sale)
        units = [no for (no,) in session.rows(pick, values)]
        if len(units) == sale.quantity:
            self._mark(session, item, units, _TAKEN)
            return Answer.ACCEPTED
        session.rollback()
        left = self._left(session, item)
        return refusal(left) if left < sale.quantity else None

    def _left(self, session: Session, item: int) -> int:
        return session.rows(self._count, {"item": item})[0][0]

    def _put_back(self, session: Session, item: int, quantity: int) -> None:
        # Units are alike, so any that are taken will do.
        units = [no for (no,) in session.rows(self._any_taken, {"item": item, "quantity": quantity})]
        if len(units) < quantity:
            raise Again
        self._mark(session, item, units, _FREE)

    def _create(self, session: Session, sku: str, total: int) -> int:
        found = super()._create(session, sku, total)
        if found == total:
            item = session.rows(f"SELECT id FROM {self._prefix}items WHERE sku = :sku", {"sku": sku})[0][0]
            session.execute(self._database.dialect.add_units(self._prefix), {"item": item, "total": total})
        return found

    def _mark(self, session: Session, item: int, units: list[int], state: int) -> None:
        names = [f"n{i}" for i in range(len(units))]
        places = ", ".join(f":{name}" for name in names)
        session.execute(
            f"UPDATE {self._prefix}units SET state = :state WHERE item_id = :item AND no IN ({places})",
            {"item": item, "state": state, **dict(zip(names, units, strict=True))},
        )
