"""Beliefs as files: what one holds, and whether it was fitted on what a search uses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rollwise.calibration.record import Calibration, Source, remarks_on
from rollwise.errors import InputError
from rollwise.names import part_digest


def read_belief(file: Path) -> Calibration:
    """The calibration that a file holds. Raises InputError where it holds none that can be read."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the belief {file}: {error.strerror}; make one by rollwise calibrate") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not the JSON of a belief: {error}; make one by rollwise calibrate") from None
    try:
        return Calibration.of(values)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def source_of(world: str, temperature: float | None, policy: Any, reward: Any) -> Source:
    """The parts that a belief is about, with the digests of those that are folders; what has no name stays unknown."""

    def named(part: str, given: Any) -> tuple[str, str]:
        return (given, part_digest(world, part, given)) if given and isinstance(given, str) else ("", "")

    return Source(world, *named("policy", policy), *named("reward", reward), temperature=temperature)


def mismatches(calibration: Calibration, used: Source, aggregate: str) -> Sequence[str]:
    """Where a calibration was fitted on something else than a search uses: parts, temperature, kind of reward."""
    told = remarks_on(calibration.source, used)
    if aggregate != "last":
        told.append(f"the belief reads the reward of the last step, the search makes its own by {aggregate}")
    return told
