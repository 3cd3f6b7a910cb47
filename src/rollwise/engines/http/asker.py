"""One server asked in turn, outside of a search: what it is, and what it can do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from rollwise.engines.http.client import LostError, PassingError, check_status, headers, hidden, load_httpx, parsed
from rollwise.engines.http.replies import BrokenReplyError
from rollwise.engines.http.servers import Address
from rollwise.errors import EngineError, InputError

_TRIES = 6


class Asker:
    """One server asked in turn; what may pass is tried again a few times."""

    def __init__(self, address: Address, seconds: float = 120.0) -> None:
        self.address = address
        self._httpx = load_httpx()
        timeout = self._httpx.Timeout(seconds, connect=5.0)
        secure = address.url.startswith("https:")  # else no certificates are loaded
        self._client = self._httpx.Client(timeout=timeout, trust_env=not address.loopback, verify=secure)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, tries: int = _TRIES) -> Any:
        """A route's JSON; None where the server has no such route, or no JSON there."""
        with contextlib.suppress(LostError, BrokenReplyError):
            return self._ask("GET", path, None, tries)
        return None

    def post(self, path: str, body: Mapping[str, Any], tries: int = _TRIES) -> Any:
        """What a route replies. Raises LostError where it refuses."""
        return self._ask("POST", path, body, tries)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, tries: int = _TRIES) -> Any:
        for attempt in range(tries):
            try:
                reply = self._client.request(method, self.address.url + path, json=body, headers=headers())
                check_status(reply.status_code, reply.text, reply.headers.get("retry-after"))
                return parsed(reply.text)
            except self._httpx.ConnectError as error:
                failed: Exception = InputError(
                    f"nothing answers at {self.address.url} ({hidden(str(error))}): start a server there, "
                    "or give the URL of one"
                )
            except self._httpx.HTTPError as error:
                reason = f"{type(error).__name__}: {hidden(str(error))}"
                failed = EngineError(f"{self.address.url} broke off: {reason}")
            except (PassingError, BrokenReplyError) as error:
                failed = error
            if isinstance(failed, InputError) and attempt == 2:
                break
            if attempt + 1 < tries:
                time.sleep(min(1.0, getattr(failed, "wait", None) or 0.1 * 2**attempt))
        raise failed
