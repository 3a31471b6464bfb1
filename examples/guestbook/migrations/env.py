"""Let alembic work on the application's own database."""

from alembic import context
from flask import current_app

extension = current_app.extensions["migrate"]

with extension.db.engine.connect() as connection:
    context.configure(
        connection=connection, target_metadata=extension.db.metadata, render_as_batch=True
    )
    with context.begin_transaction():
        context.run_migrations()
