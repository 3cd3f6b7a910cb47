"""What a search spent: tokens by role, FLOPs, rounds, seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rollwise.core import Usage

ROLES = ("policy", "reward", "embedder")


@dataclass
class Ledger:
    """The account of one search. `parameters` by role turn tokens into FLOPs; 0 if unknown or if nothing computes."""

    usage: dict[str, Usage] = field(default_factory=lambda: {role: Usage() for role in ROLES})
    parameters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROLES, 0))
    rounds: int = 0
    seconds: float = 0.0

    def enter(self, role: str, usage: Usage, parameters: int) -> None:
        """Enter what a role's model used."""
        self.usage[role], self.parameters[role] = usage, parameters

    def flops(self, role: str) -> float:
        """2 · parameters · tokens generated or read anew (Snell et al., 2408.03314); cached tokens are free."""
        usage = self.usage[role]
        return 2.0 * self.parameters[role] * (usage.generated + usage.prefilled)

    def as_dict(self) -> dict[str, Any]:
        """The account as plain numbers."""
        return {
            "rounds": self.rounds,
            "seconds": round(self.seconds, 4),
            "flops": sum(self.flops(role) for role in ROLES),
            **{
                role: {
                    "generated": usage.generated,
                    "prefilled": usage.prefilled,
                    "cached": usage.cached,
                    "calls": usage.calls,
                    "flops": self.flops(role),
                }
                for role, usage in self.usage.items()
            },
        }
