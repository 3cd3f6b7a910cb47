"""rollwise spends a fixed budget of LLM rollouts where it raises the chance of a right answer most."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.core import Allocation, Candidates, Problem
    from rollwise.registry import strategy_needs
    from rollwise.search import Config, Solution, solve, solve_async

__version__ = "0.1.0"
__all__ = ["Allocation", "Candidates", "Config", "Problem", "Solution", "solve", "solve_async", "strategy_needs"]

__getattr__ = exports(
    __name__,
    {
        "Allocation": "core",
        "Candidates": "core",
        "Problem": "core",
        "strategy_needs": "registry",
        "Config": "search",
        "Solution": "search",
        "solve": "search",
        "solve_async": "search",
    },
)
