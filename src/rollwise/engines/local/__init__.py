"""Policies that run in this process, on caches that read no prefix twice."""

from typing import TYPE_CHECKING

from rollwise import exports

if TYPE_CHECKING:
    from rollwise.engines.local.batcher import Batcher
    from rollwise.engines.local.cache import Arena, Node, feed
    from rollwise.engines.local.checkpoint import load_checkpoint, load_tokenizer
    from rollwise.engines.local.decoder import Decoder
    from rollwise.engines.local.policy import LocalPolicy
    from rollwise.engines.local.prefixes import Prefixes
    from rollwise.engines.local.stops import ENDS, GOES_ON, StopRule, StopTable, first_stop

__all__ = [
    "ENDS",
    "GOES_ON",
    "Arena",
    "Batcher",
    "Decoder",
    "LocalPolicy",
    "Node",
    "Prefixes",
    "StopRule",
    "StopTable",
    "feed",
    "first_stop",
    "load_checkpoint",
    "load_tokenizer",
]

__getattr__ = exports(
    __name__,
    {
        "Batcher": "batcher",
        "Arena": "cache",
        "Node": "cache",
        "feed": "cache",
        "load_checkpoint": "checkpoint",
        "load_tokenizer": "checkpoint",
        "Decoder": "decoder",
        "LocalPolicy": "policy",
        "Prefixes": "prefixes",
        "ENDS": "stops",
        "GOES_ON": "stops",
        "StopRule": "stops",
        "StopTable": "stops",
        "first_stop": "stops",
    },
)
