"""What a world promises: problems that are a function of their names, and a truth at every step."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rollwise.core import Problem, World
from rollwise.errors import InputError
from rollwise.testing.contract import ContractError, promised, require

SPLITS = ("test", "validation", "train")
LONGEST = 480


@dataclass(frozen=True)
class WorldCase:
    """A world; `faultless`, the same with a demonstrator that makes no faults; and what of a problem matters, so that
    two that differ in nothing else are one.
    """

    world: World
    faultless: World
    canonical: Callable[[Problem], Hashable]


def check_world(
    world: World, faultless: World | None = None, canonical: Callable[[Problem], Hashable] | None = None
) -> None:
    """Raises ContractError unless a world keeps what docs/worlds.md says of its members; see `WORLD_CHECKS`.

    Leave `faultless` out where the world's own demonstrations have no faults, and `canonical` where a problem is its
    question. Where the world has `literals`, this needs the extra `local`, whose tokenizer reads them.
    """
    case = WorldCase(world, faultless or world, canonical or (lambda problem: problem.question))
    for check in WORLD_CHECKS:
        with promised(f"a world holds `{check.__name__}`"):
            check(case)


def demonstrations(world: World, level: int, count: int) -> list[tuple[Problem, list[str]]]:
    """Demonstrations of a level, always the same."""
    rng = np.random.default_rng(level)
    return [world.demonstration(rng, level) for _ in range(count)]


def problems_are_functions_of_their_names(case: WorldCase) -> None:
    """The same (level, seed, split), the same problem; others are refused."""
    world = case.world
    require(list(world.levels) == list(range(1, len(world.levels) + 1)), "levels count from 1", f"{world.levels}")
    for level in world.levels:
        drawn = [world.problem(level, seed) for seed in range(4)]
        promise = "(level, seed) names a problem: the same whenever it is asked for"
        require(drawn == [case.faultless.problem(level, seed) for seed in range(4)], promise)
        ids, questions = {problem.id for problem in drawn}, {problem.question for problem in drawn}
        require(len(ids) == len(questions) == 4, "other seeds are other problems, with ids of their own")
        places = {(problem.world, problem.level) for problem in drawn}
        require(places == {(world.name, level)}, "a problem names its world and level", f"found {places}")
    for wrong in ((0, 1, "test"), (len(world.levels) + 1, 1, "test"), (1, 1, "dev")):
        refused(functools.partial(world.problem, *wrong), f"there is no problem {wrong}")


def splits_share_nothing(case: WorldCase) -> None:
    """No problem of one split is one of another, up to what does not matter; demonstrations are training problems."""
    world, levels = case.world, case.world.levels[:3]
    forms = {
        split: {case.canonical(world.problem(level, seed, split)) for level in levels for seed in range(60)}
        for split in SPLITS
    }
    require(all(len(each) > 60 * len(levels) / 2 for each in forms.values()), "a split has many different problems")
    shown = (demonstrations(case.faultless, level, 300) for level in levels)
    forms["train"] |= {case.canonical(problem) for many in shown for problem, _ in many}
    for one, other in (("test", "validation"), ("test", "train"), ("validation", "train")):
        common = forms[one] & forms[other]
        require(not common, f"no problem of the split {one} is one of {other}", f"{list(common)[:1]}")


def perfect_demonstrations_are_valid_and_right(case: WorldCase) -> None:
    r"""Each step is valid, the answer stands in \boxed{} and is right, also where no gold answer is told."""
    world = case.faultless
    for level in world.levels:
        for problem, steps in demonstrations(world, level, 20):
            for depth in range(len(steps) + 1):
                at = f"{problem.question!r} after {steps[:depth]}"
                require(world.step_is_valid(problem, steps[:depth]), "every step of a demonstration is valid", at)
                require(world.reachable(problem, steps[:depth]), "from a demonstration a right answer is reachable", at)
            boxed = re.search(r"\\boxed\{(.+)\}", steps[-1])
            require(boxed, r"the last step has the answer in \boxed{}", f"found {steps[-1]!r}")
            assert boxed is not None
            require(world.is_right(problem, boxed[1]), "a demonstration's answer is right", f"found {boxed[1]!r}")
            require(not world.is_right(problem, boxed[1] + "1"), "another answer is wrong", f"found {boxed[1]}1")
            if world.checkable:
                require(
                    world.is_right(replace(problem, answer=None), boxed[1]),
                    "what is checkable is judged without the gold answer",
                )
            require(len(steps) < world.curriculum.longest, "the curriculum's `longest` leaves room for a demonstration")


def wrong_steps_are_told_and_never_mended(case: WorldCase) -> None:
    """From the first wrong step on nothing is valid, whatever follows."""
    world = case.faultless
    for level in world.levels:
        for problem, steps in demonstrations(world, level, 5):
            for depth in range(len(steps) - 1):
                for wrong in _wrong(steps[depth]):
                    for tail in ([], steps[depth + 1 : -1]):
                        path = [*steps[:depth], wrong, *tail]
                        require(not world.step_is_valid(problem, path), "False from the first wrong step on", f"{path}")
                        require(not world.reachable(problem, path), "nothing is reachable by a wrong step", f"{path}")


def _wrong(step: str) -> list[str]:
    """Nonsense, and the step with another result where it has one."""
    result = re.search(r"= (\d+)", step)
    altered = [step.replace(f"= {result[1]}", f"= {int(result[1]) + 1}")] if result else []
    return [*altered, "", "so far, so good"]


def states_say_all(case: WorldCase) -> None:
    """States are hashable, differ from step to step, read steps with or without their separators; a repr says all."""
    world, by_repr = case.faultless, dict[str, Hashable]()
    for level in world.levels:
        problem, steps = demonstrations(world, level, 1)[0]
        states = [world.state(problem, steps[:depth]) for depth in range(len(steps) + 1)]
        require(len(set(states)) == len(states), "a step leads to another state")
        again = [world.state(problem, [f"{step}\n" for step in steps[:depth]]) for depth in range(len(steps) + 1)]
        require(states == again, "a state is a function of the steps, however they are closed")
        for state in states:
            text = repr(state)
            require(not re.search(r"0x[0-9a-f]{6,}", text), "a state's repr keys randomness and holds no address", text)
            require(by_repr.setdefault(text, state) == state, "a state's repr says all: equal repr, equal state", text)


def texts_survive_the_tokenizer(case: WorldCase) -> None:
    """What the world writes is a sequence of its literals, short enough, and the separator is one token."""
    world: Any = case.world
    if not world.literals:
        return
    from rollwise.worlds import build_tokenizer

    tokenizer: Any = build_tokenizer(world.literals)
    ends = tokenizer.convert_tokens_to_ids(world.separator)
    rng = np.random.default_rng(0)
    for level in world.levels:
        for draw in range(200):
            problem, steps = (world.attempt if draw % 4 == 0 else world.demonstration)(rng, level)
            solution = world.separator.join(steps)
            chat = [{"role": "user", "content": problem.question}, {"role": "assistant", "content": solution}]
            whole = tokenizer.apply_chat_template(chat, tokenize=False)
            ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
            known = tokenizer.unk_token_id not in ids and tokenizer.decode(ids) == whole
            require(known, "every text is a sequence of the world's literals", f"{whole!r}")
            require(len(ids) < LONGEST, f"a solution takes under {LONGEST} tokens", f"{len(ids)}")
            require(ids.count(ends) == len(steps) - 1, "the separator is one token, and stands between steps only")


def questions_are_read_as_meant(case: WorldCase) -> None:
    """`parse` understands the world's own questions, and shows an example where it does not understand."""
    world = case.world
    for level in world.levels:
        for seed in range(5):
            problem = world.problem(level, seed)
            typed = world.parse(f" {problem.question}\n")
            told = (typed.question, typed.answer, typed.world)
            require(told == (problem.question, problem.answer, world.name), "parse reads its own questions", f"{told}")
            require(world.remark(problem) is None, "there is nothing to remark on a problem of the world's own")
    for foreign in ("What is 2 + 2?", "Whose turn is it, and why?"):
        try:
            world.parse(foreign)
        except InputError as error:
            require("like" in str(error), "what parse refuses is told an example: write it like ...", f"found {error}")
        else:
            require(False, "parse refuses what is no question of this world with an InputError", f"it took {foreign!r}")


