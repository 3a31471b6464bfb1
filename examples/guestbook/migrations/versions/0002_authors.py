"""Entries have authors."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("entry", sa.Column("author", sa.String(2000), nullable=False, server_default=""))


def downgrade():
    with op.batch_alter_table("entry") as batch:
        batch.drop_column("author")
