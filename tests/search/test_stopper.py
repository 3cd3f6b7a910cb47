"""Searches that end early: the winner that the whole search elects, at less cost, and told by an event."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rollwise
from rollwise.allocation import STRATEGIES
from rollwise.answers import equivalent
from rollwise.core import Evidence, Failure, FloatArray, Path, PathKey, Problem, Sampling, Step, Stop, Usage
from rollwise.errors import InputError
from rollwise.report.flow import fold_flow
from rollwise.report.pictures import search_svg
from rollwise.report.search import verdict_text, where_table
from rollwise.search import Runner, event_records, find_parts, rounds, run_to_end
from rollwise.search.events import Finished, Stopped
from rollwise.search.machine import Growth, Limits, Search


def begin(budget: int, **limits: Any) -> Search:
    return Search(Problem("p", "?"), STRATEGIES["temperature"].bind(), Limits(budget, **limits))


def growth(stop: Stop = Stop.STEP) -> Growth:
    return Growth(Step("s", 1, stop), 0.5, Evidence("x"))


def tell_all(search: Search, ends: int = 0) -> None:
    for index, path in enumerate(search.ask()):
        search.tell(path.key, growth(Stop.END if index < ends else Stop.STEP))


def test_a_search_stopped_between_rounds_keeps_its_votes_and_asks_for_nothing_more() -> None:
    search = begin(6)
    tell_all(search, ends=4)
    assert search.remaining == 2
    search.stop("decided")
    assert search.done
    assert [path.key for path in search.voters] == [(0,), (1,), (2,), (3,)]
    assert search.events[-1] == Stopped(0, "decided", 2)
    assert search.round == 1
    search.stop("again")
    assert len([event for event in search.events if isinstance(event, Stopped)]) == 1


def test_a_search_stopped_within_a_round_lets_ended_paths_vote_and_ignores_later_replies() -> None:
    search = begin(5)
    tell_all(search, ends=1)
    first, second, third, _ = search.ask()
    search.tell(second.key, growth(Stop.END))
    search.tell(first.key, Failure("lost"))
    search.stop("deadline")
    search.tell(third.key, growth(Stop.END))
    assert [path.key for path in search.voters] == [(0,), second.key]
    assert search.events[-1] == Stopped(1, "deadline", 2)
    assert [len(happened.finished) for happened in rounds(search.events)] == [1, 1]
    assert search.round == 2


def test_a_search_stopped_before_it_began_found_nothing() -> None:
    search = begin(3)
    search.stop("cancelled")
    assert search.done
    assert search.events == [Stopped(0, "cancelled", 3)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(0, 40), st.booleans())
def test_finished_failed_and_saved_rollouts_add_up_wherever_a_search_stops(
    seed: int, budget: int, after: int, constant: bool
) -> None:
    search, told = begin(budget, max_steps=4, constant_width=constant), 0
    while not search.done:
        for path in search.ask():
            if told == after:
                search.stop("enough")
            told += 1
            draw = random.Random(f"{seed} {path.key}").random()
            search.tell(path.key, Failure("lost") if draw < 0.1 else growth(Stop.END if draw < 0.4 else Stop.STEP))
    stopped = [event for event in search.events if isinstance(event, Stopped)]
    if stopped:
        failed = 0 if constant else len(search.failed)
        assert len(search.voters) + failed + stopped[0].saved == budget
    finished = [event.path for event in search.events if isinstance(event, Finished)]
    assert finished == [path.key for path in search.finished]


class Talkative:
    """Path i ends after 1 + i % 4 steps and boxes a letter of `answers`: path i the letter number i // 4."""

    parameters = 0

    def __init__(self, answers: str) -> None:
        self.answers = answers

    def open(self, problem: Problem, sampling: Sampling) -> Talkative:
        self.usage, self.room = Usage(), 2048
        return self

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        self.usage.generated += len(paths)
        return [self._step(path) for path in paths]

    def _step(self, path: Path) -> Step:
        root, depth = path.key[0], len(path.steps)
        if depth < root % 4:
            return Step(f"step {depth}\n\n", 1, Stop.STEP)
        return Step(f"\\boxed{{{self.answers[root // 4 % len(self.answers)]}}}", 1, Stop.END)

    def hidden(self, key: PathKey) -> FloatArray:
        raise NotImplementedError

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass


