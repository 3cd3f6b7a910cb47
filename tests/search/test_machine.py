"""The search as a pure state machine, over scripted replies and over a symbolic policy whose answers are known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollwise.allocation.strategies import STRATEGIES
from rollwise.core import Belief, Evidence, Failure, FloatArray, IntArray, Path, PathKey, Problem, Step, Stop
from rollwise.errors import InputError
from rollwise.search.events import Allocated, Event, Failed, Finished, Grown, rounds
from rollwise.search.machine import Growth, Limits, Search

Reply = Callable[[Path], Growth | Failure]
Order = Callable[[list[Path]], Sequence[Path]]

PROBLEM = Problem("p", "a question")


def begin(budget: int, strategy: str = "temperature", options: dict[str, Any] | None = None, **limits: Any) -> Search:
    believe = sure if "belief" in STRATEGIES[strategy].needs else None
    return Search(PROBLEM, STRATEGIES[strategy].bind(options), Limits(budget, **limits), seed=1, believe=believe)


def sure(rewards: FloatArray, depths: IntArray) -> Belief:
    """A belief that takes rewards for chances, and is surer the deeper."""
    return Belief(rewards, 1 + depths.astype(np.float64), correlation=0.6)


def drive(search: Search, reply: Reply, order: Order = list) -> Search:
    while not search.done:
        for path in order(search.ask()):
            search.tell(path.key, reply(path))
    return search


def growth(stop: Stop = Stop.STEP, reward: float = 0.5, tokens: int = 1, text: str = "s", label: str = "x") -> Growth:
    return Growth(Step(text, tokens, stop, 0.0), reward, Evidence(label))


def scripted(seed: int) -> Reply:
    """Replies that depend on the path's key only: steps, ends, cuts, failures, NaN rewards, many equal rewards."""

    def reply(path: Path) -> Growth | Failure:
        draw = random.Random(f"{seed} {path.key}")
        if draw.random() < 0.08:
            return Failure("lost")
        reward = math.nan if draw.random() < 0.05 else draw.randint(0, 4) / 4
        stop = draw.choice([Stop.STEP, Stop.STEP, Stop.STEP, Stop.LENGTH, Stop.END])
        return growth(stop, reward, draw.randint(1, 4), draw.choice("abc"), draw.choice("xyz"))

    return reply


def allocations(search: Search) -> list[Allocated]:
    return [event for event in search.events if isinstance(event, Allocated)]


def copies(event: Allocated) -> dict[PathKey, int]:
    """The candidates that go on, with their counts."""
    return {
        key: int(count) for key, count in zip(event.candidates.paths, event.allocation.counts, strict=True) if count
    }


def told(search: Search) -> list[tuple[object, ...]]:
    """The events round by round, without the order in which replies came in."""
    return [
        (
            one.index,
            sorted(one.grown, key=lambda event: event.path),
            one.finished,
            sorted(one.failed, key=lambda event: event.path),
            one.allocated and (one.allocated.width, copies(one.allocated), one.allocated.allocation.weights.tolist()),
        )
        for one in rounds(search.events)
    ]


SCRIPTS = given(
    seed=st.integers(0, 10**6),
    strategy=st.sampled_from(sorted(STRATEGIES)),
    budget=st.integers(1, 12),
    constant_width=st.booleans(),
    shuffler=st.randoms(use_true_random=False),
)


@settings(max_examples=150)
@SCRIPTS
def test_replies_in_any_order_and_twice_make_the_same_search(
    seed: int, strategy: str, budget: int, constant_width: bool, shuffler: random.Random
) -> None:
    def shuffled(paths: list[Path]) -> list[Path]:
        shuffler.shuffle(paths)
        return paths

    limits: dict[str, Any] = {"max_steps": 4, "max_tokens": 9, "constant_width": constant_width}
    plain = drive(begin(budget, strategy, **limits), scripted(seed))
    other = begin(budget, strategy, **limits)
    while not other.done:
        for path in shuffled(other.ask()):
            other.tell(path.key, scripted(seed)(path))
            other.tell(path.key, growth(Stop.END, 1.0, text="a second reply"))
    assert other.finished == plain.finished
    assert other.voters == plain.voters
    assert sorted(other.failed) == sorted(plain.failed)
    assert other.round == plain.round
    assert told(other) == told(plain)


