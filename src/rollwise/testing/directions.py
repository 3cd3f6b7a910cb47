"""The contract of a direction finder: evidence on each path, all of one kind, that is the same at every call."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from rollwise import directions
from rollwise.core import (
    DirectionFinder,
    Directions,
    DirectionSession,
    Evidence,
    Failure,
    Path,
    PathKey,
    Policy,
    PolicySession,
    Problem,
    Sampling,
    Step,
    completed,
)
from rollwise.search import run_to_end
from rollwise.testing.cases import Case, NoPolicy, demonstration_cases
from rollwise.testing.contract import (
    check_parameters,
    check_results,
    check_usage,
    check_usage_grows,
    promised,
    require,
)

Equal = Callable[[Problem, Path], Hashable]
"""(problem, path) → a value. Two paths of a problem with equal values have to share a direction."""


def check_directions(
    finder: DirectionFinder,
    cases: Sequence[Case] | None = None,
    policy: Policy | None = None,
    equal: Equal | None = None,
) -> None:
    """Raise ContractError unless a direction finder keeps its contract on the cases (default: the numbers game's).

    - `find` returns evidence on each path, in the order given: labels, or embeddings of one length, for all paths.
    - The directions are the same in a new session, in another order, and path by path if the session has `at_once`.
    - Usage never falls.
    - If `equal` is given, paths with equal values share a direction: equal labels, or embeddings of cosine 1.

    For finders that read the policy's session, `policy` grows the paths of the cases' problems.
    """
    run_to_end(_check(finder, cases or demonstration_cases(), policy, equal))


async def _check(finder: DirectionFinder, cases: Sequence[Case], policy: Policy | None, equal: Equal | None) -> None:
    check_parameters(finder, "direction finder")
    for case in cases:
        if policy is None:
            for paths in case.rounds():
                distinct = {path.key: path for path in paths}
                await _check_round(finder, case.problem, NoPolicy(), list(distinct.values()), equal)
        else:
            session = completed(policy.open(case.problem, Sampling(1.0)), PolicySession)
            try:
                await _check_round(finder, case.problem, session, await _grown(session), equal)
            finally:
                await session.close()


async def _grown(session: PolicySession, count: int = 6) -> list[Path]:
    """Up to `count` unfinished paths of one step that the policy grew."""
    await session.prepare()
    paths = [Path((index,)) for index in range(count)]
    steps = await session.extend(paths)
    grown = [path.grown(step) for path, step in zip(paths, steps, strict=True) if isinstance(step, Step)]
    return [path for path in grown if not path.ended]


async def _check_round(
    finder: DirectionFinder, problem: Problem, policy: PolicySession, paths: Sequence[Path], equal: Equal | None
) -> None:
    evidence = await _found(finder, problem, policy, paths)
    again = await _found(finder, problem, policy, paths[::-1], in_parts=True)
    _require_same(evidence, again, "the same paths have the same directions in a new session and in another order")
    if equal is None:
        return
    values = [(path, equal(problem, path)) for path in paths if path.key in evidence]
    for path, value in values:
        for other, other_value in values:
            require(
                value != other_value or _share_direction(evidence[path.key], evidence[other.key]),
                "paths for which `equal` returns equal values share a direction",
                f"{path.key} and {other.key}: {path.text[-60:]!r} and {other.text[-60:]!r}",
            )


async def _found(
    finder: DirectionFinder, problem: Problem, policy: PolicySession, paths: Sequence[Path], in_parts: bool = False
) -> dict[PathKey, Evidence]:
    """The evidence by path key from a new session, checked. `in_parts` asks path by path if the session allows that."""
    with promised("open(problem, policy) returns a session"):
        session = completed(finder.open(problem, policy), DirectionSession)
    try:
        before = check_usage(session, "direction finder")
        with promised("find(paths) returns evidence on each path"):
            require(not list(await session.find([])), "find of no paths returns nothing")
            returned = await _in_parts(session, paths) if in_parts else await session.find(paths)
            results = check_results(returned, paths, Evidence, "find")
        check_usage_grows(before, check_usage(session, "direction finder"))
    finally:
        await session.close()
    evidence = {key: result for key, result in results.items() if not isinstance(result, Failure)}
    for found in evidence.values():
        _check_evidence(found)
    _directions(list(evidence.values()))
    return evidence


async def _in_parts(session: DirectionSession, paths: Sequence[Path]) -> list[Evidence | Failure]:
    """The results of one call for each path, or of one call for all paths if the session has no `at_once`."""
    parts = [[path] for path in paths] if session.at_once else [paths]
    return [result for part in parts for result in await session.find(part)]


def _check_evidence(evidence: Evidence) -> None:
    require(
        evidence.label is not None or evidence.embedding is not None,
        "evidence on a path is a label or an embedding; both are None",
    )
    try:
        hash(evidence.label)
    except TypeError:
        require(False, "a label can be hashed, so that equal labels are found", f"found {evidence.label!r:.60}")
    vector = evidence.embedding
    require(
        vector is None or (np.ndim(vector) == 1 and np.all(np.isfinite(vector)) and np.any(vector)),
        "an embedding is a finite vector, not all zeros",
        f"found {vector!r:.60}",
    )


def _directions(evidence: Sequence[Evidence]) -> Directions | None:
    """The directions of some evidence, checked; None if there is no evidence."""
    with promised("find returns labels for every path, or embeddings of one length for every path"):
        found = directions.from_evidence(evidence)
        if found is not None:
            directions.check_directions(found, len(evidence))
        return found


def _require_same(evidence: dict[PathKey, Evidence], others: dict[PathKey, Evidence], promise: str) -> None:
    """Raise ContractError unless both hold the same directions of the same paths."""
    require(evidence.keys() == others.keys(), promise, "other paths failed")
    first, second = (_directions([found[key] for key in evidence]) for found in (evidence, others))
    if first is None or second is None:
        return
    if first.labels is not None and second.labels is not None:
        require(np.array_equal(first.labels, second.labels), promise, f"{first.labels} and {second.labels}")
    elif first.similarity is not None and second.similarity is not None:
        difference = float(np.abs(first.similarity - second.similarity).max())
        require(difference < 1e-4, promise, f"cosines differ by {difference:.3g}")
    else:
        require(False, promise, "labels the first time, embeddings the second time, or the other way round")


def _share_direction(evidence: Evidence, other: Evidence) -> bool:
    if evidence.embedding is None or other.embedding is None:
        return evidence.label == other.label
    norms = np.linalg.norm(evidence.embedding) * np.linalg.norm(other.embedding)
    return bool(evidence.embedding @ other.embedding / norms > 1 - 1e-4)
