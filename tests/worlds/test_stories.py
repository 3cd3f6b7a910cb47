"""Stories against an independent reader; the demonstrator against closed forms, brute force and Monte Carlo."""

from __future__ import annotations

import asyncio
import functools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path as FilePath

import numpy as np
import pytest

import rollwise
from rollwise import registry
from rollwise.calibration.rollouts import sample_solutions
from rollwise.core import Path, Problem, Sampling, Step, Stop, whole_steps
from rollwise.errors import InputError
from rollwise.numerics import wilson_interval
from rollwise.registry import find_policy, find_reward
from rollwise.rewards.dial import DialReward
from rollwise.worlds.demonstrator import DemonstratorPolicy, Habits, choices, demonstrate
from rollwise.worlds.stories import HABITS, Stories
from rollwise.worlds.story_drawing import LARGEST_NUMBER, LEVELS
from rollwise.worlds.story_questions import faults_end_wrong, read_story
from rollwise.worlds.story_steps import advance, start

WORLD, EVEN = Stories("stories"), Stories("stories-even")
STORY = "Ann has 20 beads. Ann has 4 fewer than Ben. Cal has 3 times as many as Ann and Ben together. How many has Cal?"
HEADED = STORY.replace(". Ann", ". Ben: Ann").replace("Cal has", "Cal:")
CANCELS = "Ann has 20 beads. Ann has 5 more than Ben. Ben has 5 fewer than Cal. How many has Cal?"


def sentences(question: str) -> list[str]:
    """The sentences without headings: "Ben: 12 more than Ann" becomes "Ben has 12 more than Ann"."""
    short = [re.sub(r"^([A-Z]\w+): (?=\d)", r"\1 has ", sentence) for sentence in question.split(". ")]
    return [re.sub(r"^[A-Z]\w+: ", "", sentence) for sentence in short]


def turned_in(question: str) -> list[int]:
    """The positions of turned sentences, in which a known person comes first."""
    first, *clauses, _ = sentences(question)
    known = {first.split()[0]}
    turned = []
    for place, sentence in enumerate(clauses):
        if sentence.split()[0] in known:
            turned.append(place)
        known |= set(re.findall(r"[A-Z]\w+", sentence))
    return turned


def solved(question: str, tempted: Sequence[int] = ()) -> dict[str, int]:
    """Everyone's number according to the words and Python's arithmetic; the sentences `tempted` are misread."""
    first, *clauses, _ = sentences(question)
    numbers = {first.split()[0]: int(first.split()[2])}
    for place, sentence in enumerate(clauses):
        words = sentence.split()
        subject, amount = words[0], int(words[2])
        if "together" in words:
            numbers[subject] = amount * (numbers[words[7]] + numbers[words[9]])
        elif "times" in words:
            numbers[subject] = amount * numbers[words[7]]
        else:
            more, other = words[3] == "more", words[5]
            if subject in numbers:
                more, other, subject = (not more) != (place in tempted), subject, other
            numbers[subject] = numbers[other] + (amount if more else -amount)
    return numbers


@functools.cache
def drawn(level: int, count: int = 12) -> list[Problem]:
    return [WORLD.problem(level, seed) for seed in range(count)]


def subsets(places: Sequence[int]) -> Iterator[list[int]]:
    for chosen in product((False, True), repeat=len(places)):
        yield [place for place, is_in in zip(places, chosen, strict=True) if is_in]


@pytest.mark.parametrize("level", LEVELS)
def test_the_words_of_a_story_give_its_numbers_and_answer(level: int) -> None:
    shape = LEVELS[level]
    for problem in drawn(level):
        numbers = solved(problem.question)
        assert problem.answer == str(list(numbers.values())[-1])
        assert WORLD.is_right(problem, problem.answer)
        assert len(numbers) == shape.plain + shape.turned + shape.together + 1
        assert len(turned_in(problem.question)) == shape.turned
        assert problem.question.count("together") == shape.together
        ends = []
        for tempted in subsets(turned_in(problem.question)):
            misread = solved(problem.question, tempted)
            assert all(1 <= number <= LARGEST_NUMBER for number in misread.values())
            ends.append(list(misread.values())[-1])
        assert len(set(ends)) == len(ends)