@settings(max_examples=150)
@SCRIPTS
def test_the_width_is_what_neither_finished_nor_failed(
    seed: int, strategy: str, budget: int, constant_width: bool, shuffler: random.Random
) -> None:
    search = drive(
        begin(budget, strategy, max_steps=4, constant_width=constant_width),
        scripted(seed),
        lambda paths: shuffler.sample(paths, len(paths)),
    )
    gone = 0
    for event in search.events:
        gone += isinstance(event, Finished | Failed)
        if isinstance(event, Allocated):
            assert event.width == event.allocation.counts.sum()
            assert event.width == (budget if constant_width else budget - gone)
    keys = [event.path for event in search.events if isinstance(event, Grown | Failed)]
    assert len(keys) == len(set(keys))
    finished = [event.path for event in search.events if isinstance(event, Finished)]
    assert finished == [path.key for path in search.finished]
    assert search.voters == search.finished[:budget]
    if not constant_width:
        assert len(search.finished) + len(search.failed) == budget


@pytest.mark.parametrize("lost", [Failure("timed out"), growth(reward=math.nan), growth(reward=math.inf)])
def test_a_lost_rollout_costs_one_rollout_and_nothing_else(lost: Growth | Failure) -> None:
    def calm(path: Path) -> Growth:
        return growth(Stop.END if len(path.key) == 3 else Stop.STEP)

    def troubled(path: Path) -> Growth | Failure:
        return lost if path.key == (2, 0) else calm(path)

    without, search = drive(begin(6), calm), drive(begin(6), troubled)
    assert search.failed == [(2, 0)]
    assert search.finished == [path for path in without.finished if path.key[0] != 2]
    assert [event.width for event in allocations(search)] == [6, 5]
    assert sum(isinstance(event, Failed) for event in search.events) == 1


def test_a_reply_for_nobody_is_ignored() -> None:
    search = begin(2)
    search.tell((7,), growth())
    search.tell((0,), growth(text="first"))
    search.tell((0,), Failure("late"))
    assert [path.key for path in search.ask()] == [(1,)]
    assert [event for event in search.events if not isinstance(event, Grown)] == []
    search.tell((1,), growth())
    search.tell((0,), growth(text="of the round before"))
    assert [path.text for path in search.ask()] == ["first", "s"]


def test_when_all_fail_the_search_is_over() -> None:
    search = drive(begin(3), lambda path: Failure("down"))
    assert (search.round, search.finished, search.failed) == (1, [], [(0,), (1,), (2,)])
    assert allocations(search) == []


def test_a_step_cut_by_length_goes_on() -> None:
    search = drive(begin(2), lambda path: growth(Stop.LENGTH if len(path.key) < 4 else Stop.END))
    assert [step.stop for step in search.finished[0].steps] == [Stop.LENGTH] * 3 + [Stop.END]
    assert [event.stop for event in search.events if isinstance(event, Finished)] == [Stop.END] * 2


@pytest.mark.parametrize(("limits", "depth"), [({"max_steps": 3}, 3), ({"max_tokens": 10}, 4), ({"max_tokens": 9}, 3)])
def test_a_path_at_a_limit_finishes_without_ending_and_counts(limits: dict[str, Any], depth: int) -> None:
    """Steps of 3 tokens; path 0 ends by itself after one, path 1 in the very step that reaches the limit."""

    def reply(path: Path) -> Growth:
        ends = path.key == (0,) or (path.key[0] == 1 and len(path.key) == depth)
        return growth(Stop.END if ends else Stop.STEP, tokens=3)

    search = drive(begin(4, **limits), reply)
    stops = {event.path[0]: event.stop for event in search.events if isinstance(event, Finished)}
    assert stops == {0: Stop.END, 1: Stop.END, 2: Stop.LENGTH, 3: Stop.LENGTH}
    assert [len(path.steps) for path in search.finished] == [1, depth, depth, depth]
    assert search.voters == search.finished
    assert {event.width for event in allocations(search)} == {3}


@pytest.mark.parametrize("goes_on", [[(1,), (2,)], [(1,), (2,), (2, 0)]], ids=["a surplus", "one still active"])
def test_constant_width_ends_when_n_have_finished_and_the_first_n_vote(goes_on: list[PathKey]) -> None:
    """3 wide, all rewards equal: path 0 ends at once, the other two share 3 copies, of which two or three end."""
    search = drive(
        begin(3, "rebase", constant_width=True),
        lambda path: growth(Stop.STEP if path.key in goes_on else Stop.END),
    )
    assert [copies(event) for event in allocations(search)] == [{(1,): 2, (2,): 1}]
    assert [event.width for event in allocations(search)] == [3]
    assert [path.key for path in search.voters] == [(0,), (1, 0), (1, 1)]
    assert [path.key for path in search.finished[3:]] == [(2, 0)][: 3 - len(goes_on)]


