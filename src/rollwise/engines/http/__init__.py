"""Policies and embedders that servers hold: vLLM, SGLang, llama.cpp, `transformers serve`, OpenAI."""

from rollwise.engines.http.asker import Asker
from rollwise.engines.http.client import Endpoint, Fleet, LostError, Patience
from rollwise.engines.http.embedder import HttpEmbedder
from rollwise.engines.http.policy import HttpPolicy
from rollwise.engines.http.probe import probe
from rollwise.engines.http.replies import BrokenReplyError
from rollwise.engines.http.servers import Server, addresses, is_url, weaknesses

__all__ = [
    "Asker",
    "BrokenReplyError",
    "Endpoint",
    "Fleet",
    "HttpEmbedder",
    "HttpPolicy",
    "LostError",
    "Patience",
    "Server",
    "addresses",
    "is_url",
    "probe",
    "weaknesses",
]
