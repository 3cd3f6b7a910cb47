"""What the parts of a search have to offer: policy, reward model, direction finder, and their sessions.

A part of your own subclasses its protocol and so inherits the defaults of the optional abilities. A part that only
offers the required members works too: `completed` adds the defaults.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from typing import Any, Protocol, TypeVar, cast

from rollwise.core.records import (
    Allocation,
    Belief,
    Candidates,
    Evidence,
    Failure,
    FloatArray,
    IntArray,
    Judgement,
    Path,
    PathKey,
    Problem,
    Sampling,
    Step,
    Usage,
)

Believe = Callable[[FloatArray, IntArray], Belief]
"""(rewards (k,), depths (k,)) → belief: what a calibration makes of raw rewards."""

Allocator = Callable[[Candidates, int], Allocation]
"""A strategy with its options bound: (candidates, width) → Allocation."""

Offered = TypeVar("Offered")
_ABSENT = object()


class PolicySession(Protocol):
    """One question's hold on a policy and its caches."""

    usage: Usage
    """Tokens spent so far."""

    room: int
    """How many tokens a solution may have before the model's context is full."""

    @abstractmethod
    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        """Grow each path by one step; results in the order given."""
        ...

    @abstractmethod
    def hidden(self, key: PathKey) -> FloatArray:
        """The policy's hidden state (d,) after the last token of a grown path."""
        ...

    @abstractmethod
    def retain(self, keys: Collection[PathKey]) -> None:
        """Keep the caches of these grown paths; all others may go."""
        ...

    @abstractmethod
    async def close(self) -> None:
        """Give everything back."""
        ...

    in_process: bool = False
    """Whether the policy computes in this process."""

    async def prepare(self) -> None:
        """Called once before anything else, for a session that has to ask its server first."""
        return

    def as_grown(self, paths: Sequence[Path]) -> AsyncGenerator[tuple[Path, Step | Failure], None] | None:
        """Grow each path by one step and yield each as soon as it is done, in any order; None if the session cannot."""
        return None

    async def reread(self, paths: Sequence[Path]) -> None:
        """Read the last step of these grown paths from its text: it is no longer what the policy wrote.

        A policy that keeps caches drops those of the old text; one that reads paths as text has nothing to do.
        """
        return

    grows_whole: bool = False
    """Whether the session offers `finish`."""

    async def finish(self, path: Path) -> list[Step] | Failure:
        """The steps of a path up to its end, asked for at once. Their last one ends the text or fills `room`."""
        return Failure("this policy grows paths step by step")


class Policy(Protocol):
    """A language model that grows solutions step by step."""

    parameters: int
    """How many parameters compute a token; 0 if that is unknown or nothing is computed."""

    @abstractmethod
    def open(self, problem: Problem, sampling: Sampling) -> PolicySession:
        """A session for one question."""
        ...

    remarks: Sequence[str] = ()
    """What a person should know before a search with this policy, a sentence each."""

    shows_hidden: bool = True
    """Whether its sessions give hidden states."""

    lacks_logprobs: str | None = None
    """Why its steps carry no log-probabilities; None if they do."""


class RewardSession(Protocol):
    """One question's hold on a reward model and its caches."""

    usage: Usage
    """Tokens spent so far."""

    @abstractmethod
    async def score(self, paths: Sequence[Path]) -> Sequence[float | Judgement | Failure]:
        """The reward in [0, 1] after each path's last step; results in the order given."""
        ...

    @abstractmethod
    def retain(self, keys: Collection[PathKey]) -> None:
        """Keep the caches of these paths; all others may go."""
        ...

    @abstractmethod
    async def close(self) -> None:
        """Give everything back."""
        ...

    at_once: int = 0
    """How many concurrent calls of `score` may share the paths of a round; 0 asks for all paths in one call."""

    in_process: bool = False
    """Whether the reward model computes in this process."""


class RewardModel(Protocol):
    """A process reward model."""

    parameters: int
    """How many parameters compute a token; 0 if that is unknown or nothing is computed."""

    @abstractmethod
    def open(self, problem: Problem, seed: int) -> RewardSession:
        """A session for one question."""
        ...

    remarks: Sequence[str] = ()
    """What a person should know before a search with this reward model, a sentence each."""

    reads_certainty: bool = True
    """Whether it reads `Step.certainty`; a policy may leave that unknown if it does not."""

    states_concentration: bool = False
    """Whether its scores are Judgements: each says how sure the model is."""


class DirectionSession(Protocol):
    """One question's hold on a direction finder."""

    usage: Usage
    """Tokens spent so far."""

    @abstractmethod
    async def find(self, paths: Sequence[Path]) -> Sequence[Evidence | Failure]:
        """Evidence on each grown path; results in the order given."""
        ...

    async def close(self) -> None:
        """Give everything back."""
        return

    at_once: int = 0
    """How many concurrent calls of `find` may share the paths of a round; 0 asks for all paths in one call."""

    in_process: bool = False
    """Whether the finder computes in this process."""


class DirectionFinder(Protocol):
    """Says which paths share a direction."""

    parameters: int
    """How many parameters compute a token; 0 if that is unknown or nothing is computed."""

    @abstractmethod
    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """A session for one question."""
        ...


def completed(part: Any, protocol: type[Offered]) -> Offered:
    """The part with a protocol's defaults for the optional abilities that it leaves out.

    A part that subclasses the protocol has them already and is returned as it is.
    """
    return part if protocol in type(part).__mro__ else cast(Offered, _Completed(part, protocol))


class _Completed:
    """A part, then its protocol's defaults."""

    def __init__(self, part: Any, protocol: type[Any]) -> None:
        self._part, self._protocol = part, protocol

    def __getattr__(self, name: str) -> Any:
        default = inspect.getattr_static(self._protocol, name, _ABSENT)
        optional = default is not _ABSENT and not getattr(default, "__isabstractmethod__", False)
        if not optional or hasattr(self._part, name):
            return getattr(self._part, name)
        return default.__get__(self._part, type(self._part)) if hasattr(default, "__get__") else default
