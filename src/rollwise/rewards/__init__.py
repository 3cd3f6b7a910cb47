"""Reward models: the dial, models in this process, functions of one's own, models behind a server."""

from rollwise.rewards.functions import from_function

__all__ = ["from_function"]