def closed_form(habits: Habits, level: int) -> float:
    """The chance of success at temperature 1: no misreading and no slip, on the short way or on the long way."""
    shape = LEVELS[level]
    tempted = min(habits.tempted_most, habits.tempted_per_clause * (shape.plain + shape.turned + shape.together))
    short, long = (1 - habits.slip) ** (2 * shape.together), (1 - habits.slip_long) ** (3 * shape.together)
    elsewhere = (1 - habits.slip) ** (shape.plain + shape.turned) * (1 - tempted) ** shape.turned
    return elsewhere * ((1 - habits.long_way) * short + habits.long_way * long)


@pytest.mark.parametrize("world", [WORLD, EVEN], ids=lambda world: world.name)
def test_success_by_level_agrees_with_the_closed_form(world: Stories) -> None:
    levels = [closed_form(world.habits, level) for level in LEVELS]
    for level, expected in zip(LEVELS, levels, strict=True):
        for problem in drawn(level, 4):
            assert world.worth(problem, []) == pytest.approx(expected, abs=1e-12)
    assert levels == sorted(levels, reverse=True)
    rounded = {"stories": [0.79, 0.50, 0.28, 0.11, 0.08], "stories-even": [0.87, 0.77, 0.63, 0.44, 0.34]}
    assert levels == pytest.approx(rounded[world.name], abs=0.006)


def test_at_the_higher_levels_the_tempting_reading_is_the_more_popular() -> None:
    for level in (4, 5):
        assert all(HABITS["stories"].tempted(read_story(problem.question)) > 0.5 for problem in drawn(level, 3))
        assert all(HABITS["stories-even"].tempted(read_story(problem.question)) <= 0.3 for problem in drawn(level, 3))


def is_within(successes: int, trials: int, chance: float) -> bool:
    low, high = wilson_interval(successes, trials, 0.9999)
    return low <= chance <= high


PREFIXES = [
    [],
    ["Ben: 20 + 4 = 24"],
    ["Ben: 20 − 4 = 16"],
    ["Ben: 20 + 4 = 25"],
    ["Ben: 20 + 4 = 24", "Ann + Ben: 20 + 24 = 44"],
    ["Ben: 20 + 4 = 24", "3 × Ann: 3 × 20 = 60"],
    ["Ben: 20 + 4 = 24", "3 × Ann: 3 × 20 = 61"],
    ["Ben: 20 + 4 = 24", "3 × Ann: 3 × 20 = 60", "3 × Ben: 3 × 24 = 72"],
    ["Ben: 12 + 12 = 24"],
    ["well, let me see"],
]
HASTY = Habits(tempted_per_clause=0.2, tempted_most=0.5, long_way=0.6, slip=0.1, slip_long=0.3)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize(("question", "prefix"), [*((STORY, prefix) for prefix in PREFIXES), (CANCELS, [])])
def test_exact_success_agrees_with_the_policys_samples(question: str, prefix: list[str], temperature: float) -> None:
    world = Stories("stories", HASTY)
    problem = world.parse(question)
    steps = tuple(Step(f"{text}\n\n", 1, Stop.STEP) for text in prefix)
    policy, trials = DemonstratorPolicy(HASTY), 1500

    async def grow() -> int:
        session = policy.open(problem, Sampling(temperature, seed=1))
        paths = [Path((*[0] * len(steps), index), steps) for index in range(trials)]
        right = 0
        while paths:
            grown = [path.grown(step) for path, step in zip(paths, await session.extend(paths), strict=True)]  # type: ignore[arg-type]
            right += sum(world.reachable(problem, path.text.split("\n\n")) for path in grown if path.ended)
            paths = [path.copy(0) for path in grown if not path.ended]
        return right

    assert is_within(asyncio.run(grow()), trials, world.worth(problem, prefix, temperature))


def test_success_includes_answers_that_are_right_by_accident() -> None:
    """Two misreadings of this story cancel; drawn stories are never like this."""
    habits = Habits(tempted_per_clause=0.2, slip=0, slip_long=0)
    world, problem = Stories("stories", habits), WORLD.parse(CANCELS)
    assert not faults_end_wrong(read_story(CANCELS))
    assert world.worth(problem, []) == pytest.approx(0.6**2 + 0.4**2)
    assert world.worth(problem, ["Ben: 20 + 5 = 25"]) == pytest.approx(0.4)
    assert not world.reachable(problem, ["Ben: 20 + 5 = 25"])


