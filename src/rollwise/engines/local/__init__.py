"""Policies that run in this process on kept caches, which read no prefix twice."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.engines.local.batcher import Batcher
    from rollwise.engines.local.cache import Arena, Node, common_length, feed, prefix_length
    from rollwise.engines.local.checkpoint import load_checkpoint, load_tokenizer
    from rollwise.engines.local.decoder import Decoder
    from rollwise.engines.local.policy import LocalPolicy
    from rollwise.engines.local.prefixes import Prefixes
    from rollwise.engines.local.stops import CONTINUES, ENDS, StopRule, StopTable, first_stop

__all__ = [
    "CONTINUES",
    "ENDS",
    "Arena",
    "Batcher",
    "Decoder",
    "LocalPolicy",
    "Node",
    "Prefixes",
    "StopRule",
    "StopTable",
    "common_length",
    "feed",
    "first_stop",
    "load_checkpoint",
    "load_tokenizer",
    "prefix_length",
]

__getattr__ = exports(
    __name__,
    {
        "Batcher": "batcher",
        "Arena": "cache",
        "Node": "cache",
        "common_length": "cache",
        "feed": "cache",
        "prefix_length": "cache",
        "load_checkpoint": "checkpoint",
        "load_tokenizer": "checkpoint",
        "Decoder": "decoder",
        "LocalPolicy": "policy",
        "Prefixes": "prefixes",
        "CONTINUES": "stops",
        "ENDS": "stops",
        "StopRule": "stops",
        "StopTable": "stops",
        "first_stop": "stops",
    },
)
