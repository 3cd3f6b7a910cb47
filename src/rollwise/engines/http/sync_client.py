"""A synchronous client for the few requests before a search: which model a server holds and which features it has."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import httpx

from rollwise.engines.http.environment import usable_environment
from rollwise.engines.http.exchange import LostError, MovedError, check_status, parsed
from rollwise.engines.http.keys import key_headers, redacted
from rollwise.engines.http.servers import Address
from rollwise.engines.http.shapes import BrokenReplyError
from rollwise.errors import EngineError, InputError

_TRIES = 6
_FIRST_WAIT = 0.05
"""Half the seconds before the second try."""
_SAME_FAULTS = 3
"""A fault that comes this often in a row, word for word, is permanent, unless the server asks for a wait."""
_LONGEST_WAIT = 60.0
"""The longest wait, in seconds, that a server may ask for before a search."""


class SyncClient:
    """Sends requests to one server, one after the other, and retries transient failures a few times."""

    def __init__(self, address: Address, seconds: float = 120.0) -> None:
        self.address = address
        timeout = httpx.Timeout(seconds, connect=5.0)
        secure = address.url.startswith("https:")  # loading the certificates takes time, so only https does
        with usable_environment():
            self._client = httpx.Client(timeout=timeout, trust_env=not address.loopback, verify=secure)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, tries: int = _TRIES) -> Any:
        """The JSON at a route; None if the server refuses the route or replies no JSON."""
        with contextlib.suppress(LostError, BrokenReplyError):
            return self._request("GET", path, None, tries)
        return None

    def refusal(self, path: str) -> LostError | BrokenReplyError | None:
        """Why a route gives no JSON; None if it does."""
        try:
            self._request("GET", path, None, 1)
        except (LostError, BrokenReplyError) as error:
            return error
        return None

    def post(self, path: str, body: Mapping[str, Any], tries: int = _TRIES) -> Any:
        """The JSON that a route replies to a body. Raises LostError if the server refuses the request."""
        return self._request("POST", path, body, tries)

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None, tries: int) -> Any:
        reasons: list[str] = []
        while True:
            try:
                return self._attempt(method, path, body)
            except (InputError, EngineError) as error:
                reasons.append(str(error))
                asked: float | None = getattr(error, "wait", None)
                permanent = isinstance(error, InputError | BrokenReplyError) or getattr(error, "repeats", False)
                same = permanent and reasons[-_SAME_FAULTS:] == [reasons[-1]] * _SAME_FAULTS
                if len(reasons) >= tries or same or isinstance(error, LostError):
                    raise
                if asked is not None and asked > _LONGEST_WAIT:
                    raise LostError(f"{error}; it asks to wait {asked:.0f} s: try again then") from None
                time.sleep(max(asked or 0.0, min(1.0, _FIRST_WAIT * 2 ** len(reasons))))

    def _attempt(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        """The JSON of one reply. Raises InputError if nothing answers, EngineError for any other failure."""
        url = self.address.url
        try:
            reply = self._client.request(method, url + path, json=body, headers=key_headers())
        except httpx.ConnectError as error:
            raise InputError(
                f"nothing answers at {url} ({redacted(str(error))}): start a server there, or give the URL of a "
                "running one"
            ) from None
        except (httpx.InvalidURL, UnicodeError) as error:
            raise InputError(
                f"{url} is no address: {redacted(str(error))}; give the server as http://host:port"
            ) from None
        except httpx.HTTPError as error:
            raise EngineError(f"{url} broke off: {type(error).__name__}: {redacted(str(error))}") from None
        if reply.next_request is not None:
            target = reply.next_request.url
            raise MovedError(f"it sends requests on to {target.scheme}://{target.netloc.decode()}", refused=True)
        check_status(reply.status_code, reply.text, reply.headers.get("retry-after"))
        return parsed(reply.text)
