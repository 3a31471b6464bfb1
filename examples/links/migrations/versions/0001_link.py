"""The links."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.create_table(
        "link",
        sa.Column("name", sa.String(50), primary_key=True),
        sa.Column("target", sa.String(2000), nullable=False),
    )


def downgrade():
    op.drop_table("link")
