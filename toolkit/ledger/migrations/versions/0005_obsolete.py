"""Custom events by subscriber, so that each is compared with the one before it."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_transitions_subscriber", "transitions", ["subscriber_id"])
