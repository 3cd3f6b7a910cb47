"""Stop strings of one request, for any policy: a solution ends where one of them begins."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
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
    Usage,
    completed,
)
from rollwise.engines import StepRule


class StoppingPolicy(Policy):
    """A policy whose texts end at the first of the strings `stops`, which is left out.

    A string is found when its step is done, so at most the rest of that step is generated in vain.
    """

    def __init__(self, policy: Policy, stops: Sequence[str]) -> None:
        self.policy, self.rule = policy, StepRule("stops", stops=tuple(stops))
        self.parameters, self.remarks = policy.parameters, policy.remarks
        self.shows_hidden, self.lacks_logprobs = policy.shows_hidden, policy.lacks_logprobs

    def open(self, problem: Problem, sampling: Sampling) -> PolicySession:
        """A session for one question."""
        return _StoppingSession(completed(self.policy.open(problem, sampling), PolicySession), self.rule)


class _StoppingSession(PolicySession):
    def __init__(self, session: PolicySession, rule: StepRule) -> None:
        self.session, self.rule = session, rule
        self.in_process = session.in_process

    @property
    def usage(self) -> Usage:  # type: ignore[override]
        """See PolicySession."""
        return self.session.usage

    @property
    def room(self) -> int:  # type: ignore[override]
        """See PolicySession."""
        return self.session.room

    def _closed(self, path: Path, step: Step | Failure) -> Step | Failure:
        return self.rule.closed(path.text, step) if isinstance(step, Step) else step

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        """See PolicySession."""
        grown = await self.session.extend(paths)
        return [self._closed(path, step) for path, step in zip(paths, grown, strict=True)]

    def as_grown(self, paths: Sequence[Path]) -> AsyncGenerator[tuple[Path, Step | Failure], None] | None:
        """See PolicySession."""
        stream = self.session.as_grown(paths)
        return None if stream is None else self._each_closed(stream)

    async def _each_closed(
        self, stream: AsyncGenerator[tuple[Path, Step | Failure], None]
    ) -> AsyncGenerator[tuple[Path, Step | Failure], None]:
        async with aclosing(stream) as arriving:
            async for path, step in arriving:
                yield path, self._closed(path, step)

    async def prepare(self) -> None:
        """See PolicySession."""
        await self.session.prepare()

    def hidden(self, key: PathKey) -> FloatArray:
        """See PolicySession."""
        return self.session.hidden(key)

    def retain(self, keys: Collection[PathKey]) -> None:
        """See PolicySession."""
        self.session.retain(keys)

    async def close(self) -> None:
        """See PolicySession."""
        await self.session.close()
