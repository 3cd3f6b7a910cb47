"""Folds the events of a search into its account.

The account comes from the events alone, so a search that just ran and one that was recorded read the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from rollwise.allocation import STRATEGIES
from rollwise.answers import BELIEVED, group, read_answers
from rollwise.core import Allocator, IntArray, Path, PathKey, Step, Stop
from rollwise.directions import contiguous_order
from rollwise.errors import InputError, RollwiseError
from rollwise.report.account import Account, Fate, Group, Node, Stage, Told
from rollwise.search import (
    STEP_AGGREGATES,
    Allocated,
    Ballot,
    Config,
    Event,
    Failed,
    Grown,
    Parts,
    Round,
    Solution,
    rounds,
)

COMPARED = ("temperature", "beam", "dvts", "rebase", "dora", "optimal", "optimal_directions")
"""The strategies whose counts stand beside those of the search."""


def told_by(
    config: Config,
    question: str,
    allocate: Allocator | None,
    rights: Mapping[PathKey, bool] | None = None,
    weights: Mapping[PathKey, float] | None = None,
) -> Told:
    """What the config of a search says; its strategy is a name, or a function that goes by its own name."""
    named = isinstance(config.strategy, str)
    return Told(
        question=question,
        strategy=config.strategy if named else getattr(config.strategy, "__name__", "own"),
        budget=config.budget,
        allocate=allocate,
        beam_width=int(config.options.get("beam_width", Told.beam_width)),
        aggregate=config.aggregate,
        form=config.answer,
        vote=config.vote,
        weights=weights,
        rights=rights,
    )


def fold_account(events: Sequence[Event], told: Told, compare: Collection[str] = COMPARED) -> Account:
    """The account of a search's events. `compare` names the strategies whose counts are computed beside it."""
    folded = rounds(events)
    paths = grown_paths(events)
    nodes: dict[PathKey, Node] = {}
    stages = []
    for happened in folded:
        labels = direction_labels(happened)
        nodes |= _nodes_of(happened, paths, labels, told.aggregate)
        stage = _stage(happened, paths, labels, compare)
        stages.append(replace(stage, repeatable=_repeatable(stage, told.allocate)))
    ended = [key for key, node in nodes.items() if node.fate is Fate.FINISHED]
    answered, ballots = _voted(ended, paths, nodes, told)
    return Account(
        question=told.question,
        strategy=told.strategy,
        budget=told.budget,
        nodes=nodes | answered,
        stages=tuple(stages),
        ballots=ballots,
        by_strategy=any(stage.allocated and stage.allocated.allocation.directions is not None for stage in stages),
        allocate=told.allocate,
        beam_width=told.beam_width,
        digested=told.digested,
    )


def account_of(solution: Solution, parts: Parts) -> Account:
    """The account of a search that just ran with these parts."""
    keys = [path.key for path in solution.finished]
    weights = None
    if solution.vote == BELIEVED and parts.ended is not None:
        score = STEP_AGGREGATES[parts.config.aggregate]
        rewards = np.array([score(path.rewards) for path in solution.finished])
        weights = dict(zip(keys, parts.ended.chances(rewards).tolist(), strict=True))
    rights = dict(zip(keys, solution.rights, strict=True)) if solution.judged else None
    told = told_by(parts.config, solution.problem.question, parts.allocate, rights, weights)
    return fold_account(
        solution.events, replace(told, strategy=parts.strategy.name, form=solution.form, group=parts.grader.group)
    )


def grown_paths(events: Sequence[Event]) -> dict[PathKey, Path]:
    """Every grown path with its steps and the reward after each, by key."""
    paths: dict[PathKey, Path] = {}
    for event in sorted((event for event in events if isinstance(event, Grown)), key=lambda event: event.round):
        before = paths.get(event.path[:-1], Path(()))
        paths[event.path] = Path(event.path, (*before.steps, event.step), (*before.rewards, event.reward))
    return paths


def direction_labels(happened: Round) -> IntArray | None:
    """The direction of each candidate (k,), numbered from 0 with the largest first; None if nothing was handed out.

    For a strategy that reads no directions, candidates with the same last step share one.
    """
    if happened.allocated is None:
        return None
    found = happened.allocated.allocation.directions
    if found is not None:
        names: list[object] = found.tolist()
    else:
        texts = {event.path: event.step.text.strip() for event in happened.grown}
        names = [texts.get(path, "") for path in happened.allocated.candidates.paths]
    ranked = [name for name, _ in Counter(names).most_common()]
    return np.array([ranked.index(name) for name in names], dtype=np.int64)


def _nodes_of(
    happened: Round, paths: Mapping[PathKey, Path], labels: IntArray | None, aggregate: str
) -> dict[PathKey, Node]:
    ended = {event.path: event for event in happened.finished}
    places = {} if happened.allocated is None else {key: i for i, key in enumerate(happened.allocated.candidates.paths)}
    nodes = {event.path: _lost(event) for event in happened.failed}
    for event in happened.grown:
        score = STEP_AGGREGATES[aggregate](paths[event.path].rewards)
        if event.path in places and happened.allocated is not None and labels is not None:
            place = places[event.path]
            nodes[event.path] = _candidate(event, happened.allocated, place, int(labels[place]))
        else:
            fate = Fate.FINISHED if event.path in ended else Fate.LEFT
            cut = fate is Fate.FINISHED and ended[event.path].stop is Stop.LENGTH
            step = event.step
            nodes[event.path] = Node(event.path, event.round, fate, step.text, score, cut=cut, wrote=step.wrote)
    return nodes


