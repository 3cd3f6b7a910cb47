"""One HTTP exchange with a server: the meaning of the status and of the body."""

from __future__ import annotations

import email.utils
import json
import math
import time
from http import HTTPStatus
from typing import Any

from rollwise.engines.http.keys import redacted
from rollwise.engines.http.shapes import BrokenReplyError, error_in
from rollwise.errors import EngineError

TRANSIENT_STATUSES = frozenset({408, 425, 429})
"""Statuses below 500 that are worth a retry. Every status from 500 on is worth a retry too."""


class LostError(EngineError):
    """A request that failed for good. `refused` is True if the server rejected it, with the status `status`."""

    def __init__(self, reason: str, refused: bool = False, status: int | None = None) -> None:
        super().__init__(reason)
        self.refused, self.status = refused, status


class MovedError(LostError):
    """A request that the server sends on to another address. rollwise does not follow: its key is for one server."""


def wants_a_key(error: Exception) -> bool:
    """Whether a request failed because its API key is missing or wrong."""
    return isinstance(error, LostError) and error.status == HTTPStatus.UNAUTHORIZED


class TransientError(EngineError):
    """A failed request that is worth a retry, after `wait` seconds if the server asks for a wait.

    `unreachable` is True if the connection failed. `repeats` is True if the failure is permanent once it repeats word
    for word.
    """

    def __init__(
        self, reason: str, wait: float | None = None, unreachable: bool = False, repeats: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait, self.unreachable, self.repeats = wait, unreachable, repeats


def error_message(body: str) -> str:
    """The message in the body of an error reply, in the shape of OpenAI, of FastAPI or of neither."""
    try:
        return error_in(json.loads(body))
    except (ValueError, RecursionError):
        return redacted(body)


def retry_after(value: str | None, now: float) -> float | None:
    """The seconds that a Retry-After header asks for, as a number or as a date; None if it asks for none."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now
        except (TypeError, ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def check_status(status: int, body: str, wait: str | None = None) -> None:
    """Raise TransientError for a status that is worth a retry, and LostError for any other that is no success.

    `wait` is the value of the Retry-After header.
    """
    if 200 <= status < 300:
        return
    reason = f"the server answered {status}: {error_message(body)}"
    if status in TRANSIENT_STATUSES or status >= 500:
        seconds = retry_after(wait, time.time())
        raise TransientError(reason, seconds, repeats=status >= 500 and seconds is None)
    raise LostError(reason, refused=True, status=status)


def parsed(text: str) -> Any:
    """The JSON of a reply. Raises BrokenReplyError if the text is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BrokenReplyError(f"the server replied no JSON: {redacted(text)[:80]!r}") from None
