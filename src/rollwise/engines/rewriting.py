"""A policy whose steps are rewritten before anything reads them, for any policy, such as by stop strings."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing

from rollwise.core import (
    Failure,
    FloatArray,
    Path,
    PathKey,
    Policy,
    PolicySession,
    Problem,
    Sampling,
    Step,
    Stop,
    Usage,
    completed,
)
from rollwise.engines.prompts import StepRule

Rewrite = Callable[[Problem, Path, Step], Step]
"""(the problem, a path, the step that it grew) → the step that it is to have."""


def with_stops(policy: Policy, stops: Sequence[str]) -> RewritingPolicy:
    """The policy, with texts that end at the first of the strings `stops`, which is left out.

    A string is found when its step is done, so at most the rest of that step is generated in vain.
    """
    rule = StepRule("stops", stops=tuple(stops))
    return RewritingPolicy(policy, lambda problem, path, step: rule.closed(path.text, step))


class RewritingPolicy(Policy):
    """A policy whose steps are rewritten as soon as they are grown. It reads what was rewritten before it goes on."""

    def __init__(self, policy: Policy, rewrite: Rewrite) -> None:
        self.policy, self.rewrite = policy, rewrite
        self.parameters, self.remarks = policy.parameters, policy.remarks
        self.shows_hidden, self.lacks_logprobs = policy.shows_hidden, policy.lacks_logprobs

    def open(self, problem: Problem, sampling: Sampling) -> PolicySession:
        """A session for one question."""
        return _RewritingSession(completed(self.policy.open(problem, sampling), PolicySession), problem, self.rewrite)


class _RewritingSession(PolicySession):
    def __init__(self, session: PolicySession, problem: Problem, rewrite: Rewrite) -> None:
        self.session, self.problem, self.rewrite = session, problem, rewrite
        self.in_process = session.in_process

    @property
    def usage(self) -> Usage:  # type: ignore[override]
        """See PolicySession."""
        return self.session.usage

    @property
    def room(self) -> int:  # type: ignore[override]
        """See PolicySession."""
        return self.session.room

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        """See PolicySession."""
        return await self._rewritten(paths, await self.session.extend(paths))

    def as_grown(self, paths: Sequence[Path]) -> AsyncGenerator[tuple[Path, Step | Failure], None] | None:
        """See PolicySession."""
        stream = self.session.as_grown(paths)
        return None if stream is None else self._each_rewritten(stream)

    async def _each_rewritten(
        self, stream: AsyncGenerator[tuple[Path, Step | Failure], None]
    ) -> AsyncGenerator[tuple[Path, Step | Failure], None]:
        async with aclosing(stream) as arriving:
            async for path, step in arriving:
                yield path, (await self._rewritten([path], [step]))[0]

    async def _rewritten(self, paths: Sequence[Path], steps: Sequence[Step | Failure]) -> list[Step | Failure]:
        """The steps as they are to be, once the policy has read those that changed and that a path goes on from."""
        new = [
            self.rewrite(self.problem, path, step) if isinstance(step, Step) else step
            for path, step in zip(paths, steps, strict=True)
        ]
        changed = [
            path.grown(step)
            for path, step, old in zip(paths, new, steps, strict=True)
            if isinstance(step, Step) and step is not old and step.stop is not Stop.END
        ]
        if changed:
            await self.session.reread(changed)
        return new

    async def prepare(self) -> None:
        """See PolicySession."""
        await self.session.prepare()

    async def reread(self, paths: Sequence[Path]) -> None:
        """See PolicySession."""
        await self.session.reread(paths)

    def hidden(self, key: PathKey) -> FloatArray:
        """See PolicySession."""
        return self.session.hidden(key)

    def retain(self, keys: Collection[PathKey]) -> None:
        """See PolicySession."""
        self.session.retain(keys)

    async def close(self) -> None:
        """See PolicySession."""
        await self.session.close()
