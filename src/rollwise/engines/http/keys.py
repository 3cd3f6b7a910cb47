"""The API key of a server: where it comes from, whether it can be sent, and how messages leave it out."""

from __future__ import annotations

import json
import os

from rollwise.errors import InputError

KEYS = ("ROLLWISE_API_KEY", "OPENAI_API_KEY")
"""The environment variables that may hold the API key; the first one that is set counts."""
GIVE_A_KEY = f"give its key as {KEYS[0]} in the environment"
"""What to do about a server that wants a key, or another one."""


def api_key() -> str | None:
    """The API key from the environment: ROLLWISE_API_KEY, else OPENAI_API_KEY. rollwise never prints it.

    Raises InputError, which names the variable only, if the key is not printable ASCII without whitespace.
    """
    name = next((name for name in KEYS if os.environ.get(name, "").strip()), None)
    if name is None:
        return None
    key = os.environ[name].strip()
    if not all("!" <= character <= "~" for character in key):
        raise InputError(
            f"the key in {name} contains whitespace or a character outside printable ASCII, such as a line break or a "
            f"curly quotation mark, so no request can carry it: set {name} again to the key alone"
        )
    return key


def key_headers() -> dict[str, str]:
    """The headers of every request; they hold the API key if there is one. Raises InputError as `api_key` does."""
    key = api_key()
    return {"Authorization": f"Bearer {key}"} if key else {}


def redacted(text: str) -> str:
    """A text for a message: without the API keys, on one line, cut to 300 characters.

    A key is also found as a Python or JSON literal writes it, and with its line breaks turned into spaces.
    """
    for name in KEYS:
        if key := os.environ.get(name, "").strip():
            for spelling in (key, repr(key)[1:-1], json.dumps(key)[1:-1]):
                text = text.replace(spelling, "***")
    text = " ".join(text.split())
    for name in KEYS:
        if key := " ".join(os.environ.get(name, "").split()):
            text = text.replace(key, "***")
    return text[:300]
