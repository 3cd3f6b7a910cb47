"""Where the rollouts went: events folded into bands (directions) by round and the flows between them, and drawn; and
the picture of a calibration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass

from rollwise.core import PathKey, Stop
from rollwise.search import Event, Grown, Round, rounds

LabelOf = Callable[[str], Hashable]
"""A solution's text so far → the label of its direction."""


@dataclass(frozen=True)
class Band:
    """The paths of one direction in one round: how many grew, finished and are known to be right, their mean reward,
    and, of the round's allocation, their share of the weight, their summed uniqueness (None where the strategy reads no
    directions) and the rollouts they were given.
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


@dataclass(frozen=True)
class Flow:
    """A search as bands by round and links between the bands of adjacent rounds: (round, from, to) → paths.

    `labels` names the direction of every grown path; that of a path that ended its text is None.
    """

    columns: tuple[tuple[Band, ...], ...]
    links: dict[tuple[int, Hashable, Hashable], int]
    labels: dict[PathKey, Hashable]


def path_texts(events: Iterable[Event]) -> dict[PathKey, str]:
    """The text of every grown path."""
    texts: dict[PathKey, str] = {}
    for event in sorted((event for event in events if isinstance(event, Grown)), key=lambda event: event.round):
        texts[event.path] = texts.get(event.path[:-1], "") + event.step.text
    return texts


def flow(events: Sequence[Event], label_of: LabelOf, right: Collection[PathKey] = ()) -> Flow:
    """Fold a search's events. Finished paths of a round share one band, whatever they say, with label None.

    `right` holds the finished paths that are known to be right.
    """
    texts = path_texts(events)
    grown = [event for event in events if isinstance(event, Grown)]
    labels = {event.path: None if event.step.stop is Stop.END else label_of(texts[event.path]) for event in grown}
    links = Counter((event.round, labels[event.path[:-1]], labels[event.path]) for event in grown if event.round)
    columns = []
    for happened in rounds(events):
        members: dict[Hashable, list[Grown]] = {}
        for event in happened.grown:
            members.setdefault(labels[event.path], []).append(event)
        bands = [_band(label, paths, happened, right) for label, paths in members.items()]
        columns.append(tuple(sorted(bands, key=lambda band: (band.label is None, -band.paths))))
    return Flow(tuple(columns), dict(links), labels)


def _band(label: Hashable, paths: Sequence[Grown], happened: Round, right: Collection[PathKey]) -> Band:
    keys = {event.path for event in paths}
    ended = sum(event.path in keys for event in happened.finished)
    name = "finished" if label is None else Counter(one.step.text.strip() for one in paths).most_common(1)[0][0]
    reward = sum(event.reward for event in paths) / len(paths)
    share, unique, given = 0.0, None, 0
    if happened.allocated is not None:
        made = happened.allocated.allocation
        inside = [index for index, key in enumerate(happened.allocated.candidates.paths) if key in keys]
        share, given = float(made.weights[inside].sum()), int(made.counts[inside].sum())
        unique = None if made.uniqueness is None else float(made.uniqueness[inside].sum())
    good = len(keys.intersection(right))
    return Band(happened.index, label, name, len(paths), ended, good, reward, share, unique, given)