class Rewarding:
    """A reward model that gives every path the same reward."""

    parameters = 0

    def __init__(self, reward: float = 1.0) -> None:
        self.reward, self.usage = reward, Usage()

    def open(self, problem: Problem, seed: int) -> Rewarding:
        return self

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        return [self.reward for _ in paths]

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass


def talk(answers: str, reward: float = 1.0, **fields: Any) -> rollwise.Solution:
    given: dict[str, Any] = {"vote": "majority", "world": "text", "budget": 16} | fields
    return rollwise.solve("?", strategy="temperature", policy=Talkative(answers), reward=Rewarding(reward), **given)


def test_a_vote_that_is_decided_ends_the_search_and_costs_only_what_was_spent() -> None:
    """Four paths end in each of four rounds; after the third, 12 votes of 12 are more than the 4 that remain."""
    solution, whole = talk("7"), talk("7", stop_early="never")
    assert (solution.answer, whole.answer) == ("7", "7")
    assert (len(solution.finished), solution.saved, whole.saved) == (12, 4, 0)
    assert solution.ledger.usage["policy"].generated == 16 + 12 + 8
    assert whole.ledger.usage["policy"].generated == 16 + 12 + 8 + 4
    assert solution.ledger.rounds == 3
    assert "4 rollouts saved" in verdict_text(solution).plain
    assert solution.as_dict()["saved"] == 4
    assert event_records(solution.events, {})[-1] == {
        "event": "stopped",
        "round": 2,
        "reason": "lossless, 4 rollouts saved",
        "saved": 4,
    }
    assert fold_flow(solution.events).columns


def test_likely_ends_sooner_and_a_lead_of_weight_that_paths_do_not_share_ends_nothing() -> None:
    assert talk("7", stop_early="likely(0.95)").saved == 12
    assert talk("7", stop_early="predictive(0.95)").saved == 12
    assert talk("78", stop_early="likely(0.95)").saved == 0


@pytest.mark.parametrize("reward", [0.4, 1.5, -1.0])
def test_weights_that_are_small_or_outside_their_interval_decide_nothing(reward: float) -> None:
    """12 votes of weight 0.4 lead by 4.8 > 4, of 0.3 by 3.6 only; a reward outside [0, 1] has no bound."""
    saved = talk("7", reward, vote="weighted_majority").saved
    assert saved == (4 if reward == 0.4 else 0)
    assert talk("7", 0.3, vote="weighted_majority").saved == 0


def test_further_votes_have_to_be_decided_too() -> None:
    assert talk("7", 0.3, vote="majority", votes=("weighted_majority",)).saved == 0
    assert talk("7", 0.9, vote="majority", votes=("weighted_majority",)).saved == 4


def test_the_heaviest_path_ends_best_of_n_only_at_the_greatest_weight() -> None:
    assert talk("7", 1.0, vote="best_of_n").saved == 12
    assert talk("7", 0.99, vote="best_of_n").saved == 0


@pytest.mark.parametrize("rule", ["first(3)", "window(5)", "soon"])
def test_rules_that_a_search_cannot_follow_are_refused(rule: str) -> None:
    with pytest.raises(InputError, match="stop_early"):
        talk("7", stop_early=rule)


class Wandering(Talkative):
    """Each path ends with a chance of 0.4 at every step, with one of three answers drawn by its key."""

    def _step(self, path: Path) -> Step:
        draw = random.Random(f"{self.answers} {path.key}")
        if draw.random() < 0.6:
            return Step("step\n\n", 1, Stop.STEP)
        return Step(f"\\boxed{{{draw.choice('1112')}}}", 1, Stop.END)


class Fickle(Rewarding):
    """Rewards in [0, 1] drawn by the path's key."""

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        return [min(1.0, random.Random(f"reward {path.key}").random() * 1.4) for path in paths]


@pytest.mark.parametrize("vote", ["weighted_majority", "majority", "best_of_n"])
@pytest.mark.parametrize("constant_width", [False, True])
def test_a_lossless_search_elects_what_the_whole_search_elects(vote: str, constant_width: bool) -> None:
    saved, seeds = 0, 12
    for seed in range(seeds):
        policy, reward = Wandering(str(seed)), Fickle()
        given: dict[str, Any] = {"policy": policy, "reward": reward, "vote": vote, "constant_width": constant_width}
        early, late = (
            rollwise.solve("?", "temperature", 12, world="text", stop_early=rule, **given)
            for rule in ("lossless", "never")
        )
        _require_the_same(early, late, 12)
        saved += early.saved
    assert saved > seeds / 3


