"""Version 2: several processes share a store. Its name differs from a number, so that no bench's store looks alike."""

import sqlalchemy as sa
from alembic import op

revision = "service 2"
down_revision = "1"


def upgrade() -> None:
    """Add the tables of processes, places and secrets, and what the first stores of version 1 lack."""
    found = sa.inspect(op.get_bind())
    if "signals" not in found.get_table_names():
        op.create_table(
            "signals",
            sa.Column("search_id", sa.String, sa.ForeignKey("searches.id"), primary_key=True),
            *(sa.Column(name, sa.Integer, nullable=False) for name in ("characters", "numbers", "turns")),
            *(sa.Column(name, sa.Double) for name in ("reward", "directions")),
        )
    indexes = {index["name"] for index in found.get_indexes("searches")}
    for name, columns in (("by_route", ["route", "began"]), ("by_rule", ["route", "purpose", "rule", "began"])):
        if name not in indexes:
            op.create_index(name, "searches", columns)
    op.create_table(
        "processes",
        sa.Column("process", sa.String, primary_key=True),
        sa.Column("beat", sa.Double, nullable=False),
    )
    op.create_table(
        "places",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("process", sa.String, nullable=False),
    )
    op.create_index("ix_places_process", "places", ["process"])
    op.create_table(
        "secrets",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )
