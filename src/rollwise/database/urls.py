"""Tells the URL of a database from the path of a file."""

EXAMPLE = "postgresql+psycopg://user@host/name"


def is_url(place: object) -> bool:
    """Whether a place is the URL of a database and not the path of a file."""
    return isinstance(place, str) and "://" in place


def is_server(place: object) -> bool:
    """Whether a place is the URL of a database server, which several machines can share, and not that of a file."""
    return isinstance(place, str) and is_url(place) and not place.startswith("sqlite")
