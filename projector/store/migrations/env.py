"""Alembic's environment: it runs on the connection it is handed, in the group's own schema."""

from alembic import context

from projector.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="migrations",
    transactional_ddl=False,  # the caller's transaction holds everything, so that a dry run can undo it
)
context.run_migrations()
