"""The first schema: a new ledger gets its tables from ``schema.py``, and this revision as its mark.

A later change of the tables is a migration of its own, for the ledgers that are there by then.
"""

revision = "0007"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Do nothing: a ledger of this revision has its tables."""
