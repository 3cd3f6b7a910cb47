"""Reward models: local, served, a judge, a function, checked sums, the policy's confidence, or a dial on the truth."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.rewards.confidence import Confidence
    from rollwise.rewards.dial import DialReward
    from rollwise.rewards.functions import from_function
    from rollwise.rewards.heads import LOG_CONCENTRATIONS
    from rollwise.rewards.judge import Judge
    from rollwise.rewards.layouts import FAMILIES
    from rollwise.rewards.local import LocalReward
    from rollwise.rewards.nothing import NoReward
    from rollwise.rewards.served import ServedReward
    from rollwise.rewards.sums import CheckedSums

__all__ = [
    "FAMILIES",
    "LOG_CONCENTRATIONS",
    "CheckedSums",
    "Confidence",
    "DialReward",
    "Judge",
    "LocalReward",
    "NoReward",
    "ServedReward",
    "from_function",
]

__getattr__ = exports(
    __name__,
    {
        "Confidence": "confidence",
        "DialReward": "dial",
        "from_function": "functions",
        "LOG_CONCENTRATIONS": "heads",
        "FAMILIES": "layouts",
        "LocalReward": "local",
        "Judge": "judge",
        "NoReward": "nothing",
        "ServedReward": "served",
        "CheckedSums": "sums",
    },
)