def attempts_are_on_course_half_of_the_time(case: WorldCase) -> None:
    """Attempts mostly end wrong, and are on course at about half of their steps."""
    world, rng = case.world, np.random.default_rng(1)
    for level in world.levels:
        attempts = [world.attempt(rng, level) for _ in range(100)]
        truths = [
            [world.reachable(problem, steps[: at + 1]) for at in range(len(steps))] for problem, steps in attempts
        ]
        right = float(np.mean([truth[-1] for truth in truths]))
        require(0.02 < right < 0.6, "attempts fail more often than not, but not always", f"level {level}: {right:.2f}")
        on_course = float(np.mean([step for truth in truths for step in truth]))
        require(0.25 < on_course < 0.85, "attempts are on course about half of the time", f"level {level}: {on_course}")


def the_curriculum_is_of_kinds_that_there_are(case: WorldCase) -> None:
    """Shares sum to 1, stages end with the training, and every kind can be drawn."""
    world, curriculum = case.world, case.world.curriculum
    ends = [until for until, _ in curriculum.stages]
    require(ends == sorted(ends) and ends[-1] == 1, "stages follow each other, the last one until 1", f"found {ends}")
    for shares in (*(stage for _, stage in curriculum.stages), curriculum.reward_kinds):
        require(abs(sum(shares.values()) - 1) < 1e-9, "the shares of kinds sum to 1", f"found {shares}")
        for level, after in shares:
            world.demonstration(np.random.default_rng(0), level, after)
            world.attempt(np.random.default_rng(0), level, after)
    divided = curriculum.level_shares
    complete = set(divided) == set(world.levels) and abs(sum(divided.values()) - 1) < 1e-9
    require(complete, "level_shares are of all levels and sum to 1", f"found {divided}")


