"""What a direction finder promises: evidence on each path, of one kind, that says the same whenever it is asked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from rollwise import directions
from rollwise.core import (
    DirectionFinder,
    Directions,
    Evidence,
    Failure,
    Path,
    PathKey,
    Policy,
    PolicySession,
    Problem,
    Sampling,
    Step,
)
from rollwise.search import run_to_end
from rollwise.testing.cases import Case, NoPolicy, demonstrated
from rollwise.testing.contract import check_grows, check_parameters, check_results, check_usage, promised, require

Equal = Callable[[Problem, Path], Hashable]
"""What two paths of a problem have in common where they have to be of one direction."""


def check_directions(
    finder: DirectionFinder,
    cases: Sequence[Case] | None = None,
    policy: Policy | None = None,
    equal: Equal | None = None,
) -> None:
    """Raises ContractError unless a direction finder keeps its contract on the cases (left out: the numbers game's).

    There is evidence on each path, in the order given: a label or an embedding, all of one kind and length, from which
    directions can be made; the same directions in a new session and in another order of the paths, one by one where its
    session has `at_once`; usage never falls. A `policy` grows the paths of the cases' problems, for finders that read
    its session. With `equal`, paths for which it says the same are of one direction: equal labels, or embeddings of
    cosine 1.
    """
    run_to_end(_check(finder, cases or demonstrated(), policy, equal))


async def _check(finder: DirectionFinder, cases: Sequence[Case], policy: Policy | None, equal: Equal | None) -> None:
    check_parameters(finder, "direction finder")
    for case in cases:
        if policy is None:
            for paths in case.rounds():
                await _check_round(
                    finder, case.problem, NoPolicy(), list({path.key: path for path in paths}.values()), equal
                )
        else:
            session = policy.open(case.problem, Sampling(1.0))
            try:
                await _check_round(finder, case.problem, session, await _grown(session), equal)
            finally:
                await session.close()


async def _grown(session: PolicySession, count: int = 6) -> list[Path]:
    """Paths of one step that go on, as a policy grows them."""
    if prepare := getattr(session, "prepare", None):
        await prepare()
    paths = [Path((index,)) for index in range(count)]
    steps = await session.extend(paths)
    grown = [path.grown(step) for path, step in zip(paths, steps, strict=True) if isinstance(step, Step)]
    return [path for path in grown if not path.ended]


async def _check_round(
    finder: DirectionFinder, problem: Problem, session: PolicySession, paths: Sequence[Path], equal: Equal | None
) -> None:
    found = await _found(finder, problem, session, paths)
    promise = "the same paths are of the same directions in a new session and in another order"
    _same(found, await _found(finder, problem, session, paths[::-1], parted=True), promise)
    for one in paths if equal else ():
        for other in paths:
            if equal and one.key in found and other.key in found and equal(problem, one) == equal(problem, other):
                require(
                    _together(found[one.key], found[other.key]),
                    "paths that have all in common that counts are of one direction",
                    f"{one.key} and {other.key}: {one.text[-60:]!r} and {other.text[-60:]!r}",
                )


async def _found(
    finder: DirectionFinder, problem: Problem, policy: PolicySession, paths: Sequence[Path], parted: bool = False
) -> dict[PathKey, Evidence]:
    """Evidence by key, of all paths together, or one by one where the finder says that it takes them in parts."""
    with promised("open(problem, policy) gives a session"):
        session = finder.open(problem, policy)
    try:
        before = check_usage(session, "direction finder")
        with promised("find(paths) returns evidence on each path"):
            require(not list(await session.find([])), "find of no paths returns nothing")
            parts = [[path] for path in paths] if parted and hasattr(session, "at_once") else [paths]
            found = [one for part in parts for one in await session.find(part)]
            results = check_results(found, paths, Evidence, "find")
        check_grows(before, check_usage(session, "direction finder"))
    finally:
        if close := getattr(session, "close", None):
            await close()
    evidence = {key: one for key, one in results.items() if not isinstance(one, Failure)}
    for one in evidence.values():
        _check_evidence(one)
    _made(list(evidence.values()))
    return evidence


def _check_evidence(one: Evidence) -> None:
    require(
        one.label is not None or one.embedding is not None,
        "evidence on a path is a label or an embedding; both are None",
    )
    try:
        hash(one.label)
    except TypeError:
        require(False, "a label can be hashed, so that equal ones are found", f"found {one.label!r:.60}")
    vector = one.embedding
    require(
        vector is None or (np.ndim(vector) == 1 and np.all(np.isfinite(vector)) and np.any(vector)),
        "an embedding is a finite vector, not all zeros",
        f"found {vector!r:.60}",
    )


def _made(evidence: Sequence[Evidence]) -> Directions | None:
    with promised("directions can be made of what find returns: labels, or embeddings of one length for every path"):
        made = directions.from_evidence(evidence)
        if made is not None:
            directions.check_directions(made, len(evidence))
        return made


def _same(some: dict[PathKey, Evidence], others: dict[PathKey, Evidence], promise: str) -> None:
    require(some.keys() == others.keys(), promise, "other paths failed")
    one, other = (_made([found[key] for key in some]) for found in (some, others))
    if one is None or other is None:
        return
    if one.labels is not None and other.labels is not None:
        require(np.array_equal(one.labels, other.labels), promise, f"{one.labels} and {other.labels}")
    elif one.similarity is not None and other.similarity is not None:
        far = float(np.abs(one.similarity - other.similarity).max())
        require(far < 1e-4, promise, f"cosines differ by {far:.3g}")
    else:
        require(False, promise, "labels one time, embeddings the other")


def _together(one: Evidence, other: Evidence) -> bool:
    if one.embedding is None or other.embedding is None:
        return one.label == other.label
    cosine = one.embedding @ other.embedding / np.linalg.norm(one.embedding) / np.linalg.norm(other.embedding)
    return bool(cosine > 1 - 1e-4)