def test_constant_width_goes_on_until_then() -> None:
    search = drive(
        begin(3, "rebase", constant_width=True, max_steps=3),
        lambda path: growth(Stop.END if path.key[0] == 0 else Stop.STEP),
    )
    shared: list[dict[PathKey, int]] = [{(1,): 2, (2,): 1}, {(1, 0): 1, (1, 1): 1, (2, 0): 1}]
    assert [copies(event) for event in allocations(search)] == shared
    assert [path.key for path in search.voters] == [(0,), (1, 0, 0), (1, 1, 0)]


def test_constant_width_does_not_pay_for_a_failure() -> None:
    def reply(path: Path) -> Growth | Failure:
        return Failure("lost") if path.key == (0,) else growth(Stop.STEP if len(path.key) == 1 else Stop.END)

    search = drive(begin(3, "rebase", constant_width=True), reply)
    assert [copies(event) for event in allocations(search)] == [{(1,): 2, (2,): 1}]
    assert [path.key for path in search.voters] == [(1, 0), (1, 1), (2, 0)]


@pytest.mark.parametrize(
    ("aggregate", "expected"), [("last", 0.9), ("min", 0.2), ("product", 0.5 * 0.2 * 0.9), ("mean", 1.6 / 3)]
)
def test_a_path_is_judged_by_the_aggregate_of_its_steps(aggregate: str, expected: float) -> None:
    rewards = [0.5, 0.2, 0.9]
    search = drive(
        begin(1, aggregate=aggregate, max_steps=4),
        lambda path: growth(Stop.END if len(path.key) == 4 else Stop.STEP, [*rewards, 1.0][len(path.steps)]),
    )
    assert allocations(search)[2].candidates.rewards[0] == pytest.approx(expected, abs=1e-15)
    assert search.reward(Path((0,), rewards=tuple(rewards))) == pytest.approx(expected, abs=1e-15)
    assert search.finished[0].rewards == (*rewards, 1.0)


def test_candidates_carry_their_evidence_in_key_order() -> None:
    search = begin(3)
    for index in (2, 0, 1):
        search.tell((index,), growth(reward=index / 4, label="odd" if index % 2 else "even"))
    candidates = allocations(search)[0].candidates
    assert candidates.paths == ((0,), (1,), (2,))
    assert candidates.rewards.tolist() == [0.0, 0.25, 0.5]
    assert candidates.directions is not None
    assert candidates.directions.labels is not None
    assert candidates.directions.labels.tolist() == [0, 1, 0]
    assert candidates.lineage is not None
    assert candidates.lineage.tolist() == [0, 1, 2]
    assert candidates.depth is not None
    assert candidates.depth.tolist() == [1, 1, 1]
    assert (candidates.question, candidates.seed) == ("p", 1)


def test_a_round_is_the_fold_of_its_events() -> None:
    step = Step("s", 1, Stop.STEP)
    allocated = Allocated(0, 1, *([None] * 2))  # type: ignore[arg-type]
    grown = [Grown(0, (0,), step, 0.1), Grown(0, (1,), step, 0.2), Grown(1, (1, 0), step, 0.3)]
    failed, finished = Failed(1, (1, 1), "lost"), Finished(0, (0,), Stop.END)
    events: list[Event] = [grown[2], grown[0], failed, grown[1], finished, allocated]
    first, second = rounds(events)
    assert (first.index, first.grown, first.finished, first.failed) == (0, grown[:2], [finished], [])
    assert first.allocated is allocated
    assert (second.index, second.grown, second.finished, second.failed) == (1, grown[2:], [], [failed])
    assert second.allocated is None
    search = drive(begin(4), scripted(5))
    assert [one.index for one in rounds(search.events)] == list(range(search.round))


@pytest.mark.parametrize("wrong", [{"budget": 0}, {"max_steps": 0}, {"max_tokens": -1}, {"aggregate": "median"}])
def test_limits_refuse_what_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong)) if "aggregate" not in wrong else "last, min, product, mean"):
        Limits(**wrong)


# A symbolic policy: copy c of a path writes letter c mod 3 of "abc"; three letters make an answer; "bac" is right, and
# the reward is the truth. Every survivor can be worked out with a pencil.


def letters(path: Path) -> Growth:
    letter = "abc"[path.key[-1] % 3]
    text = path.text + letter
    stop = Stop.END if len(text) == 3 else Stop.STEP
    return growth(stop, float("bac".startswith(text)), text=letter, label=text)


