"""Whole searches with parts of the test's own: a policy whose samples are scripted, so that the answer is known."""

import asyncio
import json
from collections.abc import Callable, Collection, Hashable, Sequence
from pathlib import Path as FilePath
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from beliefs import voting_belief
from scipy.special import expit, logit

import rollwise
from rollwise.core import Evidence, Failure, FloatArray, Path, PathKey, Problem, Sampling, Step, Stop, Usage
from rollwise.errors import EngineError, InputError, UnknownNameError
from rollwise.registry import find_world
from rollwise.report.flow import Band, Flow, fold_flow
from rollwise.report.pictures import search_svg
from rollwise.report.search import verdict_text
from rollwise.search.events import Allocated, rounds

QUESTION = "Use 2, 3, 4 to make 24"
GOOD = ["2 × 3 = 6, left: 4 6\n\n", "4 × 6 = 24, left: 24\n\n", "Answer: \\boxed{2 × 3 × 4}"]
BAD = ["2 + 3 = 5, left: 4 5\n\n", "4 × 5 = 20, left: 20\n\n", "Answer: \\boxed{(2 + 3) × 4}"]


class Graded:
    """A reward model that gives right answers .9 and the others .4."""

    parameters = 0

    def open(self, problem: Problem, seed: int) -> "Graded":
        self.usage = Usage()
        return self

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        return [0.9 if path.steps[0].text == GOOD[0] else 0.4 for path in paths]

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass


class Scripted:
    """Every fourth root takes the good way, the others the bad one; a path follows the way it started on."""

    parameters = 10

    def __init__(self, lose: frozenset[int] = frozenset()) -> None:
        self.lose = lose

    def open(self, problem: Problem, sampling: Sampling) -> "ScriptedSession":
        return ScriptedSession(self.lose)


class ScriptedSession:
    room = 2048

    def __init__(self, lose: frozenset[int]) -> None:
        self.usage, self.lose = Usage(), lose

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        return [self._step(path) for path in paths]

    def _step(self, path: Path) -> Step | Failure:
        if path.key[0] in self.lose and not path.steps:
            return Failure("the connection was lost")
        texts = GOOD if path.key[0] % 4 == 0 else BAD
        depth = len(path.steps)
        self.usage.generated += 5
        return Step(texts[depth], 5, Stop.END if depth == 2 else Stop.STEP)

    def hidden(self, key: PathKey) -> FloatArray:
        return np.array([1.0, 0.0]) if key[0] % 4 == 0 else np.array([0.0, 1.0])

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass


def solve(strategy: object = "dora", budget: int = 16, **fields: object) -> rollwise.Solution:
    return rollwise.solve(QUESTION, strategy, budget, **({"policy": Scripted(), "reward": "dial(0)"} | fields))


def test_dora_pays_the_small_good_direction_by_its_quality() -> None:
    solution = solve(reward=Constant(0.5))
    first = next(event for event in solution.events if isinstance(event, Allocated))
    good = [index for index, key in enumerate(first.candidates.paths) if key[0] % 4 == 0]
    assert first.allocation.counts[good].sum() == 8
    assert first.allocation.effective_directions == pytest.approx(2)
    plain = solve("rebase", reward=Constant(0.5))
    first = next(event for event in plain.events if isinstance(event, Allocated))
    assert first.allocation.counts[good].sum() == 4


def test_a_true_reward_leaves_right_paths_only_and_the_answer_is_checked() -> None:
    solution = solve()
    assert solution.answer == "2 × 3 × 4"
    assert solution.right
    assert solution.support == 1
    assert len(solution.finished) == 16
    assert all(solution.rights)
    assert len({path.key for path in solution.finished}) == 16
    assert solution.ledger.usage["policy"].generated == 16 * 3 * 5
    assert solution.ledger.flops("policy") == 2 * 10 * 16 * 3 * 5