def _lost(event: Failed) -> Node:
    return Node(event.path, event.round, Fate.FAILED, reason=event.reason)


def _candidate(event: Grown, allocated: Allocated, place: int, label: int) -> Node:
    allocation, belief = allocated.allocation, allocated.candidates.belief
    count = int(allocation.counts[place])
    return Node(
        key=event.path,
        round=event.round,
        fate=Fate.CONTINUED if count else Fate.PRUNED,
        text=event.step.text,
        wrote=event.step.wrote,
        score=float(allocated.candidates.rewards[place]),
        direction=label,
        place=place,
        uniqueness=None if allocation.uniqueness is None else float(allocation.uniqueness[place]),
        chance=None if belief is None else float(belief.mean[place]),
        worth=None if belief is None else float(belief.concentration[place]),
        share=float(allocation.weights[place]),
        count=count,
    )


def _stage(happened: Round, paths: Mapping[PathKey, Path], labels: IntArray | None, compare: Collection[str]) -> Stage:
    sizes = len(happened.grown), len(happened.finished), len(happened.failed)
    allocated = happened.allocated
    stopped = None if happened.stopped is None else happened.stopped.reason
    if allocated is None or labels is None:
        return Stage(happened.index, *sizes, stopped=stopped)
    directions = allocated.candidates.directions
    return Stage(
        happened.index,
        *sizes,
        groups=tuple(_group(label, labels, allocated, paths) for label in range(int(labels.max()) + 1)),
        others=counts_of_others(allocated, compare),
        order=_ordered(allocated, labels),
        similarity=None if directions is None else directions.similarity,
        allocated=allocated,
        stopped=stopped,
    )


def _repeatable(stage: Stage, allocate: Allocator | None) -> bool:
    """Whether the strategy hands out the recorded counts again: not if evidence is missing or options changed."""
    if allocate is None or stage.allocated is None:
        return False
    try:
        again = allocate(stage.allocated.candidates, stage.allocated.width)
    except RollwiseError:
        return False
    return bool(np.array_equal(again.counts, stage.allocated.allocation.counts))


def _group(label: int, labels: IntArray, allocated: Allocated, paths: Mapping[PathKey, Path]) -> Group:
    members = np.flatnonzero(labels == label)
    allocation = allocated.allocation
    medoid = allocated.candidates.paths[_medoid(members, allocated, paths)]
    return Group(
        label=label,
        words=_words(paths[medoid].steps[-1]),
        paths=len(members),
        score=float(allocated.candidates.rewards[members].mean()),
        uniqueness=None if allocation.uniqueness is None else float(allocation.uniqueness[members].sum()),
        share=float(allocation.weights[members].sum()),
        count=int(allocation.counts[members].sum()),
    )


def _medoid(members: IntArray, allocated: Allocated, paths: Mapping[PathKey, Path]) -> int:
    """The candidate most similar to its direction; without a similarity, the first whose last step is the commonest."""
    directions = allocated.candidates.directions
    if directions is not None and directions.similarity is not None:
        return int(members[directions.similarity[np.ix_(members, members)].sum(axis=1).round(9).argmax()])
    texts = [_words(paths[allocated.candidates.paths[member]].steps[-1]) for member in members]
    commonest = Counter(texts).most_common(1)[0][0]
    return int(members[texts.index(commonest)])


def _words(step: Step) -> str:
    return " ".join(step.text.split())


def _ordered(allocated: Allocated, labels: IntArray) -> IntArray:
    directions = allocated.candidates.directions
    if directions is None or directions.similarity is None:
        return np.argsort(labels, kind="stable")
    return contiguous_order(directions, len(labels))


def counts_of_others(allocated: Allocated, compare: Collection[str] = COMPARED) -> dict[str, IntArray]:
    """The counts (k,) that other strategies would give the same candidates, with their default options.

    A strategy is left out if the candidates lack the evidence that it needs.
    """
    counts = {}
    for name in compare:
        try:
            counts[name] = STRATEGIES[name].bind()(allocated.candidates, allocated.width).counts
        except InputError:
            continue
    return counts


def _voted(
    ended: Sequence[PathKey], paths: Mapping[PathKey, Path], nodes: Mapping[PathKey, Node], told: Told
) -> tuple[dict[PathKey, Node], tuple[Ballot, ...]]:
    """The finished nodes with their answers and what they weigh, and the answers with votes, heaviest first."""
    if told.digested:
        return {}, ()
    answers = read_answers([paths[key] for key in ended], told.form).answers
    weights = [_weight(nodes[key], told) for key in ended]
    rights = told.rights or {}
    answered = {
        key: replace(nodes[key], answer=answer, vote=None if answer is None else weight, right=rights.get(key))
        for key, answer, weight in zip(ended, answers, weights, strict=True)
    }
    labels = group(answers, compare="text") if told.vote == "verified" else (told.group or group)(answers)
    ballots = []
    for label in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels == label).tolist()
        weight = sum(weights[member] or 0.0 for member in members)
        right = bool(rights.get(ended[members[0]]))
        ballots.append(Ballot(answers[members[0]] or "", len(members), weight, right))
    return answered, tuple(sorted(ballots, key=lambda ballot: (-ballot.weight, -ballot.paths)))


def _weight(node: Node, told: Told) -> float | None:
    if told.weights is not None:
        return told.weights.get(node.key)
    if told.vote == "majority":
        return 1.0
    return None if told.vote == BELIEVED else node.score