THREE_EACH: list[dict[PathKey, int]] = [{(1,): 3, (4,): 3, (7,): 3}, {(1, 0): 3, (4, 0): 3, (7, 0): 3}]
FOURS: list[dict[PathKey, int]] = [{(1,): 4, (4,): 4, (7,): 1}, {(1, 0): 4, (1, 3): 4, (4, 0): 1}]
NINE_OF_ONE: list[dict[PathKey, int]] = [{(1,): 9}, {(1, 0): 9}]
ONE_EACH: list[dict[PathKey, int]] = [{(i,): 1 for i in range(9)}, {(i, 0): 1 for i in range(9)}]
GREEDY = {"reward_temperature": 0}


@pytest.mark.parametrize(
    ("strategy", "options", "survivors", "right"),
    [
        ("temperature", {}, ONE_EACH, []),
        ("rebase", GREEDY, THREE_EACH, [(1, 0, 2), (4, 0, 2), (7, 0, 2)]),
        ("dora", GREEDY, THREE_EACH, [(1, 0, 2), (4, 0, 2), (7, 0, 2)]),
        ("dora_two_stage", GREEDY, THREE_EACH, [(1, 0, 2), (4, 0, 2), (7, 0, 2)]),
        ("beam", {"beam_width": 3}, THREE_EACH, [(1, 0, 2), (4, 0, 2), (7, 0, 2)]),
        ("beam", {"beam_width": 4}, FOURS, [(1, 0, 2), (1, 3, 2)]),
        ("beam", {"beam_width": 9}, NINE_OF_ONE, [(1, 0, 2), (1, 0, 5), (1, 0, 8)]),
        ("dvts", {"beam_width": 3}, THREE_EACH, [(1, 0, 2), (4, 0, 2), (7, 0, 2)]),
        ("dvts", {"beam_width": 9}, NINE_OF_ONE, [(1, 0, 2), (1, 0, 5), (1, 0, 8)]),
    ],
)
def test_survivors_known_by_hand(
    strategy: str, options: dict[str, Any], survivors: list[dict[PathKey, int]], right: list[PathKey]
) -> None:
    search = drive(begin(9, strategy, options), letters)
    assert [copies(event) for event in allocations(search)] == survivors
    assert [path.key for path in search.finished if path.text == "bac"] == right
    assert len(search.finished) == 9
    assert all(search.reward(path) == (path.text == "bac") for path in search.finished)


def test_dora_pays_a_direction_for_its_quality_and_rebase_for_its_size() -> None:
    """Six paths agree, two stand alone, all equally good: 8/3 rollouts to each direction, or one to each path."""

    def reply(path: Path) -> Growth:
        return growth(Stop.STEP if len(path.key) == 1 else Stop.END, label="aaaaaabc"[path.key[0]])

    by_direction = allocations(drive(begin(8, "dora"), reply))[0]
    by_path = allocations(drive(begin(8, "rebase"), reply))[0]
    assert copies(by_direction) == {(1,): 1, (3,): 1, (5,): 1, (6,): 2, (7,): 3}
    assert by_direction.allocation.weights == pytest.approx([1 / 18] * 6 + [1 / 3] * 2, abs=1e-12)
    assert by_direction.allocation.effective_directions == pytest.approx(3)
    assert copies(by_path) == {(index,): 1 for index in range(8)}


CHANCE = 0.6


def chancy(path: Path) -> Growth:
    """Three steps, each right with a chance of 0.6 whatever happened before; the reward is the truth so far."""
    good = random.Random(str(path.key)).random() < CHANCE and "x" not in path.text
    stop = Stop.END if len(path.key) == 3 else Stop.STEP
    return growth(stop, float(good), text="o" if good else "x", label="o" if good else str(path.key))


@pytest.mark.parametrize(
    ("strategy", "options", "expected"),
    [
        ("temperature", {}, CHANCE**3),
        ("rebase", GREEDY, CHANCE),
        ("dora", GREEDY, CHANCE),
        ("dora_two_stage", GREEDY, CHANCE),
        ("beam", {"beam_width": 2}, CHANCE),
        ("dvts", {"beam_width": 2}, CHANCE * (1 - (1 - CHANCE) ** 2) ** 2),
    ],
)
def test_the_share_of_right_answers_is_the_closed_form(strategy: str, options: dict[str, Any], expected: float) -> None:
    """With the truth for a reward only the last step is left to chance; a DVTS subtree of two also dies by itself."""
    budget = 4000
    search = drive(begin(budget, strategy, options), chancy)
    share = np.mean([path.text == "ooo" for path in search.finished])
    assert len(search.finished) == budget
    assert share == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / budget))
