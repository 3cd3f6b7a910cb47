"""Rewards with a dial: a truth of the world plus noise of a stated size, a stated share of it common to a state."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from rollwise.answers import on_course
from rollwise.core import Failure, Path, PathKey, Problem, Usage, World, whole_steps
from rollwise.errors import InputError
from rollwise.numerics import keyed_generator


@dataclass(frozen=True)
class DialReward:
    """reward = clip(truth + size · (√shared · z_state + √(1 - shared) · z_path), 0, 1), z standard normal.

    Truth is "course", 1 where the right answer can still be reached and 0 elsewhere, or "worth", the exact chance that
    the world's demonstrator ends right; for a finished path, whether it is right. The noise is keyed by the state or by
    the path, so that at `shared` = 1 all paths of a state err together, as a real reward model does on equal text.
    """

    reads_certainty = False

    world: World
    size: float = 0.2
    shared: float = 0.0
    truth: Literal["course", "worth"] = "course"
    parameters: int = 0

    def __post_init__(self) -> None:
        if not self.size >= 0 or not 0 <= self.shared <= 1:
            raise InputError(
                f"the dial takes a size of at least 0 and a share in [0, 1], not {self.size}, {self.shared}"
            )
        if self.truth == "worth" and self.world.demonstrator() is None:
            raise InputError(f"the world {self.world.name} does not know the worth of a path: take dial(SIZE,SHARED)")

    def open(self, problem: Problem, seed: int) -> DialSession:
        """A session for one question."""
        return DialSession(self, problem, seed)


class DialSession:
    """One question's dial rewards."""

    def __init__(self, dial: DialReward, problem: Problem, seed: int) -> None:
        self.dial, self.problem, self.seed = dial, problem, seed
        self.usage = Usage()

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        """The reward after each path's last step."""
        return [self._reward(path) for path in paths]

    def _reward(self, path: Path) -> float:
        dial = self.dial
        steps = whole_steps(path.text, dial.world.separator, path.ended)
        if dial.truth == "course" or path.ended:
            truth = float(on_course(dial.world, self.problem, path))
        else:
            truth = dial.world.worth(self.problem, steps)
        key = (self.seed, self.problem.id, len(steps), "dial")
        common = keyed_generator(*key, dial.world.state(self.problem, steps)).standard_normal()
        own = keyed_generator(*key, path.key).standard_normal()
        noise = math.sqrt(dial.shared) * common + math.sqrt(1 - dial.shared) * own
        return min(1.0, max(0.0, truth + dial.size * noise))

    def retain(self, keys: Collection[PathKey]) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing to give back."""
