"""The ledger schema's history, carried out by Alembic when a ledger is opened."""
