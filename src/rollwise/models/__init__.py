"""Finds models by name: on the Hugging Face hub, in a GGUF file, or in the list of models that rollwise can fetch."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports
from rollwise.models.places import HUB, cache_folder, hub_name, is_hub_name, known_folder

if TYPE_CHECKING:
    from rollwise.models.adapters import adapter_base, make_whole, whole_model
    from rollwise.models.catalogue import CATALOGUE, Offer, find_offer
    from rollwise.models.fetching import SOURCES, fetch, origin
    from rollwise.models.gguf import convert
    from rollwise.models.hub import download
    from rollwise.models.resolving import model_folder

__all__ = [
    "CATALOGUE",
    "HUB",
    "SOURCES",
    "Offer",
    "adapter_base",
    "cache_folder",
    "convert",
    "download",
    "fetch",
    "find_offer",
    "hub_name",
    "is_hub_name",
    "known_folder",
    "make_whole",
    "model_folder",
    "origin",
    "whole_model",
]

__getattr__ = exports(
    __name__,
    {
        "adapter_base": "adapters",
        "make_whole": "adapters",
        "whole_model": "adapters",
        "CATALOGUE": "catalogue",
        "Offer": "catalogue",
        "find_offer": "catalogue",
        "SOURCES": "fetching",
        "fetch": "fetching",
        "origin": "fetching",
        "convert": "gguf",
        "download": "hub",
        "model_folder": "resolving",
    },
)