@pytest.mark.parametrize(
    ("vote", "answer"),
    [("weighted_majority", "(2 + 3) × 4"), ("majority", "(2 + 3) × 4"), ("verified", "2 × 3 × 4")],
)
def test_votes_over_plain_samples(vote: str, answer: str) -> None:
    solution = solve("temperature", reward=Constant(0.5), vote=vote)
    assert solution.answer == answer
    assert solution.covered
    assert sum(solution.rights) == 4
    assert sorted(ballot.paths for ballot in solution.ballots) == [4, 12]


def test_a_vote_by_belief_weighs_chances_and_is_not_led_by_a_reward_that_says_nothing(tmp_path: FilePath) -> None:
    """A quarter of the paths is right and well rewarded; where the belief says that rewards tell nothing, all count."""
    votes = ("weighted_majority", "majority", "best_of_n")
    found = {}
    for share in (0.0, 1.0, 4.0):
        file = tmp_path / f"{share}.json"
        file.write_text(json.dumps(voting_belief(share)))
        told: dict[str, Any] = {"votes": votes, "belief": str(file), "reward": Graded()}
        solution = found[share] = solve("temperature", vote="believed_majority", **told)
        assert solution.vote == "believed_majority"
        around = (4 * logit(0.9) + 12 * logit(0.4)) / 16
        weights = {ballot.paths: ballot.weight for ballot in solution.ballots}
        for paths, reward in ((4, 0.9), (12, 0.4)):
            chance = expit(0.5 + around + share * (logit(reward) - around))
            assert weights[paths] == pytest.approx(paths * chance)
    assert [one.right for one in found.values()] == [False, False, True]
    assert found[1.0].votes == dict(zip(votes, (False, False, True), strict=True))
    assert found[1.0].as_dict()["votes"] == found[1.0].votes
    assert "votes" not in solve("temperature").as_dict()


def test_a_vote_by_belief_needs_a_belief_about_finished_solutions(tmp_path: FilePath) -> None:
    with pytest.raises(InputError, match=r"believed_majority: no belief says .*rollwise calibrate"):
        solve("temperature", vote="believed_majority")
    file = tmp_path / "belief.json"
    file.write_text(json.dumps(voting_belief(1.0) | {"ended": None}))
    with pytest.raises(InputError, match=r"take weighted_majority$"):
        solve("temperature", votes=("majority", "believed_majority"), belief=str(file))


@pytest.mark.parametrize("name", ["", "loudest", "weighted_majority(2)"])
def test_a_vote_that_does_not_exist_is_refused(name: str) -> None:
    for field in ({"vote": name}, {"votes": (name,)}):
        with pytest.raises(UnknownNameError, match="believed_majority"):
            solve("temperature", **field)
    with pytest.raises(UnknownNameError):
        solve("temperature", votes=("verified",))


def test_best_of_n_follows_the_reward() -> None:
    assert solve("temperature", vote="best_of_n").answer == "2 × 3 × 4"


def test_a_lost_rollout_costs_one_rollout() -> None:
    solution = solve("rebase", policy=Scripted(frozenset({1, 2})), reward=Constant(0.5))
    assert len(solution.finished) == 14
    assert solution.failures == ("the connection was lost",) * 2
    assert [round_.allocated.width for round_ in rounds(solution.events) if round_.allocated] == [14, 14]


def test_when_every_rollout_is_lost_there_is_no_answer_and_no_crash() -> None:
    solution = solve(policy=Scripted(frozenset(range(16))))
    assert solution.answer is None
    assert solution.attempt is None
    assert not solution.covered
    assert len(solution.failures) == 16


def test_a_reward_that_is_not_a_number_costs_its_rollout() -> None:
    solution = solve("temperature", reward=Constant(float("nan")))
    assert solution.finished == ()
    assert len(solution.failures) == 16


@pytest.mark.parametrize(
    "value", [None, "0.5", float("inf"), 10**400, [0.5, 0.5], object()], ids=lambda value: type(value).__name__
)
def test_a_reward_that_is_no_number_costs_its_rollout(value: Any) -> None:
    solution = solve("temperature", reward=Constant(value))
    assert solution.finished == ()
    assert len(solution.failures) == 16
    assert all("the reward model returned" in reason for reason in solution.failures)


