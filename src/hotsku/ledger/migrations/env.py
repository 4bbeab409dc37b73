"""Alembic's environment. `hotsku.ledger.migrate` hands it the connection, already in a transaction."""

from alembic import context
from sqlalchemy import Connection

from hotsku.ledger.tables import metadata

connection: Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
