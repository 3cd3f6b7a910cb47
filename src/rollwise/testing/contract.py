"""A broken promise as an error, and the promises that sessions of all parts share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rollwise.core import Failure, Path, PathKey, Usage
from rollwise.errors import InputError, RollwiseError

Results = dict[PathKey, Any]
"""The result of each path by its key."""


class ContractError(RollwiseError, AssertionError):
    """Raised if a plug-in breaks its contract. The message states the promise and what the plug-in did instead."""


def require(holds: Any, promise: str, found: str = "") -> None:
    """Raise ContractError with the promise, and with what was found instead, unless `holds` is true."""
    if not holds:
        raise ContractError(f"{promise}; {found}" if found else promise)


@contextmanager
def promised(promise: str) -> Iterator[None]:
    """A context that turns every exception raised inside into a ContractError with the promise."""
    try:
        yield
    except ContractError:
        raise
    except Exception as error:  # a plug-in may raise anything
        raise ContractError(f"{promise}; it raised {type(error).__name__}: {error}") from error


def refused(call: Callable[[], Any], promise: str) -> None:
    """Raise ContractError unless a call raises an InputError."""
    try:
        call()
    except InputError:
        return
    raise ContractError(f"{promise}: the call has to raise an InputError that says what to give instead")


def check_parameters(model: Any, part: str) -> None:
    """Raise ContractError unless the model has a number of parameters, from which the ledger computes FLOPs."""
    count = getattr(model, "parameters", None)
    require(
        isinstance(count, int) and count >= 0,
        f"a {part} has `parameters`: how many parameters compute a token, 0 if none do or if that is unknown",
        f"found {count!r}",
    )


def check_usage(session: Any, part: str) -> Usage:
    """A copy of the session's usage so far. Raises ContractError unless it holds whole numbers of at least 0."""
    usage = getattr(session, "usage", None)
    require(isinstance(usage, Usage), f"a session of a {part} has `usage`, a rollwise.core.Usage", f"found {usage!r}")
    assert isinstance(usage, Usage)
    counts = asdict(usage)
    require(
        all(isinstance(count, int) and count >= 0 for count in counts.values()),
        "usage counts tokens and calls in whole numbers of at least 0",
        f"found {counts}",
    )
    return Usage(**counts)


def check_usage_grows(before: Usage, after: Usage) -> None:
    """Raise ContractError if a count of the usage fell."""
    fell = [name for name, count in asdict(before).items() if getattr(after, name) < count]
    require(not fell, "usage counts everything spent so far, so it never falls", f"{', '.join(fell)} fell")


def check_results(returned: Any, paths: Sequence[Path], kind: type | tuple[type, ...], method: str) -> Results:
    """The results by the path's key. Raises ContractError unless `method` returned one result for each path: an
    instance of `kind`, or a Failure for some of the paths.
    """
    try:
        results = list(returned)
    except TypeError:
        raise ContractError(f"{method} returns a list with one result for each path; found {returned!r:.80}") from None
    require(
        len(results) == len(paths),
        f"{method} returns one result for each path, in the order given",
        f"{len(results)} results for {len(paths)} paths",
    )
    wrong = [result for result in results if not isinstance(result, kind) and not isinstance(result, Failure)]
    require(
        not wrong, f"{method} returns for each path a result or a rollwise.core.Failure", f"found {wrong[:1]!r:.80}"
    )
    require(
        not results or any(not isinstance(result, Failure) for result in results),
        f"{method} works for most of these paths",
        f"it failed for all of them, for the first with: {getattr(results[0], 'reason', '') if results else ''}",
    )
    return {path.key: result for path, result in zip(paths, results, strict=True)}


def require_same(results: Results, others: Results, equal: Callable[[Any, Any], bool], promise: str) -> None:
    """Raise ContractError with the promise unless the results of all common paths are equal. Failures are equal."""
    for key in results.keys() & others.keys():
        result, other = results[key], others[key]
        failed = isinstance(result, Failure), isinstance(other, Failure)
        alike = failed[0] == failed[1] and (failed[0] or equal(result, other))
        require(alike, promise, f"path {key}: {result!r:.120} and {other!r:.120}")
