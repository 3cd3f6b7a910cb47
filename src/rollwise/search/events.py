"""The events of a search, and a round as the fold of its events."""

# HEADER
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rollwise.core import (
    Allocation,
    Candidates,
    PathKey,
    Step,
    Stop,
)

Span = tuple[float, float]
"""From when to when something was done, in seconds since the search began."""


@dataclass(frozen=True, slots=True)
class Grown:
    """A path grew by one step and was scored; `unplaced` says why its direction is not known, where it could not be
    told. When is no part of what happened: equal events may differ in `spans`.
    """

    round: int
    path: PathKey
    step: Step
    reward: float
    unplaced: str | None = None
    spans: Mapping[str, Span] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """A rollout was lost. `spans`, as of `Grown`, are of what was done for it in this round, the loss included."""

    round: int
    path: PathKey
    reason: str
    spans: Mapping[str, Span] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Finished:
    """A path ended: by itself (END), or at a limit (LENGTH), then without an answer."""

    round: int
    path: PathKey
    stop: Stop


@dataclass(frozen=True, slots=True)
class Allocated:
    """The width was handed out: the candidates with their evidence, and the allocation with its reasons."""

    round: int
    width: int
    candidates: Candidates
    allocation: Allocation


Event = Grown | Failed | Finished | Allocated


@dataclass
class Round:
    """What happened in one round, folded from events."""

    index: int
    grown: list[Grown] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    allocated: Allocated | None = None

    def span(self, activity: str) -> Span | None:
        """From when to when any path of the round, lost or not, was "generating", "scoring" or "embedding"; None where
        none was.
        """
        told = [event.spans for event in self.grown] + [event.spans for event in self.failed]
        spans = [one[activity] for one in told if activity in one]
        return (min(began for began, _ in spans), max(ended for _, ended in spans)) if spans else None


def unplaced_reasons(events: Iterable[Event]) -> list[str]:
    """Why directions could not be told, once for each step of a path that went on as a direction of its own."""
    return [event.unplaced for event in events if isinstance(event, Grown) and event.unplaced is not None]


def rounds(events: Iterable[Event]) -> list[Round]:
    """The rounds of a search, in order, each the fold of its events."""
    folded: dict[int, Round] = {}
    for event in events:
        current = folded.setdefault(event.round, Round(event.round))
        match event:
            case Grown():
                current.grown.append(event)
            case Finished():
                current.finished.append(event)
            case Failed():
                current.failed.append(event)
            case Allocated():
                current.allocated = event
    return [folded[index] for index in sorted(folded)]
