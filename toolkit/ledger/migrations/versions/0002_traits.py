"""Computed traits: what is asked for, what became of it, and writes that name several properties."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the traits, and name a trait wherever an audience is named."""
    op.create_table(
        "traits",
        sa.Column("shop_id", sa.String(255), primary_key=True),
        sa.Column("person", sa.Text(), primary_key=True),
        sa.Column("trait_key", sa.Text(), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("timestamp", sa.BigInteger()),
        sa.Column("received_at", sa.BigInteger()),
        sa.Column("message_id", sa.Text()),
        sa.Column("run_id", sa.String(64), nullable=False),
    )
    op.add_column("subscribers", sa.Column("properties", sa.Text()))
    for name in ("before", "after"):
        # These are fixed words: nothing of them comes from outside.
        op.execute(
            f"UPDATE calls SET {name} = '{{\"Segment Audiences\": ' || {name} || '}}' "  # noqa: S608
            f"WHERE {name} IS NOT NULL"
        )
    _rebuild_changes()
    _rebuild_totals()


def _rebuild_changes() -> None:
    # Made anew: SQLite cannot change a primary key.
    op.rename_table("changes", "changes_0001")
    op.create_table(
        "changes",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("person", sa.Text(), primary_key=True),
        sa.Column("audience_key", sa.Text(), primary_key=True),
        sa.Column("trait_key", sa.Text(), primary_key=True),
        sa.Column("audience_id", sa.Text()),
        sa.Column("member", sa.Boolean()),
        sa.Column("trait_value", sa.Text()),
        sa.Column("operation", sa.String(16)),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("reason_code", sa.String(64), nullable=False),
        sa.Column("status_message", sa.Text()),
        sa.Column("subscriber_id", sa.String(255)),
        sa.Column("match_method", sa.String(16)),
        sa.Column("can_send", sa.Boolean()),
        sa.Column("email_masked", sa.Text()),
        sa.Column("phone_masked", sa.Text()),
        sa.Column("message_id", sa.Text()),
        sa.Column("timestamp", sa.BigInteger()),
        sa.Column("external_id", sa.String(64)),
    )
    kept = (
        "run_id, person, audience_key, audience_id, member, operation, status, reason_code, "
        "status_message, subscriber_id, match_method, can_send, email_masked, phone_masked, message_id, "
        "timestamp, external_id"
    )
    _move("changes", kept)


def _rebuild_totals() -> None:
    op.rename_table("totals", "totals_0001")
    op.create_table(
        "totals",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("audience_key", sa.Text(), primary_key=True),
        sa.Column("trait_key", sa.Text(), primary_key=True),
        sa.Column("status", sa.String(32), primary_key=True),
        sa.Column("reason_code", sa.String(64), primary_key=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
    )
    _move("totals", "run_id, kind, audience_key, status, reason_code, count")


def _move(table: str, kept: str) -> None:
    op.execute(f"INSERT INTO {table} (trait_key, {kept}) SELECT '', {kept} FROM {table}_0001")  # noqa: S608
    op.drop_table(f"{table}_0001")
