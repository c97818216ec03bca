"""Alembic runs this file: on the connection that `pyedge.serve.database` has opened."""

from __future__ import annotations

from alembic import context

from pyedge.serve.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
