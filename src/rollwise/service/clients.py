"""Who a request comes from: the name of the key that it carries."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from http import HTTPStatus

from rollwise.openai_format import RequestError

ANYBODY = "anybody"
"""The name of every client of a service without keys."""


def client_of(keys: Mapping[str, str], given: str) -> str:
    """The name of the key whose SHA-256 is that of the given key. Every digest is compared, each in constant time.

    Raises RequestError with status 401 for an unknown key. Without keys everyone is ANYBODY.
    """
    if not keys:
        return ANYBODY
    digest = hashlib.sha256(given.encode(errors="surrogateescape")).hexdigest()
    matches = [name for name, known in keys.items() if hmac.compare_digest(known, digest)]
    if not matches or not given:
        raise RequestError(HTTPStatus.UNAUTHORIZED, "send a key of this service as `Authorization: Bearer KEY`")
    return matches[0]
