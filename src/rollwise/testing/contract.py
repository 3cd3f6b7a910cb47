"""A broken promise as an error, and what sessions of all kinds promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rollwise.core import Failure, Path, PathKey, Usage
from rollwise.errors import RollwiseError


class ContractError(RollwiseError, AssertionError):
    """A plug-in broke its contract. The message says what was promised and what came instead."""


def require(holds: Any, promise: str, found: str = "") -> None:
    """Raises ContractError with the promise, and what was found instead, unless it holds."""
    if not holds:
        raise ContractError(f"{promise}; {found}" if found else promise)


@contextmanager
def promised(promise: str) -> Iterator[None]:
    """Turns whatever is raised inside into a ContractError with the promise."""
    try:
        yield
    except ContractError:
        raise
    except Exception as error:  # whatever a user's own code may raise
        raise ContractError(f"{promise}; it raised {type(error).__name__}: {error}") from error


def check_parameters(model: Any, what: str) -> None:
    """A count of parameters, for the ledger's FLOPs."""
    count = getattr(model, "parameters", None)
    require(
        isinstance(count, int) and count >= 0,
        f"a {what} has `parameters`, how many compute a token; 0 where nothing is computed or that is unknown",
        f"found {count!r}",
    )


def check_usage(session: Any, what: str) -> Usage:
    """The session's usage as it is now: whole numbers of at least 0."""
    usage = getattr(session, "usage", None)
    require(isinstance(usage, Usage), f"a session of a {what} has `usage`, a rollwise.core.Usage", f"found {usage!r}")
    assert isinstance(usage, Usage)
    counts = asdict(usage)
    require(
        all(isinstance(count, int) and count >= 0 for count in counts.values()),
        "usage counts tokens and calls in whole numbers of at least 0",
        f"found {counts}",
    )
    return Usage(**counts)


def check_grows(before: Usage, after: Usage) -> None:
    """What was spent stays spent."""
    fell = [name for name, count in asdict(before).items() if getattr(after, name) < count]
    require(not fell, "usage says what was spent so far, so it never falls", f"{', '.join(fell)} fell")


def check_results(results: Any, paths: Sequence[Path], kind: type | tuple[type, ...], asked: str) -> dict[PathKey, Any]:
    """One result for each path, of that kind or a Failure, by the path's key."""
    try:
        found = list(results)
    except TypeError:
        raise ContractError(f"{asked} returns a list, one result for each path; found {results!r:.80}") from None
    require(
        len(found) == len(paths),
        f"{asked} returns one result for each path, in the order given",
        f"{len(found)} results for {len(paths)} paths",
    )
    wrong = [one for one in found if not isinstance(one, kind) and not isinstance(one, Failure)]
    require(
        not wrong, f"what {asked} returns for a path is a result or a rollwise.core.Failure", f"found {wrong[:1]!r:.80}"
    )
    require(
        not found or any(not isinstance(one, Failure) for one in found),
        f"{asked} fails for none of these paths, or for few",
        f"all failed, the first: {getattr(found[0], 'reason', '') if found else ''}",
    )
    return {path.key: one for path, one in zip(paths, found, strict=True)}


def same(some: dict[PathKey, Any], others: dict[PathKey, Any], equal: Callable[[Any, Any], bool], promise: str) -> None:
    """Raises ContractError unless all paths that both know came out alike; failures are alike."""
    for key in some.keys() & others.keys():
        one, other = some[key], others[key]
        failed = isinstance(one, Failure), isinstance(other, Failure)
        alike = failed[0] == failed[1] and (failed[0] or equal(one, other))
        require(alike, promise, f"path {key}: {one!r:.120} and {other!r:.120}")
