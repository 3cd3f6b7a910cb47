"""The demonstrator of stories: an imperfect solver with known rates, and so a policy whose chances are known exactly.

The demonstrator may misread a turned clause. If there are two ways, it usually takes the long way. It slips, more often
on the long way. It slips at most once in a solution, and it keeps to the way that it took first. Therefore, in a story
where every fault ends wrong, its chance of success is a product over the remaining computations.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rollwise.core import (
    Failure,
    FloatArray,
    Path,
    PathKey,
    Policy,
    PolicySession,
    Problem,
    Sampling,
    Step,
    Stop,
    Usage,
    whole_steps,
)
from rollwise.errors import InputError
from rollwise.numerics import keyed_generator, softmax
from rollwise.worlds.story_questions import SLIPS, Story, faults_end_wrong, read_story
from rollwise.worlds.story_steps import SEPARATOR, Move, State, Way, advance, answer_text, follow, moves, start

LONGEST_STEP = 12
"""How many words a step may have."""


@dataclass(frozen=True)
class Habits:
    """How a demonstrator solves; all fields are chances.

    The chance of the tempting wrong reading of a turned clause is `tempted_per_clause` times the number of clauses, but
    at most `tempted_most`. `long_way` is the chance of the long way at the first clause with two ways. The chance that
    a result is wrong is `slip_long` on the long way and `slip` elsewhere.
    """

    tempted_per_clause: float = 0.09
    tempted_most: float = 0.55
    long_way: float = 0.7
    slip: float = 0.02
    slip_long: float = 0.15

    def __post_init__(self) -> None:
        outside = [name for name in self.__dataclass_fields__ if not 0 <= getattr(self, name) <= 1]
        if outside:
            raise InputError(f"a demonstrator's habits are chances in [0, 1]; change {', '.join(outside)}")

    def tempted(self, story: Story) -> float:
        """The chance to misread a turned clause of this story, which grows with the number of its clauses."""
        return min(self.tempted_most, self.tempted_per_clause * len(story.clauses))


@functools.lru_cache(maxsize=100_000)
def choices(story: Story, state: State, habits: Habits, temperature: float = 1.0) -> Mapping[str, float]:
    """The texts of possible next steps with their probabilities p^(1/T), normalised; empty after the answer."""
    if state.answered is not None:
        return {}
    chances: dict[str, float] = {}
    for move, share in _shares(story, state, habits):
        slip = 0.0 if state.broken else habits.slip_long if move.way is Way.LONG else habits.slip
        intended = max(1, move.value)
        for error, chance in ((0, 1 - slip), *((error, slip / len(SLIPS)) for error in SLIPS)):
            text = move.text(max(1, intended + error))
            chances[text] = chances.get(text, 0.0) + share * chance
    if not chances:
        return {answer_text(state.values[-1]): 1.0}
    possible = {text: chance for text, chance in chances.items() if chance > 0}
    heated = softmax(np.log(list(possible.values())), temperature)
    return dict(zip(possible, heated.tolist(), strict=True))


def _shares(story: Story, state: State, habits: Habits) -> list[tuple[Move, float]]:
    """The next moves, each with its chance. A misreading that leaves a number below 1 tempts nobody."""
    options = moves(story, state)
    if len(options) < 2:
        return [(move, 1.0) for move in options]
    first, second = options
    if second.tempting:
        other = habits.tempted(story) if second.value >= 1 else 0.0
    else:
        other = habits.long_way if state.way is None else float(state.way is Way.LONG)
    return [(first, 1 - other), (second, other)]


@functools.lru_cache(maxsize=100_000)
def success(story: Story, state: State, habits: Habits, temperature: float = 1.0) -> float:
    """The exact chance that the demonstrator, continuing from a state, ends with the right answer."""
    if state.answered is not None:
        return float(state.answered == str(story.gold))
    following = [
        (chance, advance(story, state, text)) for text, chance in choices(story, state, habits, temperature).items()
    ]
    if state.valid and faults_end_wrong(story):
        following = [(chance, after) for chance, after in following if after.valid]
    return sum(chance * success(story, after, habits, temperature) for chance, after in following)


def demonstrate(rng: np.random.Generator, story: Story, habits: Habits) -> list[str]:
    """The steps of a solution that the demonstrator draws."""
    state, steps = start(story), list[str]()
    while options := choices(story, state, habits):
        steps.append(_drawn(options, rng.random()))
        state = advance(story, state, steps[-1])
    return steps


def _drawn(options: Mapping[str, float], uniform: float) -> str:
    """The option at the quantile `uniform` of the distribution."""
    cumulative = np.cumsum(list(options.values()))
    place = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    return list(options)[min(place, len(options) - 1)]


@dataclass(frozen=True)
class DemonstratorPolicy(Policy):
    """The demonstrator as a policy. It computes no model, and its tokens are words."""

    habits: Habits
    parameters: int = 0

    def open(self, problem: Problem, sampling: Sampling) -> PolicySession:
        """A session for a question. Raises InputError for sampling options that the demonstrator cannot follow."""
        if sampling.top_p < 1:
            raise InputError("the demonstrator samples from its whole distribution: leave top_p at 1")
        if sampling.max_step_tokens < LONGEST_STEP:
            raise InputError(
                f"a step of the demonstrator may take {LONGEST_STEP} words: set max_step_tokens to at least that"
            )
        return DemonstratorSession(read_story(problem.question), self.habits, problem, sampling)


class DemonstratorSession(PolicySession):
    """The demonstrations for a question. Randomness is keyed as in the local engine."""

    def __init__(self, story: Story, habits: Habits, problem: Problem, sampling: Sampling) -> None:
        self.story, self.habits, self.problem, self.sampling = story, habits, problem, sampling
        self.usage = Usage()
        self.room = sampling.max_tokens

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        """Grow each path by one step; results in the order given."""
        self.usage.calls += bool(paths)
        return [self._step(path) for path in paths]

    def _step(self, path: Path) -> Step | Failure:
        state = follow(self.problem.question, tuple(whole_steps(path.text, SEPARATOR)))
        options = choices(self.story, state, self.habits, self.sampling.temperature)
        if not options:
            return Failure("the path has already answered")
        key = (self.sampling.seed, self.problem.id, path.key, len(path.steps), "sample")
        text = _drawn(options, keyed_generator(*key).random())
        logprob = float(np.log(choices(self.story, state, self.habits)[text]))
        ended = not moves(self.story, state)
        words = len(text.split())
        self.usage.generated += words
        return Step(text if ended else text + SEPARATOR, words, Stop.END if ended else Stop.STEP, logprob)

    def hidden(self, key: PathKey) -> FloatArray:
        """Raises InputError: a demonstrator has no hidden states."""
        raise InputError("the demonstrator has no hidden states: choose --directions state or minilm")

    def retain(self, keys: Collection[PathKey]) -> None:
        """Does nothing, because nothing is cached."""

    async def close(self) -> None:
        """Does nothing, because a session holds no resources."""
