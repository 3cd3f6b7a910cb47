"""The events of a search, and a round as the fold of its events."""

# HEADER
from __future__ import annotations

import math
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
"""Start and end of an activity, in seconds since the search began."""


@dataclass(frozen=True, slots=True)
class Grown:
    """A path grew by one step and was scored. `unplaced` says why its direction is unknown, if it is.

    Times are not part of the event: equal events may differ in `spans`.
    """

    round: int
    path: PathKey
    step: Step
    reward: float
    unplaced: str | None = None
    spans: Mapping[str, Span] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """A rollout was lost. `spans` cover what was done for it in this round, up to the loss."""

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


@dataclass(frozen=True, slots=True)
class Stopped:
    """The search was ended before its budget was spent, and why. `saved` rollouts were not grown to their end."""

    round: int
    reason: str
    saved: int


Event = Grown | Failed | Finished | Allocated | Stopped


@dataclass
class Round:
    """What happened in one round, folded from events."""

    index: int
    grown: list[Grown] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    allocated: Allocated | None = None
    stopped: Stopped | None = None

    def span(self, activity: str) -> Span | None:
        """Start and end of an activity ("generating", "scoring" or "embedding") over all paths of the round, lost ones
        included; None if there was none.
        """
        by_path = [event.spans for event in self.grown] + [event.spans for event in self.failed]
        spans = [spans[activity] for spans in by_path if activity in spans]
        return (min(began for began, _ in spans), max(ended for _, ended in spans)) if spans else None


def unplaced_reasons(events: Iterable[Event]) -> list[str]:
    """Why directions are unknown, once for each step whose path went on as a direction of its own."""
    return [event.unplaced for event in events if isinstance(event, Grown) and event.unplaced is not None]


def busy_seconds(events: Iterable[Event], activity: str) -> float:
    """The seconds in which an activity ("generating", "scoring" or "embedding") went on for any path of a search.

    Activities of different paths at the same time count once. Waiting in a model's queue counts too.
    """
    paths = (event for event in events if isinstance(event, Grown | Failed))
    total, reached = 0.0, -math.inf
    for began, ended in sorted(event.spans[activity] for event in paths if activity in event.spans):
        total += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return total


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
            case Stopped():
                current.stopped = event
    return [folded[index] for index in sorted(folded)]
