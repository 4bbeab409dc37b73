"""What one kind of database does its own way: connections, faults, and the statements over many rows at once.

All else of the ledger is SQLAlchemy's common SQL. `sqlite`, `postgresql` and `mysql` implement this; `urls` chooses.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from enum import Enum, auto
from typing import Protocol

from msgspec import Struct
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from hotsku.domain.sales import Sale
from hotsku.ledger.threads import Urgency

# What a partition is granted: item, partition, incarnation, its last lease so far, how many more, units in all.
GrantRow = tuple[int, int, int, int, int, int]

# A write that waits for a locked row has a thread for as long: the others of its kind need more than one.
SERVER_WRITERS = {Urgency.LEASE: 4, Urgency.CHANGE: 4, Urgency.APPLY: 1}


class Run(Struct, frozen=True):
    """Sales of one incarnation of a partition, as rows to be made."""

    item_id: int
    partition: int
    incarnation: int
    sales: Sequence[Sale]


class Fault(Enum):
    """What an error of the database means for the transaction."""

    AGAIN = auto()  # given up because of others (a deadlock, a lock, no free connection): trying again may help
    LOST = auto()  # the connection broke, or there is none: a COMMIT that was under way may have happened
    DUPLICATE = auto()  # a unique key refused a row
    BROKEN = auto()  # another constraint, or a type, refused a value
    UNUSABLE = auto()  # the settings or the rights are the trouble: waiting does not help
    OTHER = auto()


class Dialect(Protocol):
    """One kind of database, at one URL."""

    @property
    def where(self) -> str:
        """The database for people, without a password."""
        ...

    @property
    def advice(self) -> str:
        """What to do where the database is unusable, as words behind a semicolon."""
        ...

    @property
    def migrates_itself(self) -> bool:
        """Whether opening it migrates it."""
        ...

    @property
    def writers(self) -> Mapping[Urgency, int] | None:
        """How many transactions of each kind may write at once: `SERVER_WRITERS`, or None: one of all."""
        ...

    def writer(self) -> Engine:
        """Connections that write, one for each writer. A row count is that of the rows found."""
        ...

    def reader(self, connections: int) -> Engine:
        """Connections that read; each of their transactions sees one snapshot."""
        ...

    def migrator(self) -> Engine:
        """Connections that change the schema; no statement of theirs times out."""
        ...

    def check_server(self, connection: Connection) -> None:
        """Look whether the database is one that can be used.

        Raises:
            InvalidSettings: it is not.
        """
        ...

    def migrating_alone(self, connection: Connection) -> AbstractContextManager[None]:
        """Keep other processes from migrating meanwhile."""
        ...

    def fault(self, error: DBAPIError) -> Fault:
        """What an error means."""
        ...

    def insert_sales(self, connection: Connection, runs: Sequence[Run]) -> int:
        """Insert a row for each sale, but for orders that have a row already; of two with one order the first.

        Returns:
            How many rows were inserted.
        """
        ...

    def grant(self, connection: Connection, grants: Sequence[GrantRow]) -> int:
        """Add units to open partitions that have the expected number of leases. Returns to how many."""
        ...

    def json_table(self, columns: Mapping[str, type]) -> str:
        """The parameter `:rows`, a JSON array of objects, as a table `e` with columns of type int, str or bool."""
        ...

    def update_from(self, table: str, source: str, condition: str, columns: Sequence[str]) -> str:
        """The statement that sets columns of a table to those of the source `e` where the condition, which names the
        table's primary key, holds."""
        ...

    def join_to(self, source: str, table: str, condition: str) -> str:
        """The source `e`, joined to those rows of a table for which the condition holds."""
        ...

    def insert_parked(self, connection: Connection, values: dict[str, object]) -> None:
        """Insert a row of `parked`, unless there is one with its digest."""
        ...