@pytest.mark.parametrize("vote", ["weighted_majority", "majority", "best_of_n"])
def test_searches_in_the_bundled_world_elect_the_same(vote: str) -> None:
    """Word problems solved by the demonstrator. Their paths end almost together, so little can be saved."""
    fields: dict[str, Any] = {"world": "stories", "policy": "demonstrator", "reward": "dial(0.3,1)", "vote": vote}
    lossless = find_parts(rollwise.Config.of(strategy="rebase", budget=12, **fields))
    whole = replace(lossless, config=lossless.config.model_copy(update={"stop_early": "never"}))
    for seed in range(6):
        problem = lossless.problems.problem(4, seed)
        early, late = (run_to_end(Runner(parts).solve(problem)) for parts in (lossless, whole))
        _require_the_same(early, late, 12)


def _require_the_same(early: rollwise.Solution, late: rollwise.Solution, budget: int) -> None:
    """The same answer, and the same events up to the stop."""
    assert (early.answer is None) == (late.answer is None)
    assert early.answer is None or equivalent(str(late.answer), early.answer)
    assert early.right == late.right
    told = [event for event in _told(early) if event["event"] != "stopped"]
    assert told == _told(late)[: len(told)]
    assert len(early.finished) + len(early.failures) + early.saved == budget


def _told(solution: rollwise.Solution) -> list[dict[str, Any]]:
    """The events without their times."""
    records = event_records(solution.events, {})
    return [{name: value for name, value in each.items() if name != "spans"} for each in records]


def test_waves_begin_one_after_the_other_and_spend_the_whole_budget() -> None:
    search = begin(5, wave=2)
    assert [path.key for path in search.ask()] == [(0,), (1,)]
    tell_all(search, ends=1)
    assert [path.key for path in search.ask()] == [(1, 0)]
    search.tell((1, 0), Failure("lost"))
    assert [path.key for path in search.ask()] == [(2,), (3,)]
    tell_all(search, ends=2)
    tell_all(search, ends=1)
    assert search.done
    assert [path.key for path in search.voters] == [(0,), (2,), (3,), (4,)]
    assert [len(happened.grown) for happened in rounds(search.events)] == [2, 0, 2, 1]


@pytest.mark.parametrize(("wave", "fields"), [(0, {}), (2, {"constant_width": True})])
def test_waves_that_make_no_sense_are_refused(wave: int, fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="wave"):
        talk("7", wave=wave, **fields)


def test_with_waves_a_search_stops_as_the_same_votes_in_a_row_would() -> None:
    solution = talk("7", wave=4, budget=32, stop_early="likely(0.95)")
    assert (len(solution.finished), solution.saved) == (4, 28)
    assert solution.ledger.usage["policy"].generated == 4 + 3 + 2 + 1
    lossless = talk("7", wave=4, budget=32)
    assert (len(lossless.finished), lossless.saved) == (17, 15)
    whole = talk("7", wave=4, budget=32, stop_early="never")
    assert (len(whole.finished), whole.saved) == (32, 0)
    flow = fold_flow(whole.events)
    assert sum(band.finished for column in flow.columns for band in column) == 32
    assert where_table(flow, whole).row_count == 2  # the same first steps in each wave


@pytest.mark.parametrize("strategy", ["rebase", "dora", "dvts", "beam", "temperature"])
def test_waves_work_with_every_strategy_in_the_bundled_world(strategy: str) -> None:
    fields: dict[str, Any] = {"world": "stories", "policy": "demonstrator", "reward": "dial(0.3,1)", "wave": 4}
    parts = find_parts(rollwise.Config.of(strategy=strategy, directions="state", budget=12, **fields))
    solution = run_to_end(Runner(parts).solve(parts.problems.problem(4, 1)))
    assert len(solution.finished) + solution.saved == 12
    assert {path.key[0] // 4 for path in solution.finished} <= {0, 1, 2}
    assert where_table(fold_flow(solution.events), solution).row_count
    assert search_svg(fold_flow(solution.events), "waves").startswith("<svg")
