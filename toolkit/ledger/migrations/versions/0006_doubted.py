"""Which subscribers are looked up again: a part of the people each time, and who was taken for gone."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the count of readings, and the contacts in doubt."""
    op.add_column("mirrors", sa.Column("turn", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "doubted",
        sa.Column("shop_id", sa.String(255), primary_key=True),
        sa.Column("contact", sa.Text(), primary_key=True),
    )
