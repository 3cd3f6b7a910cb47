"""Beliefs as files: which one a search reads, and whether it was fitted on what the search uses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rollwise.calibration import Calibration, Source, remarks_on
from rollwise.errors import InputError
from rollwise.parts import bundled, part_digest


def belief_file(name: str, world: str, policy: Any, reward: Any) -> Path | None:
    """The file that a belief's name stands for. "auto" is the world's own, where there is one and policy and reward
    are the world's own too; else None, as "model" is, which is what the reward model says itself.
    """
    if name == "model":
        return None
    if name != "auto":
        return Path(name)
    own = bundled(world, "policy").parent / "belief.json"
    return own if (policy, reward) == ("trained", "trained") and own.is_file() else None


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