@pytest.mark.parametrize("value", [np.float32(0.5), torch.tensor(0.5), 1, True])
def test_a_reward_may_be_any_finite_number(value: Any) -> None:
    solution = solve("temperature", reward=Constant(value))
    assert len(solution.finished) == 16
    assert {type(reward) for path in solution.finished for reward in path.rewards} == {float}


class Broken:
    """A policy, reward model or direction finder that answers by a function of the paths."""

    parameters, room = 0, 2048

    def __init__(self, answer: Callable[[Sequence[Path]], Any]) -> None:
        self.answer, self.usage = answer, Usage()

    def open(self, *arguments: object) -> "Broken":
        return self

    async def extend(self, paths: Sequence[Path]) -> Any:
        return self.answer(paths)

    score = find = extend

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass


def raising(error: Exception) -> Callable[[Sequence[Path]], Any]:
    def answer(paths: Sequence[Path]) -> Any:
        raise error

    return answer


ROLES = {"policy": "policy", "reward": "reward model", "directions": "direction finder"}


@pytest.mark.parametrize("part", ROLES)
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda paths: [Failure("one too few")] * (len(paths) - 1), "returned 15 results for 16 paths"),
        (lambda paths: [Failure("one too many")] * (len(paths) + 1), "returned 17 results for 16 paths"),
        (lambda paths: None, "NoneType"),
        (lambda paths: [None] * len(paths), "the {role} returned None"),
        (lambda paths: [Failure("lost")] * len(paths), "lost"),
        (raising(EngineError("no cache is kept")), "EngineError: no cache is kept"),
        (raising(OSError("the embedder is gone")), "OSError: the embedder is gone"),
    ],
)
def test_a_part_that_breaks_down_costs_the_rollouts_and_not_the_question(
    part: str, answer: Callable[[Sequence[Path]], Any], reason: str
) -> None:
    parts: dict[str, Any] = {"reward": Constant(0.5)} | {part: Broken(answer)}
    solution = solve(**parts)
    assert solution.answer is None
    assert len(solution.failures) == 16
    assert all(reason.format(role=ROLES[part]) in failure for failure in solution.failures)


def test_only_the_path_whose_direction_is_unknown_is_lost() -> None:
    def answer(paths: Sequence[Path]) -> list[Evidence | Failure]:
        return [Failure("no embedding") if path.key == (3,) else Evidence(label="same") for path in paths]

    solution = solve(reward=Constant(0.5), directions=Broken(answer))
    assert solution.failures == ("no embedding",)
    assert len(solution.finished) == 15


@pytest.mark.parametrize("part", ROLES)
def test_a_part_that_is_wrongly_configured_ends_the_question(part: str) -> None:
    broken = Broken(raising(InputError("the server needs a key")))
    parts: dict[str, Any] = {"reward": Constant(0.5)} | {part: broken}
    with pytest.raises(InputError, match="needs a key"):
        solve(**parts)


def test_nothing_right_is_said_and_the_best_attempt_shown() -> None:
    solution = solve("temperature", budget=1, policy=Scripted(), reward=Constant(0.5), seed=1)
    assert solution.right
    wrong = rollwise.solve("Use 2, 3, 5 to make 24", "temperature", 4, policy=Scripted(), reward=Constant(0.5))
    assert wrong.answer is None
    assert wrong.attempt in ("2 × 3 × 4", "(2 + 3) × 4")
    assert not wrong.covered


def test_support_is_of_the_answers_and_lost_rollouts_are_told_by_their_reason() -> None:
    assert "support 75% of the answers agree" in verdict_text(
        solve("temperature", reward=Constant(0.5), vote="majority")
    )
    lost = verdict_text(solve(policy=Scripted(frozenset(range(16))))).plain
    assert lost == "no path reached an answer; 0 paths finished, 16 rollouts lost, all of them: the connection was lost"


