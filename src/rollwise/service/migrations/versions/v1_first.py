"""Version 1: the tables of the first services, which kept SQLite files without Alembic."""

revision = "1"
down_revision = None


def upgrade() -> None:
    """Nothing: no older store can be read."""
