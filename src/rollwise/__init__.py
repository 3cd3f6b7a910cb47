"""rollwise spends a fixed budget of LLM rollouts where it raises the chance of a right answer most."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rollwise.config import Config
    from rollwise.core import Allocation, Candidates, Problem
    from rollwise.registry import strategy_needs
    from rollwise.runner import Solution, solve, solve_async

__version__ = "0.1.0"
__all__ = ["Allocation", "Candidates", "Config", "Problem", "Solution", "solve", "solve_async", "strategy_needs"]

_HOMES = {
    "Allocation": "core",
    "Candidates": "core",
    "Problem": "core",
    "strategy_needs": "registry",
    "Config": "config",
    "Solution": "runner",
    "solve": "runner",
    "solve_async": "runner",
}


def __getattr__(name: str) -> Any:
    """Public names load their module on first use, so that `import rollwise` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rollwise' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"rollwise.{_HOMES[name]}"), name)