def worth_is_the_demonstrators_chance(case: WorldCase, samples: int = 300) -> None:
    """`worth` lies in [0, 1], is 1 after a right answer, and is the share of demonstrations that end right; without a
    demonstrator it raises an InputError.
    """
    world, level = case.world, case.world.levels[0]
    problem = world.problem(level, 0)
    if world.demonstrator() is None:
        refused(lambda: world.worth(problem, []), "a world without a demonstrator knows no worth")
        return
    promise = "worth is the exact chance that the demonstrator ends right"
    for other, steps in demonstrations(case.faultless, level, 3):
        values = [world.worth(other, steps[:depth]) for depth in range(len(steps) + 1)]
        require(all(0 <= value <= 1 for value in values), promise, f"found {values}")
        require(values[-1] == 1, promise, f"{values[-1]} after a right answer")
    drawn = demonstrations(world, level, samples)
    chances = np.array([world.worth(one, []) for one, _ in drawn])
    rights = np.array([world.reachable(one, steps) for one, steps in drawn], dtype=float)
    spread = 5 * np.sqrt((chances * (1 - chances)).sum()) / samples + 1e-9
    far = float(abs(rights.mean() - chances.mean()))
    require(far <= spread, promise, f"{rights.mean():.3f} of {samples} ended right, and it says {chances.mean():.3f}")


WORLD_CHECKS: tuple[Callable[[WorldCase], None], ...] = (
    problems_are_functions_of_their_names,
    splits_share_nothing,
    perfect_demonstrations_are_valid_and_right,
    wrong_steps_are_told_and_never_mended,
    states_say_all,
    texts_survive_the_tokenizer,
    questions_are_read_as_meant,
    attempts_are_on_course_half_of_the_time,
    the_curriculum_is_of_kinds_that_there_are,
    worth_is_the_demonstrators_chance,
)
"""What `check_world` calls, each with a WorldCase: a test for each tells at once what is broken."""


def refused(call: Callable[[], Any], promise: str) -> None:
    """Raises ContractError unless a call raises an InputError."""
    try:
        call()
    except InputError:
        return
    raise ContractError(f"{promise}: that is an InputError which says what to give instead")