def everything(question: str, habits: Habits) -> Iterator[tuple[float, bool, str]]:
    """All solutions that the demonstrator may give: (probability, whether all steps are valid, answer)."""
    story = read_story(question)
    todo = [(1.0, start(story))]
    while todo:
        chance, state = todo.pop()
        if state.answered is not None:
            yield chance, state.valid, state.answered
        todo += [(chance * p, advance(story, state, text)) for text, p in choices(story, state, habits).items()]


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_in_drawn_stories_every_fault_of_the_demonstrator_ends_wrong(level: int) -> None:
    for problem in drawn(level, 6 if level < 4 else 2):
        outcomes = list(everything(problem.question, WORLD.habits))
        assert sum(chance for chance, _, _ in outcomes) == pytest.approx(1)
        assert all((answer == problem.answer) == valid for _, valid, answer in outcomes)
        right = sum(chance for chance, valid, _ in outcomes if valid)
        assert WORLD.worth(problem, []) == pytest.approx(right, abs=1e-12)


def careless(rng: np.random.Generator, problem: Problem, slip: float) -> list[str]:
    """A solution of a solver who may slip at every step, any number of times."""
    story, state, steps = read_story(problem.question), start(read_story(problem.question)), list[str]()
    while state.answered is None:
        options = choices(story, state, Habits(1, 0.5, 0.5, 0, 0))
        text = str(rng.choice(list(options), p=list(options.values())))
        if rng.random() < slip and " = " in text:
            head, result = text.split(" = ")
            text = f"{head} = {max(1, int(result) + int(rng.choice([-10, -2, -1, 1, 2, 10])))}"
        steps.append(text)
        state = advance(story, state, text)
    return steps


def test_invalid_solutions_rarely_end_right_even_from_careless_solvers() -> None:
    rng = np.random.default_rng(0)
    invalid = accidents = 0
    for level in LEVELS:
        for problem in drawn(level, 10):
            for _ in range(40):
                steps = careless(rng, problem, 0.15)
                if not WORLD.step_is_valid(problem, steps):
                    invalid += 1
                    accidents += WORLD.reachable(problem, steps)
    assert invalid > 1000
    assert accidents / invalid < 0.01


@pytest.mark.parametrize("level", [4, 5])
def test_misreadings_agree_on_few_wrong_answers(level: int) -> None:
    """Without slips, each answer belongs to a subset of misreadings, with the share of the closed form."""
    habits = Habits(slip=0, slip_long=0)
    for problem in drawn(level, 2):
        shares = Counter[str]()
        for chance, _, answer in everything(problem.question, habits):
            shares[answer] += chance  # type: ignore[assignment]
        turned, tempted = turned_in(problem.question), habits.tempted(read_story(problem.question))
        expected = {
            str(list(solved(problem.question, chosen).values())[-1]): tempted ** len(chosen)
            * (1 - tempted) ** (len(turned) - len(chosen))
            for chosen in subsets(turned)
        }
        assert dict(shares) == pytest.approx(expected)
        assert shares.most_common(1)[0][0] != problem.answer


def ways(world: Stories, problem: Problem) -> tuple[float, float]:
    """The chances of success after the first step of the short way and of the long way."""
    rng = np.random.default_rng(0)
    steps = demonstrate(rng, read_story(problem.question), Habits(0, 0, 0, 0, 0))
    place = next(index for index, step in enumerate(steps) if " + " in step.split(":")[0])
    clause = next(sentence for sentence in sentences(problem.question) if "together" in sentence).split()
    amount, person = int(clause[2]), clause[7]
    number = solved(problem.question)[person]
    long = [*steps[:place], f"{amount} × {person}: {amount} × {number} = {amount * number}"]
    assert world.step_is_valid(problem, long)
    return world.worth(problem, steps[: place + 1]), world.worth(problem, long)


@pytest.mark.parametrize(("level", "least"), [(2, 1.2), (3, 2.0), (4, 2.0), (5, 3.0)])
def test_the_way_matters_for_success_except_in_the_even_world(level: int, least: float) -> None:
    for problem in drawn(level, 5):
        short, long = ways(WORLD, problem)
        assert short / long > least
        short, long = ways(EVEN, problem)
        assert 1 < short / long < 1.1


