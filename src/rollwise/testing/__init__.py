"""The conformance kit: what a plug-in promises, as checks that raise a ContractError with the promise that was broken.

It needs no test framework: call a check in any test of yours. rollwise's own parts run through the same checks. And
`faulty`, a line between a client and a server that breaks.
"""

from rollwise.testing.cases import Case, demonstrated
from rollwise.testing.contract import ContractError
from rollwise.testing.directions import check_directions
from rollwise.testing.faults import FAULTS, FaultsProxy, faulty
from rollwise.testing.policies import check_policy
from rollwise.testing.rewards import check_reward
from rollwise.testing.strategies import check_strategy
from rollwise.testing.worlds import WORLD_CHECKS, WorldCase, check_world

__all__ = [
    "FAULTS",
    "WORLD_CHECKS",
    "Case",
    "ContractError",
    "FaultsProxy",
    "WorldCase",
    "check_directions",
    "check_policy",
    "check_reward",
    "check_strategy",
    "check_world",
    "demonstrated",
    "faulty",
]
