"""The ledger: the SQL database that is the durable truth."""

from hotsku.ledger.ledger import SqlLedger, migrate_ledger, open_ledger

__all__ = ["SqlLedger", "migrate_ledger", "open_ledger"]