def test_the_popular_way_is_worse() -> None:
    problem = WORLD.parse(STORY)
    story = read_story(STORY)
    state = advance(story, start(story), "Ben: 20 + 4 = 24")
    options = choices(story, state, WORLD.habits)
    long = sum(chance for text, chance in options.items() if text.startswith("3 × Ann"))
    assert long == pytest.approx(WORLD.habits.long_way)
    assert long > 0.5
    after = [["Ben: 20 + 4 = 24", text] for text in ("Ann + Ben: 20 + 24 = 44", "3 × Ann: 3 × 20 = 60")]
    assert WORLD.worth(problem, after[0]) > 1.3 * WORLD.worth(problem, after[1])


VALID, MISREAD, BROKEN = "valid", "misread", "broken"


@pytest.mark.parametrize(
    ("steps", "fault", "values"),
    [
        (["Ben: 20 + 4 = 24"], VALID, (20, 24)),
        (["Ben: 4 + 20 = 24"], VALID, (20, 24)),
        (["  Ben: 20 + 4 = 24\n"], VALID, (20, 24)),
        (["Ben: 20 − 4 = 16"], MISREAD, (20, 16)),
        (["Ben: 20 − 4 = 17"], BROKEN, (20, 17)),
        (["Ben: 4 − 20 = 16"], BROKEN, (20, 16)),
        (["Ben: 20 + 4 = 23"], BROKEN, (20, 23)),
        (["Ben: 20 + 5 = 25"], BROKEN, (20, 25)),
        (["Ben: 20 × 4 = 80"], BROKEN, (20, 80)),
        (["Cal: 20 + 4 = 24"], BROKEN, (20,)),
        (["Ben = 24"], BROKEN, (20,)),
        ([""], BROKEN, (20,)),
        (["Answer: \\boxed{132}"], BROKEN, (20,)),
        (["Ben: 20 + 4 = 24", "Ann + Ben: 24 + 20 = 44", "Cal: 44 × 3 = 132"], VALID, (20, 24, 132)),
        (
            ["Ben: 20 + 4 = 24", "3 × Ann: 3 × 20 = 60", "3 × Ben: 3 × 24 = 72", "Cal: 60 + 72 = 132"],
            VALID,
            (20, 24, 132),
        ),
        (["Ben: 20 + 4 = 24", "3 × Ben: 3 × 24 = 72"], BROKEN, (20, 24)),
        (["Ben: 20 + 4 = 24", "3 × Ann: 3 × 20 = 60", "Ann + Ben: 20 + 24 = 44"], BROKEN, (20, 24)),
        (["Ben: 20 + 4 = 24", "Cal: 3 × 44 = 132"], BROKEN, (20, 24)),
        (["Ben: 20 − 4 = 16", "Ann + Ben: 20 + 16 = 36", "Cal: 3 × 36 = 108"], MISREAD, (20, 16, 108)),
    ],
)  # fmt: skip
def test_steps_are_read_and_judged(steps: list[str], fault: str, values: tuple[int, ...]) -> None:
    problem = WORLD.parse(STORY)
    state = WORLD.state(problem, steps)
    assert isinstance(state, tuple)
    assert (state[0], state[3]) == (values, fault)
    assert WORLD.step_is_valid(problem, steps) == (fault == VALID)
    assert WORLD.reachable(problem, steps) == (fault == VALID or steps[-1].startswith("Answer"))


def test_an_answer_is_judged_by_its_number_and_its_steps() -> None:
    problem = WORLD.parse(STORY)
    chain = ["Ben: 20 + 4 = 24", "Ann + Ben: 20 + 24 = 44", "Cal: 3 × 44 = 132"]
    for answer, right in {
        "132": True,
        " 132 ": True,
        "0132": True,
        "131": False,
        "132 beads": False,
        "٣": False,
    }.items():
        assert WORLD.is_right(problem, answer) == right
        assert WORLD.reachable(problem, [*chain, f"Answer: \\boxed{{{answer}}}"]) == right
    assert WORLD.step_is_valid(problem, [*chain, "Answer: \\boxed{132}"])
    assert not WORLD.step_is_valid(problem, [*chain, "Answer: \\boxed{131}"])
    assert not WORLD.step_is_valid(problem, ["Answer: \\boxed{132}"])
    assert WORLD.reachable(problem, ["Answer: \\boxed{132}"])
    assert not WORLD.step_is_valid(problem, [*chain, "Answer: \\boxed{132}", chain[-1]])


