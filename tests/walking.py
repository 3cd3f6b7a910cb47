"""Growing one path with any policy, for tests of what policies say."""

from __future__ import annotations

from typing import Any

from rollwise.core import Path, Policy, Problem, Sampling, Step, Stop


async def walk(policy: Policy, problem: Problem, sampling: Sampling, most: int = 12) -> Path:
    """One path, step by step, to its end."""
    session: Any = policy.open(problem, sampling)
    path = Path((0,))
    try:
        if hasattr(session, "prepare"):
            await session.prepare()
        for _ in range(most):
            (step,) = await session.extend([path])
            assert isinstance(step, Step), step
            path = path.grown(step)
            if step.stop is Stop.END:
                break
            path = path.copy(0)
    finally:
        await session.close()
    return path
