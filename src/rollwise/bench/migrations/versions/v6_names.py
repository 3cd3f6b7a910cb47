"""Version 6: names of benches in a store that several share."""

import sqlalchemy as sa
from alembic import op

revision = "6"
down_revision = "5"


def upgrade() -> None:
    """Add the name; it is null for older benches, each of which has a file of its own."""
    op.add_column("experiments", sa.Column("name", sa.String, nullable=True))
    op.create_index("ix_experiments_name", "experiments", ["name"], unique=True)