def test_the_way_is_part_of_the_state_as_long_as_it_matters() -> None:
    ask = "Dee has 2 times as many as Cal and Ben together. How many has Dee?"
    longer = WORLD.parse(STORY.replace("How many has Cal?", ask))
    short = ["Ben: 20 + 4 = 24", "Ann + Ben: 20 + 24 = 44", "Cal: 3 × 44 = 132"]
    long = ["Ben: 20 + 4 = 24", "3 × Ann: 3 × 20 = 60", "3 × Ben: 3 × 24 = 72", "Cal: 60 + 72 = 132"]
    assert WORLD.state(WORLD.parse(STORY), short) == WORLD.state(WORLD.parse(STORY), long)
    assert WORLD.state(longer, short) != WORLD.state(longer, long)
    assert WORLD.worth(longer, short) > WORLD.worth(longer, long)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("", "write it like"),
        ("Ann has 20 beads.", "write it like"),
        ("Ann has 20 beads. How many has Ann?", "1 to 12 sentences"),
        ("Ann has some beads. Ben has 2 more than Ann. How many has Ben?", "write it like"),
        ("Ann has 20 beads. Ben has half as many as Ann. How many has Ben?", "have no sentence like"),
        ("Ann has 20 beads. Ben has 2 more than Cal. How many has Ben?", "one new person"),
        ("Ann has 20 beads. Ann has 2 more than Ann. How many has Ann?", "one new person"),
        ("Ann has 20 beads. Ann has 2 times as many as Ben. How many has Ben?", "one new person"),
        ("Ann has 20 beads. Ben has 2 times as many as Ann and Ann together. How many has Ben?", "one new person"),
        ("Ann has 20 beads. Ben has 2 more than Ann. How many has Ann?", "How many has Ben"),
        ("Ann has 20 beads. Ann: Ben has 2 more than Ann. How many has Ben?", "number of Ben, not of Ann"),
        ("Ann has 20 beads. Ben has 20 fewer than Ann. How many has Ben?", "Ben would have 0"),
        ("Ann has 20 beads. Ben has 1000 more than Ann. How many has Ben?", "1 to 999"),
        ("Ann has 900 beads. Ben has 900 times as many as Ann. How many has Ben?", "everyone has 1 to 9990"),
        ("Ann has 20 beads. " + "Ben has 2 more than Ann. " * 900 + "How many has Ben?", "write it like"),
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_other_texts_get_a_clear_error(question: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        WORLD.parse(question)
    assert len(str(raised.value)) < 400


def test_a_question_unlike_the_training_questions_gets_a_remark() -> None:
    assert WORLD.remark(WORLD.parse(STORY)) is None
    for odd in (STORY.replace("beads", "ducks"), STORY.replace("20", "200")):
        assert "outside" in str(WORLD.remark(WORLD.parse(odd)))
    assert WORLD.parse(STORY.replace("How many has Cal?", " How many  does Cal have?")).question == HEADED


def test_people_are_renamed_in_the_order_of_the_story() -> None:
    renamed = STORY.replace("Ann", "Zoe").replace("Ben", "Ann")
    assert renamed != STORY
    assert WORLD.parse(renamed).question == HEADED == WORLD.parse(HEADED).question
    assert WORLD.parse(renamed).answer == WORLD.parse(STORY).answer


def test_the_demonstrator_samples_by_key_and_counts_words() -> None:
    problem = WORLD.problem(4, 0)
    policy = DemonstratorPolicy(WORLD.habits)
    many = asyncio.run(sample_solutions(policy, problem, 6, Sampling(1.0, seed=2), 40))
    few = asyncio.run(sample_solutions(policy, problem, 3, Sampling(1.0, seed=2), 40))
    assert few == many[:3]
    assert all(path.ended and path.tokens == len(path.text.split()) for path in many)
    story = read_story(problem.question)
    for path in many:
        state = start(story)
        for step in path.steps:
            text = step.text.strip()
            assert step.logprob == pytest.approx(np.log(choices(story, state, WORLD.habits)[text]))
            state = advance(story, state, text)
    greedy = asyncio.run(sample_solutions(policy, problem, 3, Sampling(0.0, seed=2), 40))
    assert len({path.text for path in greedy}) == 1


def test_errors_say_what_the_demonstrator_cannot_do() -> None:
    problem = WORLD.problem(1, 0)
    policy = find_policy("demonstrator", "stories-even")
    assert policy == DemonstratorPolicy(EVEN.habits)
    for sampling, message in ((Sampling(top_p=0.9), "top_p"), (Sampling(max_step_tokens=5), "max_step_tokens")):
        with pytest.raises(InputError, match=message):
            policy.open(problem, sampling)
    with pytest.raises(InputError, match="state or minilm"):
        policy.open(problem, Sampling()).hidden((0,))
    with pytest.raises(InputError, match="stories"):
        find_policy("demonstrator", "countdown")
    with pytest.raises(InputError, match="slip"):
        Habits(slip=1.5)
    with pytest.raises(InputError, match="leave `after` at 0"):
        WORLD.demonstration(np.random.default_rng(0), 1, 1)


def test_if_no_model_is_bundled_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: FilePath) -> None:
    monkeypatch.setattr("rollwise.names.bundled", lambda world, part, name: tmp_path / world / part)
    for find, other in ((registry.find_policy, "--policy 'demonstrator'"), (registry.find_reward, "--reward 'dial")):
        with pytest.raises(InputError, match=r"rollwise world train stories-even") as raised:
            find("trained", "stories-even")
        assert other in str(raised.value)


