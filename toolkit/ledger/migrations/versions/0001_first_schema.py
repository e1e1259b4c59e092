"""The first schema: runs, totals, what is asked for, the mirror, and what was sent."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "calls",
        sa.Column("call_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("route", sa.String(255), nullable=False),
        sa.Column("subscriber_id", sa.String(255)),
        sa.Column("external_id", sa.String(64)),
        sa.Column("before", sa.Text()),
        sa.Column("after", sa.Text()),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime()),
        sa.Column("outcome", sa.Text()),
        sa.Column("status_code", sa.Integer()),
        sa.Column("tries", sa.Integer()),
    )
    op.create_index("ix_calls_run_id", "calls", ["run_id"])
    op.create_table(
        "changes",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("person", sa.Text(), primary_key=True),
        sa.Column("audience_key", sa.Text(), primary_key=True),
        sa.Column("audience_id", sa.Text()),
        sa.Column("member", sa.Boolean(), nullable=False),
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
    op.create_table(
        "memberships",
        sa.Column("shop_id", sa.String(255), primary_key=True),
        sa.Column("person", sa.Text(), primary_key=True),
        sa.Column("audience_key", sa.Text(), primary_key=True),
        sa.Column("audience_id", sa.Text()),
        sa.Column("member", sa.Boolean(), nullable=False),
        sa.Column("timestamp", sa.BigInteger()),
        sa.Column("received_at", sa.BigInteger()),
        sa.Column("message_id", sa.Text()),
        sa.Column("run_id", sa.String(64), nullable=False),
    )
    op.create_table(
        "people",
        sa.Column("shop_id", sa.String(255), primary_key=True),
        sa.Column("person", sa.Text(), primary_key=True),
        sa.Column("email", sa.Text()),
        sa.Column("email_at", sa.BigInteger()),
        sa.Column("phone", sa.Text()),
        sa.Column("phone_at", sa.BigInteger()),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("shop_id", sa.String(255), nullable=False),
        sa.Column("shop_name", sa.Text(), nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime()),
        sa.Column("seconds", sa.Float(), nullable=False),
    )
    op.create_index("ix_runs_started_at", "runs", ["started_at"])
    op.create_table(
        "subscribers",
        sa.Column("shop_id", sa.String(255), primary_key=True),
        sa.Column("subscriber_id", sa.String(255), primary_key=True),
        sa.Column("phone_digits", sa.Text()),
        sa.Column("email_folded", sa.Text()),
        sa.Column("audiences", sa.Text()),
        sa.Column("has_property", sa.Boolean(), nullable=False),
        sa.Column("property_count", sa.Integer(), nullable=False),
        sa.Column("can_send", sa.Boolean()),
        sa.Column("updated_at", sa.Text()),
        sa.Column("run_id", sa.String(64), nullable=False),
    )
    op.create_table(
        "totals",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("audience_key", sa.Text(), primary_key=True),
        sa.Column("status", sa.String(32), primary_key=True),
        sa.Column("reason_code", sa.String(64), primary_key=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "transitions",
        sa.Column("external_id", sa.String(64), primary_key=True),
        sa.Column("shop_id", sa.String(255), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("subscriber_id", sa.String(255), nullable=False),
        sa.Column("audience_key", sa.Text(), nullable=False),
        sa.Column("audience_id", sa.Text()),
        sa.Column("entered", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
    )
    op.create_index("ix_transitions_open", "transitions", ["shop_id", "state"])
