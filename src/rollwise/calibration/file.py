"""Reads belief files, and says if a belief was fitted on other parts than a search uses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rollwise.calibration.record import Calibration, Source, remarks_on
from rollwise.errors import InputError
from rollwise.names import part_digest

_REMEDY = "fit a belief with rollwise calibrate"


def read_belief(file: Path) -> Calibration:
    """The calibration in a file. Raises InputError if the file cannot be read or holds no belief of this version."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the belief {file}: {error.strerror}; {_REMEDY}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON and so holds no belief: {error}; {_REMEDY}") from None
    try:
        return Calibration.of(values)
    except InputError as error:
        raise InputError(f"{file}: {error}; {_REMEDY}") from None


def source_of(world: str, temperature: float | None, policy: Any, reward: Any) -> Source:
    """The Source of a belief or a search: the names of its parts, and the digests of those that are folders.

    A `policy` or `reward` that is not given by name stays unknown ("").
    """

    def name_and_digest(role: str, part: Any) -> tuple[str, str]:
        return (part, part_digest(world, role, part)) if part and isinstance(part, str) else ("", "")

    return Source(
        world, *name_and_digest("policy", policy), *name_and_digest("reward", reward), temperature=temperature
    )


def mismatches(calibration: Calibration, used: Source, aggregate: str) -> Sequence[str]:
    """Remarks on what differs between a calibration's fit and a search: the parts, temperature and reward aggregate."""
    remarks = remarks_on(calibration.source, used)
    if aggregate != "last":
        remarks.append(
            f"the belief was fitted on the reward of the last step, but the search aggregates by {aggregate}"
        )
    return remarks