def solve(problem: Problem, strategy: str, budget: int, **fields: object) -> rollwise.Solution:
    known = {"world": "stories", "policy": "demonstrator", "reward": "dial(0.2,1)", "directions": "state"}
    return rollwise.solve(problem, strategy, budget, **(known | {"temperature": 1.0} | fields))


@pytest.mark.parametrize(("level", "temperature"), [(4, 1.0), (4, 0.8)])
def test_plain_samples_cover_what_the_exact_success_predicts(level: int, temperature: float) -> None:
    budget, problems = 8, drawn(level, 60)
    covered = sum(solve(problem, "temperature", budget, temperature=temperature).covered for problem in problems)
    chances = [1 - (1 - WORLD.worth(problem, [], temperature)) ** budget for problem in problems]
    assert is_within(covered, len(problems), float(np.mean(chances)))


def test_search_with_a_fair_reward_beats_plain_samples_and_votes() -> None:
    problems = drawn(5, 12)
    searched = [solve(problem, "dora", 32) for problem in problems]
    plain = [solve(problem, "temperature", 32, vote="majority") for problem in problems]
    assert all(solution.vote == "weighted_majority" for solution in searched)
    assert sum(solution.right for solution in searched) > sum(solution.right for solution in plain) + 3
    assert sum(solution.covered for solution in plain) > sum(solution.right for solution in plain)
    assert all(len(solution.finished) + solution.saved == 32 for solution in searched)


def test_the_worth_reward_is_the_exact_chance_plus_noise_that_a_state_shares() -> None:
    problem = WORLD.problem(4, 0)

    async def grown() -> list[Path]:
        session = WORLD.demonstrator().open(problem, Sampling(seed=1))
        paths = [Path((index,)) for index in range(40)]
        for _ in range(5):
            steps = await session.extend(paths)
            paths = [path.grown(step) for path, step in zip(paths, steps, strict=True) if isinstance(step, Step)]
            paths = [path.copy(0) for path in paths]
        return [Path(path.key[:-1], path.steps) for path in paths]

    def rewards(reward: DialReward, paths: list[Path]) -> list[float]:
        scores = asyncio.run(reward.open(problem, 0).score(paths))
        return [score for score in scores if isinstance(score, float)]

    paths = asyncio.run(grown())
    steps = [whole_steps(path.text, WORLD.separator) for path in paths]
    worths = [WORLD.worth(problem, each) for each in steps]
    assert rewards(DialReward(WORLD, 0.0, truth="worth"), paths) == worths
    assert len({round(worth, 6) for worth in worths}) > 2
    shared = rewards(DialReward(WORLD, 0.05, 1.0, truth="worth"), paths)
    by_state = dict(zip([WORLD.state(problem, each) for each in steps], shared, strict=True))
    assert shared == [by_state[WORLD.state(problem, each)] for each in steps]
    assert len(by_state) < len(paths)


def test_the_worth_reward_needs_a_world_with_a_demonstrator() -> None:
    assert isinstance(find_reward("worth(0.1,1)", "stories"), DialReward)
    with pytest.raises(InputError, match="does not know the worth"):
        find_reward("worth(0.1,1)", "countdown")


def test_a_step_with_absurdly_long_numbers_is_broken() -> None:
    problem = WORLD.parse(STORY)
    assert not WORLD.step_is_valid(problem, [f"Ben: 20 + 4 = {'2' * 5000}"])
    assert not WORLD.step_is_valid(problem, [f"Ben: {'2' * 5000} + 4 = 24"])
