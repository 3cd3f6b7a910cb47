"""Version 3: the tables of rollwise 0.1.0."""

revision = "3"
down_revision = None


def upgrade() -> None:
    """Nothing: no older store can be read."""
