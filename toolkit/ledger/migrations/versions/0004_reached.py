"""The subscribers that people reach, so that a contact that moves leaves no audience behind."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; it fills with the next live run."""
    op.create_table(
        "reached",
        sa.Column("shop_id", sa.String(255), primary_key=True),
        sa.Column("person", sa.Text(), primary_key=True),
        sa.Column("subscriber_id", sa.String(255), primary_key=True),
        sa.Column("left_in", sa.String(64)),
    )
