"""Version 4: paths without a readable answer, and paths that a limit cut, are counted."""

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"


def upgrade() -> None:
    """Add both counts; they are 0 for older results, which did not count them."""
    for name in ("unread", "cut"):
        op.add_column("results", sa.Column(name, sa.Integer, nullable=False, server_default="0"))
