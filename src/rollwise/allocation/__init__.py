"""Who gets how many rollouts: each strategy is a pure function of the candidates and a width."""

from rollwise.allocation.failure import log_failures, sharing
from rollwise.allocation.heuristic import NoOptions, subset
from rollwise.allocation.labels import key_values, split_settings, split_variants
from rollwise.allocation.strategies import STRATEGIES, Strategy
from rollwise.allocation.success import success_chance

__all__ = [
    "STRATEGIES",
    "NoOptions",
    "Strategy",
    "key_values",
    "log_failures",
    "sharing",
    "split_settings",
    "split_variants",
    "subset",
    "success_chance",
]
