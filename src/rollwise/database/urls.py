"""Tells the URL of a database from the path of a file."""

EXAMPLE = "postgresql+psycopg://user@host/name"


def is_url(place: object) -> bool:
    """Whether a place is the URL of a database and not the path of a file."""
    return isinstance(place, str) and "://" in place
