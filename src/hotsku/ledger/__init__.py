"""The ledger: the SQL database that is the durable truth."""

from hotsku.ledger.ledger import SqlLedger, open_ledger

__all__ = ["SqlLedger", "open_ledger"]
