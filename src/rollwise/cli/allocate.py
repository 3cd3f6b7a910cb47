"""`rollwise allocate`: one allocation from JSON to JSON, so that a search in any language can use the strategies."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rollwise.core import Allocation, Belief, Candidates, Directions
from rollwise.directions import check_directions, from_embeddings, from_labels, uniqueness
from rollwise.errors import InputError
from rollwise.registry import find_strategy
from rollwise.search import START, Options, Shown, validated


class Request(BaseModel):
    """The request that `rollwise allocate` reads. Unknown fields are refused; unneeded evidence is allowed."""

    model_config = ConfigDict(extra="forbid", strict=True)

    strategy: str = "dora"
    scores: list[float]
    embeddings: list[list[float]] | None = None
    similarity: list[list[float]] | None = None
    directions: list[int | str] | None = None
    lineage: list[Annotated[int, Field(ge=0, lt=2**63)]] | None = None
    paths: list[list[int]] | None = None
    width: int | None = None
    concentration: float | list[float] | None = None
    spent: list[Annotated[int, Field(ge=0, lt=2**31)]] | None = None
    options: dict[str, Any] = Field(default_factory=dict)


def advise(request: Request) -> dict[str, Any]:
    """The allocation for a request, as plain values.

    `options.seed` keys the randomness of systematic rounding; all other options go to the strategy. The default width
    is the number of scores. For a strategy that needs a belief, the scores are the belief's means. `uniqueness` is None
    if the request holds no evidence on directions.

    Raises InputError if the request is inconsistent.
    """
    options = dict(request.options)
    seed = options.pop("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise InputError(f"option 'seed' takes a whole number, not {seed!r}")
    count = len(request.scores)
    strategy = find_strategy(request.strategy)
    directions = _directions(request)
    candidates = Candidates(
        paths=tuple(map(tuple, request.paths)) if request.paths else tuple((index,) for index in range(count)),
        rewards=np.array(request.scores, dtype=np.float64),
        directions=directions,
        lineage=None if request.lineage is None else np.array(request.lineage, dtype=np.int64),
        seed=seed,
        belief=_belief(request) if "belief" in strategy.needs else None,
    )
    if len(candidates.paths) != count:
        raise InputError(f"{count} scores need {count} paths, not {len(candidates.paths)}")
    allocation = strategy.bind(options)(candidates, count if request.width is None else request.width)
    return _reply(allocation, directions)


def _belief(request: Request) -> Belief:
    if request.concentration is None:
        raise InputError(
            f"strategy {request.strategy!r} reads scores as chances and needs their concentration: give one number, or "
            "a number for each score; it says how many completions a score is worth"
        )
    count, spent = len(request.scores), request.spent
    given = request.concentration
    concentrations = given if isinstance(given, list) else [given] * count
    return Belief(
        mean=np.array(request.scores, dtype=np.float64),
        concentration=np.array(concentrations, dtype=np.float64),
        spent=None if spent is None else np.array(spent, dtype=np.int64),
    )


def _directions(request: Request) -> Directions | None:
    given = [name for name in ("embeddings", "similarity", "directions") if getattr(request, name) is not None]
    if len(given) > 1:
        raise InputError(f"give only one of embeddings, similarity and directions, not {' and '.join(given)}")
    if request.embeddings is not None:
        rows = request.embeddings
        if len(rows) != len(request.scores) or len({len(row) for row in rows}) > 1 or not all(rows):
            raise InputError(f"embeddings need {len(request.scores)} rows of equal length, a row for each score")
        embeddings = np.array(rows, dtype=np.float64)
        if not np.all(np.isfinite(embeddings)):
            raise InputError("an embedding contains NaN or infinity; replace these with finite numbers")
        return from_embeddings(embeddings)
    if request.similarity is not None:
        rows = request.similarity
        if len(rows) != len(request.scores) or any(len(row) != len(rows) for row in rows):
            raise InputError(f"{len(request.scores)} scores need a square similarity matrix with as many rows")
        return Directions(similarity=np.array(rows, dtype=np.float64))
    return None if request.directions is None else from_labels(request.directions)


def _reply(allocation: Allocation, directions: Directions | None) -> dict[str, Any]:
    unique = allocation.uniqueness
    if unique is None and directions is not None:
        check_directions(directions, len(allocation.counts))
        unique = uniqueness(directions)
    return {
        "counts": allocation.counts.tolist(),
        "weights": allocation.weights.tolist(),
        "uniqueness": None if unique is None else unique.tolist(),
        "effective_directions": None if unique is None else float(unique.sum()),
    }


class AllocateOptions(Options):
    """The options of `rollwise allocate`."""

    file: Annotated[str, Shown(START, argument=True)] = Field(description="A JSON file, or - for standard input.")


def allocate(given: dict[str, Any]) -> None:
    """Read an allocation request as JSON, and print the counts as JSON.

    Fields: **strategy**, **scores**, one of **embeddings**, **similarity** and **directions** (labels), **lineage**
    (root index of each path, for dvts), **paths** (keys that break ties), **width** (default: the number of scores),
    **options** (reward_temperature 0.1, similarity_temperature 0.01, beam_width 4, rounding, seed; for dora also
    size_exponent).

    **optimal** and **optimal_directions** read scores as calibrated chances of ending right. They need
    **concentration**: how many completions a score is worth, as one number or a number for each score. **spent** counts
    the rollouts that each path has already had. Options of optimal: floor, cap. Options of optimal_directions:
    correlation in (0, 1] (default 1), size_exponent, cut.

    Examples, with the request in request.json:

    * `{"strategy": "dora", "scores": [0.95, 0.95, 0.95, 0.95], "directions": [1, 1, 1, 2], "width": 12}`

    * `{"strategy": "optimal", "scores": [0.6, 0.3, 0.05], "concentration": 4, "width": 12}`

    * `rollwise allocate request.json`
    """
    typer.echo(json.dumps(advise(_read(validated(AllocateOptions, given).file))))


def _read(file: str) -> Request:
    try:
        text = (sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()).decode("utf-8")
        return Request.model_validate(json.loads(text))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; give a JSON file, or - for standard input") from None
    except UnicodeDecodeError:
        raise InputError(f"{file} is not UTF-8 text; save the JSON as UTF-8") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][:2]) or "the request"
        known = ", ".join(Request.model_fields)
        hint = f"; the fields are: {known}" if first["type"] in ("extra_forbidden", "missing", "model_type") else ""
        raise InputError(f"{field}: {first['msg'].lower()}{hint}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON that can be used: {error}; see rollwise allocate --help") from None
