"""rollwise's own parts pass the conformance kit, and the kit catches parts that break a promise."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar

import numpy as np
import pytest

from rollwise import strategy_needs
from rollwise.allocation.heuristic import RebaseOptions
from rollwise.allocation.strategies import STRATEGIES, Strategy
from rollwise.core import Evidence, Failure, Path, PathKey, Problem, Problems, Sampling, Step, Stop, Usage
from rollwise.directions.finders import EqualSteps, HiddenStates, TrueStates, step_label
from rollwise.errors import InputError
from rollwise.registry import find_policy, find_problems, find_reward, find_world
from rollwise.rewards import from_function
from rollwise.testing import (
    WORLD_CHECKS,
    ContractError,
    WorldCase,
    check_directions,
    check_policy,
    check_problems,
    check_reward,
    check_strategy,
    check_world,
    demonstration_cases,
)
from rollwise.testing.worlds import (
    a_wrong_step_stays_wrong,
    perfect_demonstrations_are_valid_and_right,
    problems_are_functions_of_their_names,
    splits_share_nothing,
    states_are_complete,
    worth_is_the_demonstrators_chance,
)
from rollwise.worlds.demonstrator import Habits
from rollwise.worlds.stories import Stories

FAULTLESS = Habits(tempted_per_clause=0, slip=0, slip_long=0, long_way=0.5)
STORIES = find_world("stories")
STORY_PROBLEMS = [STORIES.problem(level, 1) for level in (2, 4)]
GAME = find_world("countdown")


# Parts of rollwise


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_keeps_the_contract(name: str) -> None:
    check_strategy(name, draws=20)


@pytest.mark.parametrize("rounding", ["systematic", "cumulative"])
def test_every_rounding_keeps_the_contract(rounding: str) -> None:
    check_strategy("dora", {"rounding": rounding}, draws=20, kinds=("labels", "similarity", "weights"))


def test_the_demonstrator_keeps_the_contract() -> None:
    check_policy(find_policy("demonstrator", "stories"), STORY_PROBLEMS, paths=6)


def test_the_bundled_policy_keeps_the_contract() -> None:
    policy = find_policy("trained", "countdown", "float64")
    check_policy(
        policy, [GAME.problem(level, 3) for level in (1, 2)], Sampling(1.0, max_step_tokens=24), paths=3, rounds=2
    )


@pytest.mark.parametrize("name", ["trained", "dial(0.3,0.5)", "confidence"])
def test_rewards_of_the_game_keep_the_contract(name: str) -> None:
    check_reward(find_reward(name, "countdown", "float64" if name == "trained" else None))


@pytest.mark.parametrize("name", ["worth(0.2,1)", "dial"])
def test_rewards_of_stories_keep_the_contract(name: str) -> None:
    check_reward(find_reward(name, "stories"), demonstration_cases("stories"))


def test_a_function_keeps_the_contract() -> None:
    check_reward(from_function(lambda problem, solutions: [1 / len(steps) for steps in solutions]))


def test_finders_keep_the_contract() -> None:
    check_directions(EqualSteps(), equal=lambda problem, path: step_label(path.steps[-1].text))
    for name, world in (("countdown", GAME), ("stories", STORIES)):

        def state(problem: Problem, path: Path, world: Any = world) -> Any:
            return world.state(problem, [step.text for step in path.steps])

        check_directions(TrueStates(world), demonstration_cases(name), equal=state)


def test_hidden_states_keep_the_contract() -> None:
    check_directions(HiddenStates(), demonstration_cases(problems=1), find_policy("trained", "countdown", "float64"))


# Parts that break a promise


def even(candidates: Any, width: int) -> Any:
    share = np.full(len(candidates), width // len(candidates))
    share[: width % len(candidates)] += 1
    return share


def greedy(candidates: Any, width: int) -> Any:
    counts = np.zeros(len(candidates), dtype=int)
    counts[np.argmax(candidates.rewards)] = width
    return counts


def loses_one(candidates: Any, width: int) -> Any:
    counts = even(candidates, width)
    counts[-1] = max(0, counts[-1] - 1)
    return counts


ROLLS = itertools.count()


def rolls_dice(candidates: Any, width: int) -> Any:
    return np.roll(even(candidates, width), next(ROLLS))


def by_label(candidates: Any, width: int) -> Any:
    counts = np.zeros(len(candidates), dtype=int)
    counts[np.argmax(candidates.directions.labels)] = width
    return counts


def by_lineage(candidates: Any, width: int) -> Any:
    counts = np.zeros(len(candidates), dtype=int)
    counts[0 if candidates.lineage is None else np.argmax(candidates.lineage)] = width
    return counts


def starves_at_one(candidates: Any, width: int) -> Any:
    if width == 1:
        raise ZeroDivisionError("nothing to share")
    return even(candidates, width)


class CountsItsCalls(dict[str, Any]):
    """An allocator whose counts depend on the number of calls before."""

    def __init__(self) -> None:
        self.calls = count()

    def __call__(self, candidates: Any, width: int) -> Any:
        return np.roll(even(candidates, width), next(self.calls))


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (loses_one, "sum to the width"),
        (rolls_dice, "the same candidates get the same counts"),
        (CountsItsCalls(), "the same candidates get the same counts"),
        (
            strategy_needs("directions")(lambda among, width: by_label(among, width)),
            "labels only say which paths share a direction",
        ),
        (by_lineage, "reads no lineage"),
        (by_label, "reads no directions"),
        (strategy_needs("lineage")(lambda among, width: greedy(among, width)), "reads no rewards"),
        (starves_at_one, "ZeroDivisionError"),
        (Strategy("noisy", lambda among, width, _: np.full(len(among), 0.5), RebaseOptions), "sum to the width"),
    ],
)
def test_a_broken_strategy_is_caught(broken: Any, promise: str) -> None:
    with pytest.raises(ContractError, match=promise):
        check_strategy(broken, kinds=("labels",))


def test_plain_functions_keep_the_contract() -> None:
    check_strategy(greedy)
    check_strategy(even)


class Talker:
    """A policy of random numbers keyed by the path; each subclass breaks one promise."""

    parameters = 0
    room = 100

    def __init__(self) -> None:
        self.usage = Usage()

    def open(self, problem: Problem, sampling: Sampling) -> Any:
        session = type(self)()
        session.problem, session.sampling = problem, sampling  # type: ignore[attr-defined]
        return session

    def text(self, path: Path, place: int) -> str:
        session: Any = self
        return str(random.Random(f"{session.sampling.seed} {session.problem.id} {path.key}").random())

    async def extend(self, paths: Sequence[Path]) -> list[Any]:
        self.usage.generated += len(paths)
        return [Step(self.text(path, place), 1, Stop.STEP) for place, path in enumerate(paths)]

    def hidden(self, key: PathKey) -> Any:
        return np.ones(3)

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass


class Short(Talker):
    async def extend(self, paths: Sequence[Path]) -> list[Any]:
        return (await super().extend(paths))[:1]


class ByPlace(Talker):
    def text(self, path: Path, place: int) -> str:
        return f"{super().text(path, place)} {place}"


class Deaf(Talker):
    def text(self, path: Path, place: int) -> str:
        return "the same"


class Unseeded(Talker):
    def text(self, path: Path, place: int) -> str:
        return str(path.key)


class Free(Talker):
    async def extend(self, paths: Sequence[Path]) -> list[Any]:
        return [Step(self.text(path, 0), 1, Stop.STEP) for path in paths]


class Long(Talker):
    async def extend(self, paths: Sequence[Path]) -> list[Any]:
        return [replace(step, tokens=500) for step in await super().extend(paths)]


class Forgetful(Talker):
    """Draws another sample after a path was dropped."""

    kept: Collection[PathKey] = ()

    def retain(self, keys: Collection[PathKey]) -> None:
        self.kept = keys

    def text(self, path: Path, place: int) -> str:
        return super().text(path, place) + (" kept" if path.key[:-1] in self.kept else "")


class Blind(Talker):
    def hidden(self, key: PathKey) -> Any:
        raise KeyError(key)


class Broken(Talker):
    async def extend(self, paths: Sequence[Path]) -> list[Any]:
        return [Failure("no power") for _ in paths]


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (Short, "one result for each path"),
        (ByPlace, "decided by its path's key"),
        (Deaf, "seeds its randomness"),
        (Unseeded, "the seed of the sampling"),
        (Free, "counts the tokens"),
        (Long, "at most 100"),
        (Forgetful, "decided by its path's key"),
        (Blind, "hidden state of a path"),
        (Broken, "no power"),
    ],
)
def test_a_broken_policy_is_caught(broken: Callable[[], Any], promise: str) -> None:
    sound: Any = Talker()
    check_policy(sound, STORY_PROBLEMS)
    with pytest.raises(ContractError, match=promise):
        check_policy(broken(), STORY_PROBLEMS)


class Judge:
    """A reward that depends on the length of the text; each subclass breaks one promise."""

    parameters = 0

    def __init__(self) -> None:
        self.usage = Usage()
        self.scored: list[Path] = []
        self.kept: Collection[PathKey] = ()

    def open(self, problem: Problem, seed: int) -> Any:
        return type(self)()

    def reward(self, path: Path) -> Any:
        return 1 / (1 + len(path.text))

    async def score(self, paths: Sequence[Path]) -> list[Any]:
        found = [self.reward(path) for path in paths]
        self.scored += paths
        return found

    def retain(self, keys: Collection[PathKey]) -> None:
        self.kept = keys

    async def close(self) -> None:
        pass


class Logits(Judge):
    def reward(self, path: Path) -> Any:
        return -2.0


class Counting(Judge):
    def reward(self, path: Path) -> Any:
        return 1 / (2 + len(self.scored))


class Sorting(Judge):
    async def score(self, paths: Sequence[Path]) -> list[Any]:
        return sorted(await super().score(paths))


class Ranking(Judge):
    async def score(self, paths: Sequence[Path]) -> list[Any]:
        return [1 / len(paths) for _ in paths]


class Leaning(Judge):
    def reward(self, path: Path) -> Any:
        return 0.3 if path.key[:-1] in self.kept else 0.6


class Shared(Judge):
    """All sessions are one object, so each sees what the others scored."""

    def open(self, problem: Problem, seed: int) -> Any:
        return self

    def reward(self, path: Path) -> Any:
        return 1 / (2 + len(self.scored))


class Raising(Judge):
    def reward(self, path: Path) -> Any:
        raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (Logits, r"in \[0, 1\]"),
        (Counting, "alone and among others|order"),
        (Sorting, "order in which paths are given"),
        (Ranking, "alone and among others"),
        (Leaning, "prefixes were scored and retained"),
        (Shared, "new session"),
        (Raising, "out of memory"),
    ],
)
def test_a_broken_reward_is_caught(broken: Callable[[], Any], promise: str) -> None:
    sound: Any = Judge()
    check_reward(sound)
    with pytest.raises(ContractError, match=promise):
        check_reward(broken())


class Finder:
    """The number of words as the direction; each subclass breaks one promise."""

    parameters = 0

    def __init__(self) -> None:
        self.usage = Usage()

    def open(self, problem: Problem, policy: Any) -> Any:
        return type(self)()

    def evidence(self, place: int, path: Path) -> Any:
        return Evidence(label=len(path.text.split()))

    async def find(self, paths: Sequence[Path]) -> list[Any]:
        return [self.evidence(place, path) for place, path in enumerate(paths)]


class Nothing(Finder):
    def evidence(self, place: int, path: Path) -> Any:
        return Evidence()


class Unhashable(Finder):
    def evidence(self, place: int, path: Path) -> Any:
        unhashable: Any = [1]
        return Evidence(label=unhashable)


class Zero(Finder):
    def evidence(self, place: int, path: Path) -> Any:
        return Evidence(embedding=np.zeros(3))


class Mixed(Finder):
    def evidence(self, place: int, path: Path) -> Any:
        return Evidence(embedding=np.ones(2 + place))


class InPairs(Finder):
    def evidence(self, place: int, path: Path) -> Any:
        return Evidence(label=place // 2)


class AlwaysAlone(Finder):
    def evidence(self, place: int, path: Path) -> Any:
        return Evidence(label=path.key)


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (Nothing, "a label or an embedding"),
        (Unhashable, "can be hashed"),
        (Zero, "not all zeros"),
        (Mixed, "embeddings of one length"),
        (InPairs, "in another order"),
        (AlwaysAlone, "equal values share a direction"),
    ],
)
def test_a_broken_finder_is_caught(broken: Callable[[], Any], promise: str) -> None:
    def same_length(problem: Problem, path: Path) -> int:
        return len(path.text.split())

    cases = demonstration_cases("stories")
    sound: Any = Finder()
    check_directions(sound, cases, equal=same_length)
    with pytest.raises(ContractError, match=promise):
        check_directions(broken(), cases, equal=same_length)


def test_a_finder_that_reads_the_policy_needs_one() -> None:
    with pytest.raises(ContractError, match="give check_directions a policy"):
        check_directions(HiddenStates())


class Worldly(Stories):
    """Stories with one promise broken."""

    def __init__(self, broken: str, habits: Habits | None = None) -> None:
        super().__init__("stories", habits)
        self.broken = broken

    def problem(self, level: int, seed: int, split: str = "test") -> Problem:
        if self.broken == "splits":
            return super().problem(level, seed, "test" if split == "validation" else split)
        problem = super().problem(level, seed, split)
        return replace(problem, id=f"{problem.id} {random.random()}") if self.broken == "names" else problem

    def is_right(self, problem: Problem, answer: str) -> bool:
        return self.broken == "answers" or super().is_right(problem, answer)

    def worth(self, problem: Problem, steps: Sequence[str], temperature: float = 1.0) -> float:
        return super().worth(problem, steps, temperature) ** (0.2 if self.broken == "worth" else 1)

    def state(self, problem: Problem, steps: Sequence[str]) -> Any:
        return len(steps) // 2 if self.broken == "states" else super().state(problem, steps)

    def step_is_valid(self, problem: Problem, steps: Sequence[str]) -> bool:
        return self.broken == "steps" or super().step_is_valid(problem, steps)


@pytest.mark.parametrize(
    ("broken", "check", "promise"),
    [
        ("names", problems_are_functions_of_their_names, "names a problem"),
        ("splits", splits_share_nothing, "no problem of the split"),
        ("answers", perfect_demonstrations_are_valid_and_right, "another answer is wrong"),
        ("steps", a_wrong_step_stays_wrong, "first wrong step"),
        ("states", states_are_complete, "another state"),
        ("worth", worth_is_the_demonstrators_chance, "the exact chance"),
    ],
)
def test_a_broken_world_is_caught(broken: str, check: Callable[[WorldCase], None], promise: str) -> None:
    assert check in WORLD_CHECKS
    case = WorldCase(Worldly(broken), Worldly(broken, FAULTLESS), lambda problem: problem.question)
    with pytest.raises(ContractError, match=promise):
        check(case)


class Capitals(Problems):
    """Questions with gold answers, with one promise broken."""

    name, separator, checkable = "capitals", "\n", False
    levels = (1, 2)
    towns: ClassVar = {1: {"France": "Paris", "Peru": "Lima"}, 2: {"Palau": "Ngerulmud"}}

    def __init__(self, broken: str = "") -> None:
        self.broken, self.calls = broken, 0
        if broken == "levels":
            self.levels = (2, 1)
        if broken == "separator":
            self.separator = ""

    def problem(self, level: int, seed: int, split: str = "test") -> Problem:
        countries = list(self.towns.get(level, {} if self.broken != "bounds" else self.towns[1]))
        if seed >= len(countries):
            raise InputError("there are no more countries: give a smaller seed")
        return self.parse(countries[seed], level)

    def parse(self, question: str, level: int | None = None) -> Problem:
        if not question.strip() and self.broken != "empty":
            raise InputError("give a country")
        gold = {country: town for towns in self.towns.values() for country, town in towns.items()}.get(question)
        id_ = {"ids": "same", "names": f"{question} {random.random()}"}.get(self.broken, question or "none")
        return Problem(id_, question or "none", gold, "towns" if self.broken == "world" else self.name, level)

    def remark(self, problem: Problem) -> str | None:
        return 7 if self.broken == "remark" else None  # type: ignore[return-value]

    def is_right(self, problem: Problem, answer: str) -> bool:
        if self.broken == "raises":
            return bool(answer[0] and answer == problem.answer)
        if self.broken == "kind":
            return (answer == problem.answer) and "yes"  # type: ignore[return-value]
        if self.broken == "coin":
            self.calls += 1
            return self.calls % 7 == 0
        return {"lax": True, "strict": False}.get(self.broken, answer == problem.answer)


def test_parts_that_only_pose_problems_keep_the_contract() -> None:
    check_problems(Capitals(), ["France"])
    check_problems(find_problems("text"), ["What is 12 × 13?"])
    check_problems(GAME, ["Use 3, 4, 5 to make 17"])
    check_problems(find_problems("stories"))


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        ("levels", "easiest first"),
        ("separator", "between two steps"),
        ("bounds", "there is no problem"),
        ("empty", "empty question"),
        ("ids", "different ids"),
        ("names", "same at every call"),
        ("world", "names its world"),
        ("remark", "a text or None"),
        ("raises", "grades any answer; it raised IndexError"),
        ("kind", "True or False"),
        ("coin", "same grade at every call"),
        ("lax", "a wrong answer is wrong"),
        ("strict", "a right answer is right"),
    ],
)
def test_broken_problems_are_caught(broken: str, promise: str) -> None:
    with pytest.raises(ContractError, match=promise):
        check_problems(Capitals(broken), ["France"])


def test_a_part_without_levels_needs_questions() -> None:
    with pytest.raises(ContractError, match="give check_problems some questions"):
        check_problems(find_problems("text"))


def test_check_world_runs_every_check() -> None:
    with pytest.raises(ContractError, match="names a problem"):
        check_world(Worldly("names"), Worldly("names", FAULTLESS))