def test_rounds_are_reported_as_they_close() -> None:
    seen: list[int] = []
    solve(on_round=lambda happened: seen.append(happened.index))
    assert seen == [0, 1, 2]


async def test_solve_works_inside_a_running_loop() -> None:
    assert solve().right
    many = await asyncio.gather(
        *(rollwise.solve_async(QUESTION, budget=4, policy=Scripted(), reward="dial(0)", seed=seed) for seed in range(3))
    )
    assert all(solution.right for solution in many)


def test_an_edited_allocator_is_the_new_one_in_the_same_process(tmp_path: FilePath) -> None:
    file = tmp_path / "mine.py"
    fields = {"policy": "demonstrator", "reward": "dial(0)", "world": "stories", "strategy": f"{file}:one"}
    problem = find_world("stories").problem(1, 0)
    for taken in (0, 1):
        file.write_text(f"def one(candidates, width):\n    return [width * (at == {taken}) for at in range(4)]\n")
        solution = rollwise.solve(problem, budget=4, **fields)
        first = next(event for event in solution.events if isinstance(event, Allocated))
        assert first.allocation.counts.tolist() == [4 * (at == taken) for at in range(4)]


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(InputError, match="colour"):
        solve(colour="red")
    with pytest.raises(InputError, match="budget"):
        solve(budget=0)


def test_the_flow_of_a_search_adds_up_and_is_drawn() -> None:
    solution = solve("rebase", reward=Constant(0.5))
    right = [path.key for path, good in zip(solution.finished, solution.rights, strict=True) if good]
    folded = fold_flow(solution.events, right)
    assert [sum(band.paths for band in column) for column in folded.columns] == [16, 16, 16]
    assert [sum(band.given for band in column) for column in folded.columns] == [16, 16, 0]
    assert folded.columns[2][0].right == sum(solution.rights)
    for index in (1, 2):
        assert sum(count for (at, _, _), count in folded.links.items() if at == index) == 16
    picture = search_svg(folded, "a < b")
    assert picture.count("<title>") == sum(len(column) for column in folded.columns)
    assert "a &lt; b" in picture


@pytest.mark.parametrize("columns", [2, 4, 7, 10])
def test_names_in_a_picture_end_before_the_next_bar_and_tell_the_result(columns: int) -> None:
    names = [
        "First find the time she wrote: 4 hours * 60 minutes/hour = 240 minutes.",
        "wordsinarow" * 9,
        "a, b",
        "6 = 6",
    ]
    bands = tuple(
        tuple(Band(index, label, name, 4, 0, 0, 0.5, 0.25, None, 4) for label, name in enumerate(names))
        for index in range(columns)
    )
    links: dict[tuple[int, Hashable, Hashable], int] = {
        (index, label, label): 4 for index in range(1, columns) for label in range(4)
    }
    picture = ElementTree.fromstring(search_svg(Flow(bands, links, {}, True), "x"))
    texts = [each for each in picture.iter("{http://www.w3.org/2000/svg}text") if each.get("text-anchor") == "start"]
    shown = {each.text or "" for each in texts}
    assert {"a", "6 = 6"} <= shown
    room = (920 - 2 * 56 - 60) / (columns - 1) - 16 - 20
    assert all(len(text) <= max(6, room / 5.8) for text in shown)
    assert columns > 7 or any(text.endswith("= 240 minutes") for text in shown)


class Constant:
    """A reward model that always says the same."""

    parameters = 0

    def __init__(self, value: float) -> None:
        self.value, self.usage = value, Usage()

    def open(self, problem: Problem, seed: int) -> "Constant":
        return self

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        return [self.value for _ in paths]

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass


def test_a_note_says_that_greedy_sampling_gives_equal_paths() -> None:
    greedy = solve("temperature", temperature=0.0)
    assert "at temperature 0 the policy is greedy, so all 16 rollouts give the same path" in greedy.notes[0]
    assert not [note for note in solve("temperature").notes if "greedy" in note]
    assert not [note for note in solve("temperature", temperature=0.0, budget=1).notes if "greedy" in note]
