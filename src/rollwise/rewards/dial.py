"""Rewards with a dial: the truth of the world plus noise of a chosen size, a chosen share of it common to a state."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from rollwise.answers import BOXED
from rollwise.core import Failure, Path, PathKey, Problem, RewardModel, RewardSession, Usage, World, whole_steps
from rollwise.errors import InputError
from rollwise.numerics import keyed_generator
from rollwise.worlds import on_course


@dataclass(frozen=True)
class DialReward(RewardModel):
    """reward = clip(truth + size · (√shared · z_state + √(1 - shared) · z_path), 0, 1), z standard normal.

    The truth of an unfinished path is "course", 1 if it can still reach the right answer and 0 if not, or "worth", the
    exact chance that the world's demonstrator ends right from there. The truth of a finished path is whether it is
    right. z_state is keyed by the state and z_path by the path, so at `shared` = 1 all paths of a state err together,
    as a real reward model does on equal text. `answer` is the form in which answers are read; "auto" reads each path by
    itself.

    Raises InputError if `size` is negative, if `shared` lies outside [0, 1], or if the world cannot compute "worth".
    """

    reads_certainty = False

    world: World
    size: float = 0.2
    shared: float = 0.0
    truth: Literal["course", "worth"] = "course"
    answer: str = BOXED
    parameters: int = 0

    def __post_init__(self) -> None:
        if not self.size >= 0 or not 0 <= self.shared <= 1:
            raise InputError(
                f"the dial takes a size of at least 0 and a share in [0, 1], not {self.size} and {self.shared}"
            )
        if self.truth == "worth" and self.world.demonstrator() is None:
            raise InputError(f"the world {self.world.name} does not know the worth of a path: take dial(SIZE,SHARED)")

    def open(self, problem: Problem, seed: int) -> DialSession:
        """A session for one question."""
        return DialSession(self, problem, seed)


class DialSession(RewardSession):
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
        key = (self.seed, self.problem.id, len(steps), "dial")
        of_state = keyed_generator(*key, dial.world.state(self.problem, steps)).standard_normal()
        of_path = keyed_generator(*key, path.key).standard_normal()
        noise = math.sqrt(dial.shared) * of_state + math.sqrt(1 - dial.shared) * of_path
        return min(1.0, max(0.0, self._truth(path, steps) + dial.size * noise))

    def _truth(self, path: Path, steps: Sequence[str]) -> float:
        if self.dial.truth == "course" or path.ended:
            return float(on_course(self.dial.world, self.problem, path, self.dial.answer))
        return self.dial.world.worth(self.problem, steps)

    def retain(self, keys: Collection[PathKey]) -> None:
        """Do nothing: the session keeps no caches."""

    async def close(self) -> None:
        """Do nothing: the session holds no resources."""
