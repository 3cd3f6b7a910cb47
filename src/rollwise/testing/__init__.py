"""The conformance kit: checks that a plug-in keeps its contract, and a proxy that simulates a faulty connection.

A check returns nothing, or raises a ContractError with the promise that was broken. It needs no test framework, so you
can call it in any test. rollwise's own parts pass the same checks. `faulty` starts the proxy between a client and a
server.
"""

from rollwise.testing.cases import Case, demonstration_cases
from rollwise.testing.contract import ContractError
from rollwise.testing.directions import check_directions
from rollwise.testing.faults import FAULTS, MANNERS, FaultsProxy, faulty
from rollwise.testing.policies import check_policy
from rollwise.testing.problems import check_problems
from rollwise.testing.rewards import check_reward
from rollwise.testing.strategies import check_strategy
from rollwise.testing.worlds import WORLD_CHECKS, WorldCase, check_world

__all__ = [
    "FAULTS",
    "MANNERS",
    "WORLD_CHECKS",
    "Case",
    "ContractError",
    "FaultsProxy",
    "WorldCase",
    "check_directions",
    "check_policy",
    "check_problems",
    "check_reward",
    "check_strategy",
    "check_world",
    "demonstration_cases",
    "faulty",
]
