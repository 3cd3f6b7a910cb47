"""Where the rollouts went: a search's events folded into bands (directions) by round, and the flows between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rollwise.core import PathKey
from rollwise.search import Allocated, Event, Grown, Round, rounds

StateOf = Callable[[str], Hashable]
"""A solution's text so far → the world's true state."""

NOT_CONTINUED = "not continued"
"""The label of paths that were active when the search ended."""


@dataclass(frozen=True)
class Band:
    """The paths of one direction in one round.

    `paths` grew, `finished` of them finished and `right` of them are known to be right; `reward` is their mean reward.
    Of the round's allocation: `share` is their part of the weight, `unique` their summed uniqueness (None if the
    strategy reads no directions) and `given` the rollouts they got. `states` counts their true states, if the world
    knows them.
    """

    round: int
    label: Hashable
    name: str
    paths: int
    finished: int
    right: int
    reward: float
    share: float
    unique: float | None
    given: int
    states: int | None = None


@dataclass(frozen=True)
class Flow:
    """A search as bands by round, and links between bands of adjacent rounds: (round, from, to) → paths.

    `labels` names the direction of every grown path: the direction that the strategy put it in. If the strategy reads
    no directions, `by_strategy` is false and equal text of the last step stands in. Finished paths have label None.
    """

    columns: tuple[tuple[Band, ...], ...]
    links: dict[tuple[int, Hashable, Hashable], int]
    labels: dict[PathKey, Hashable]
    by_strategy: bool


def path_texts(events: Iterable[Event]) -> dict[PathKey, str]:
    """The text of every grown path."""
    texts: dict[PathKey, str] = {}
    for event in sorted((event for event in events if isinstance(event, Grown)), key=lambda event: event.round):
        texts[event.path] = texts.get(event.path[:-1], "") + event.step.text
    return texts


def fold_flow(events: Sequence[Event], right: Collection[PathKey] = (), state_of: StateOf | None = None) -> Flow:
    """Fold a search's events into the directions that its strategy used.

    `right` holds the finished paths that are known to be right. `state_of` adds the true states beside the directions.
    """
    folded = rounds(events)
    labels = {path: label for happened in folded for path, label in _labels_of(happened).items()}
    states = {} if state_of is None else {path: state_of(text) for path, text in path_texts(events).items()}
    grown = [event for event in events if isinstance(event, Grown) and len(event.path) > 1]
    links = Counter((event.round, labels[event.path[:-1]], labels[event.path]) for event in grown)
    columns = []
    for happened in folded:
        members: dict[Hashable, list[Grown]] = {}
        for event in happened.grown:
            members.setdefault(labels[event.path], []).append(event)
        bands = [_band(label, paths, happened, right, states) for label, paths in members.items()]
        columns.append(tuple(sorted(bands, key=lambda band: (band.label is None, -band.paths))))
    by_strategy = any(isinstance(event, Allocated) and event.allocation.directions is not None for event in events)
    return Flow(tuple(columns), dict(links), labels, by_strategy)


def _labels_of(happened: Round) -> dict[PathKey, Hashable]:
    """The direction of each path that grew in a round."""
    labels: dict[PathKey, Hashable] = dict.fromkeys((event.path for event in happened.grown), NOT_CONTINUED)
    labels |= dict.fromkeys((event.path for event in happened.finished), None)
    if happened.allocated is not None:
        paths = happened.allocated.candidates.paths
        directions = happened.allocated.allocation.directions
        if directions is not None:
            labels |= dict(zip(paths, directions.tolist(), strict=True))
        else:
            texts = {event.path: event.step.text.strip() for event in happened.grown}
            labels |= {path: texts[path] for path in paths}
    return labels


def _band(
    label: Hashable,
    paths: Sequence[Grown],
    happened: Round,
    right: Collection[PathKey],
    states: Mapping[PathKey, Hashable],
) -> Band:
    keys = {event.path for event in paths}
    share, unique, given = 0.0, None, 0
    if happened.allocated is not None:
        allocation = happened.allocated.allocation
        inside = [index for index, key in enumerate(happened.allocated.candidates.paths) if key in keys]
        share, given = float(allocation.weights[inside].sum()), int(allocation.counts[inside].sum())
        unique = None if allocation.uniqueness is None else float(allocation.uniqueness[inside].sum())
    commonest = Counter(event.step.text.strip() for event in paths).most_common(1)[0][0]
    return Band(
        round=happened.index,
        label=label,
        name="finished" if label is None else commonest,
        paths=len(paths),
        finished=sum(event.path in keys for event in happened.finished),
        right=len(keys.intersection(right)),
        reward=sum(event.reward for event in paths) / len(paths),
        share=share,
        unique=unique,
        given=given,
        states=len({states[key] for key in keys}) if states else None,
    )
