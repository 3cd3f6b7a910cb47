"""The laboratory of the theory: every strategy and the exact optimum on candidates of known chances."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rollwise.allocation import STRATEGIES
from rollwise.core import Belief, Candidates, Directions, IntArray
from rollwise.simulation import allocation_failures, least_failure

SHOWN = ("temperature", "beam", "dvts", "rebase", "dora", "optimal", "optimal_directions")

Chance = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Group(BaseModel):
    """A direction: the score of its paths, which is their chance to end right, and how many they are."""

    model_config = ConfigDict(extra="forbid")

    score: Chance
    size: Annotated[int, Field(ge=1, le=64)]


class Setting(BaseModel):
    """The sliders: the directions, what their scores are worth, the temperatures, and the width.

    `concentration` is κ, `correlation` ρ, `reward_temperature` T_b, `similarity_temperature` T_s, and `likeness` the
    cosine between paths of different directions.
    """

    model_config = ConfigDict(extra="forbid")

    groups: Annotated[list[Group], Field(min_length=1, max_length=12)]
    width: Annotated[int, Field(ge=1, le=256)] = 32
    concentration: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] = 4.0
    correlation: Chance = 1.0
    reward_temperature: Annotated[float, Field(ge=0.001, le=10, allow_inf_nan=False)] = 0.1
    similarity_temperature: Annotated[float, Field(ge=0.0001, le=10, allow_inf_nan=False)] = 0.01
    likeness: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.5


def candidates_of(setting: Setting) -> tuple[Candidates, IntArray]:
    """The candidates that the sliders describe, and the direction (k,) of each."""
    sizes = [group.size for group in setting.groups]
    labels = np.repeat(np.arange(len(sizes)), sizes)
    scores = np.repeat([group.score for group in setting.groups], sizes)
    similarity = np.where(labels[:, None] == labels, 1.0, setting.likeness)
    belief = Belief(scores, np.full(len(labels), setting.concentration), max(0.001, setting.correlation))
    candidates = Candidates(
        paths=tuple((place,) for place in range(len(labels))),
        rewards=scores,
        directions=Directions(similarity=similarity),
        lineage=np.arange(len(labels)),
        depth=np.ones(len(labels), dtype=np.int64),
        belief=belief,
    )
    return candidates, labels


def laboratory(setting: Setting) -> dict[str, Any]:
    """For each strategy its rollouts by direction and by path, the chance that all fail, and its regret.

    The regret is log(failure / least failure), in nats; `least` is the least chance of failure of any allocation. A
    regret is None if the least chance is 0 and the strategy's is not.
    """
    candidates, labels = candidates_of(setting)
    means = np.array([group.score for group in setting.groups])
    truth = setting.concentration, setting.correlation
    least = least_failure(means, np.bincount(labels), setting.width, *truth)
    options: dict[str, dict[str, float]] = {
        "rebase": {"reward_temperature": setting.reward_temperature},
        "dora": {
            "reward_temperature": setting.reward_temperature,
            "similarity_temperature": setting.similarity_temperature,
        },
    }
    counts = {name: STRATEGIES[name].bind(options.get(name))(candidates, setting.width).counts for name in SHOWN}
    failures = allocation_failures(np.array(list(counts.values())), labels, means, *truth)
    shown = []
    for (name, given), failure in zip(counts.items(), failures.tolist(), strict=True):
        totals = np.bincount(labels, given, minlength=len(means)).astype(int).tolist()
        judged = {"failure": failure, "regret": _regret(failure, least)}
        shown.append({"strategy": name, "totals": totals, "counts": given.tolist(), **judged})
    return {"least": least, "labels": labels.tolist(), "strategies": shown}


def _regret(failure: float, least: float) -> float | None:
    if failure <= least:
        return 0.0
    return math.log(failure / least) if least > 0 else None
