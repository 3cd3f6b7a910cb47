"""rollwise spends a fixed budget of LLM rollouts where it raises the chance of a right answer most."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rollwise.core import Allocation, Candidates, Problem
    from rollwise.registry import strategy_needs
    from rollwise.search import Config, Solution, solve, solve_async

__version__ = "0.1.0"
__all__ = ["Allocation", "Candidates", "Config", "Problem", "Solution", "solve", "solve_async", "strategy_needs"]


def exports(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package that loads each public name's module on first use.

    `homes` maps a public name to the module of `package` that defines it. Packages use it so that importing them loads
    nothing heavy.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return load


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
