"""Version 5: FLOPs and seconds by role."""

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = "4"


def upgrade() -> None:
    """Add both columns; they are null for older results, where they are unknown."""
    for name in ("flops", "seconds"):
        op.add_column("usages", sa.Column(name, sa.Double, nullable=True))
