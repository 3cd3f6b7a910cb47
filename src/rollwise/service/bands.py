"""When a candidate falls back by itself, as a pure function of its latest searches."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rollwise.service.settings import Band


@dataclass(frozen=True)
class Outcome:
    """A search of the candidate: whether it failed, how long it took, what it generated, and whether it agrees with the
    current rule; None if nobody compared. `at` is when it began.
    """

    failed: bool
    seconds: float = 0.0
    generated: int = 0
    agrees: bool | None = None
    at: str = ""


@dataclass
class Watch:
    """The latest searches of a candidate, and the tokens of the current rule's."""

    window: int
    candidate: deque[Outcome] = field(init=False)
    current: deque[int] = field(init=False)

    def __post_init__(self) -> None:
        self.candidate, self.current = deque(maxlen=self.window), deque(maxlen=self.window)


@dataclass(frozen=True)
class Cause:
    """Why a candidate falls back: the figure that left its band, and a sentence."""

    figure: str
    sentence: str


def cause(band: Band, outcomes: Sequence[Outcome], current: Sequence[int], down: Sequence[str] = ()) -> Cause | None:
    """The first figure that left its band; None if all are within. `down` names servers of the candidate that fail."""
    if down:
        return Cause("server", f"down: {'; '.join(down)}")
    if len(outcomes) < band.least:
        return None
    errors = float(np.mean([outcome.failed for outcome in outcomes]))
    if errors > band.most_errors:
        return Cause("errors", f"{errors:.0%} of {len(outcomes)} searches failed, over {band.most_errors:.0%}")
    done = [outcome for outcome in outcomes if not outcome.failed]
    seconds = float(np.quantile([outcome.seconds for outcome in done], 0.95)) if done else 0.0
    if seconds > band.most_seconds:
        return Cause("latency", f"95 % of searches took up to {seconds:.1f} s, over {band.most_seconds:g} s")
    if done and len(current) >= band.least and np.mean(current) > 0:
        ratio = float(np.mean([outcome.generated for outcome in done]) / np.mean(current))
        if ratio > band.most_cost:
            return Cause("cost", f"{ratio:.1f} times the current rule's tokens, over {band.most_cost:g}")
    compared = [outcome.agrees for outcome in done if outcome.agrees is not None]
    if len(compared) >= band.least and float(np.mean(compared)) < band.least_agreement:
        share = float(np.mean(compared))
        return Cause("agreement", f"{share:.0%} of {len(compared)} answers agree, under {band.least_agreement:.0%}")
    return None
