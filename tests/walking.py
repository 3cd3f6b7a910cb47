"""Growing paths with any policy, for tests of what policies return."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from served import PROBLEM

from rollwise.core import Failure, Path, Policy, Problem, Sampling, Step, Stop

Result = TypeVar("Result")


async def walk(policy: Policy, problem: Problem, sampling: Sampling, most: int = 12) -> Path:
    """One path, grown step by step until it ends or has `most` steps."""
    session: Any = policy.open(problem, sampling)
    path = Path((0,))
    try:
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


async def extended(policy: Policy, paths: Sequence[Path], problem: Problem = PROBLEM) -> list[Step | Failure]:
    """The next step of each path, grown in a new session."""
    session = policy.open(problem, Sampling())
    try:
        await session.prepare()
        return await session.extend(paths)
    finally:
        await session.close()


async def closing(session: Any, result: Awaitable[Result]) -> Result:
    """The result of one call to a session, which is then closed."""
    try:
        return await result
    finally:
        await session.close()
