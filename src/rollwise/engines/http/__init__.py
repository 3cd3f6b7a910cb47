"""Policies and embedders behind servers: vLLM, SGLang, llama.cpp, `transformers serve`, OpenAI."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.engines.http.client import Endpoint, Fleet, Patience
    from rollwise.engines.http.embedder import HttpEmbedder
    from rollwise.engines.http.exchange import LostError, wants_a_key
    from rollwise.engines.http.keys import GIVE_A_KEY, key_headers, redacted
    from rollwise.engines.http.policy import HttpPolicy
    from rollwise.engines.http.probing import probe
    from rollwise.engines.http.servers import Server, addresses, is_url, weaknesses
    from rollwise.engines.http.shapes import BrokenReplyError, checked, listed_cards, possible, shown
    from rollwise.engines.http.sync_client import SyncClient

__all__ = [
    "GIVE_A_KEY",
    "BrokenReplyError",
    "Endpoint",
    "Fleet",
    "HttpEmbedder",
    "HttpPolicy",
    "LostError",
    "Patience",
    "Server",
    "SyncClient",
    "addresses",
    "checked",
    "is_url",
    "key_headers",
    "listed_cards",
    "possible",
    "probe",
    "redacted",
    "shown",
    "wants_a_key",
    "weaknesses",
]

__getattr__ = exports(
    __name__,
    {
        "Endpoint": "client",
        "Fleet": "client",
        "Patience": "client",
        "HttpEmbedder": "embedder",
        "LostError": "exchange",
        "wants_a_key": "exchange",
        "GIVE_A_KEY": "keys",
        "key_headers": "keys",
        "redacted": "keys",
        "HttpPolicy": "policy",
        "probe": "probing",
        "BrokenReplyError": "shapes",
        "checked": "shapes",
        "listed_cards": "shapes",
        "possible": "shapes",
        "shown": "shapes",
        "Server": "servers",
        "addresses": "servers",
        "is_url": "servers",
        "weaknesses": "servers",
        "SyncClient": "sync_client",
    },
)
