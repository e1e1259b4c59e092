"""The mirror's own record, who was asked for, who holds a shop, and the words that a run replaced."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables; an older mirror is read anew, because nobody noted how far it reaches."""
    op.create_table(
        "mirrors",
        sa.Column("shop_id", sa.String(255), primary_key=True),
        sa.Column("newest", sa.Text(), nullable=False),
        sa.Column("is_complete", sa.Boolean(), nullable=False),
        sa.Column("trait_keys", sa.Text(), nullable=False),
        sa.Column("page_size", sa.Integer(), nullable=False),
        sa.Column("is_dated", sa.Boolean(), nullable=False),
        sa.Column("read_at", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "asked",
        sa.Column("shop_id", sa.String(255), primary_key=True),
        sa.Column("contact", sa.Text(), primary_key=True),
    )
    op.create_table(
        "locks",
        sa.Column("shop_id", sa.String(255), primary_key=True),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "replaced",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("shop_id", sa.String(255), primary_key=True),
        sa.Column("person", sa.Text(), primary_key=True),
        sa.Column("audience_key", sa.Text(), primary_key=True),
        sa.Column("trait_key", sa.Text(), primary_key=True),
        sa.Column("word", sa.Text(), nullable=False),
    )
    op.add_column("transitions", sa.Column("planned_at", sa.DateTime()))
    op.execute("DELETE FROM subscribers")
    with op.batch_alter_table("subscribers") as table:
        table.drop_column("run_id")
    is_open = sa.text("finished_at IS NULL")
    op.create_index("ix_calls_open", "calls", ["run_id"], sqlite_where=is_open, postgresql_where=is_open)
