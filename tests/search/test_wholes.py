"""Whole rollouts give the record of the same rollouts grown step by step; a deadline and an early stop cut them off."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollwise.core import Failure, Path, PathKey, PolicySession, Problem, Step, Stop, Usage
from rollwise.numerics import keyed_generator
from rollwise.search import Config, Limits, Runner, Solution, event_records
from rollwise.service import replay_search
from rollwise.service.records import plain_events

PROBLEM = Problem("one", "How many?")


class Keyed(PolicySession):
    """A policy and reward model of keyed numbers; a rollout takes `seconds[its number]`. It counts who asked what."""

    parameters, room, remarks, shows_hidden, lacks_logprobs = 0, 2048, (), False, None
    reads_certainty, states_concentration, at_once = False, False, 1

    def __init__(self, lost: Collection[int] = (), unscored: Collection[PathKey] = (), answer: str = "") -> None:
        self.lost, self.unscored, self.answer, self.usage = lost, unscored, answer, Usage()
        self.grows_whole, self.seconds = True, dict[int, float]()
        self.whole, self.ended, self.stepped = 0, list[int](), 0

    def open(self, *arguments: object) -> Keyed:
        return self

    def _step(self, path: Path) -> Step:
        ends = len(path.steps) == 4 or keyed_generator(path.key, "end").random() < 0.3
        answer = self.answer or str(path.key[0] % 3)
        return Step(f"\\boxed{{{answer}}}" if ends else f"{len(path.steps)}\n\n", 3, Stop.END if ends else Stop.STEP)

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        self.stepped += 1
        return [Failure("lost") if path.key[0] in self.lost else self._step(path) for path in paths]

    async def finish(self, path: Path) -> list[Step] | Failure:
        self.whole += 1
        await asyncio.sleep(self.seconds.get(path.key[0], 0.0))
        if path.key[0] in self.lost:
            return Failure("lost")
        steps, root = list[Step](), path.key[0]
        while not path.ended:
            steps.append(self._step(path.copy(0) if path.steps else path))
            path = (path.copy(0) if path.steps else path).grown(steps[-1])
        self.ended.append(root)
        return steps

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        unscored = Failure("unscored")
        return [unscored if path.key in self.unscored else keyed_generator(path.key, "r").random() for path in paths]

    def hidden(self, key: PathKey) -> Any:
        raise NotImplementedError

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass


def search(part: Keyed, deadline: float | None = None, **given: Any) -> Solution:
    options: dict[str, Any] = {"budget": 9, "strategy": "temperature", "stop_early": "never", "vote": "majority"}
    config = Config.of(policy=part, reward=part, world="text", **options | given)
    return asyncio.run(Runner(config).solve(PROBLEM, deadline=deadline))


def records(solution: Solution) -> list[dict[str, Any]]:
    return [{**event, "spans": None} for event in event_records(solution.events, {})]


def replayed(solution: Solution, **given: Any) -> list[int]:
    """The rounds in which the replay of the search's record differs."""
    limits = Limits(**{"budget": 9} | given)
    config: dict[str, Any] = {each.name: getattr(limits, each.name) for each in fields(Limits)}
    config |= {"strategy": "temperature", "options": {}}
    events, _ = plain_events(solution.events, True)
    record: dict[str, Any] = {"id": "x", "events": events, "question": "q", "seed": 0, "config": config}
    return replay_search(record)


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 8), max_size=3), st.integers(0, 8), st.sampled_from([None, 4]), st.integers(2, 9))
def test_the_record_is_that_of_the_same_rollouts_step_by_step(
    lost: set[int], unscored: int, wave: int | None, max_steps: int
) -> None:
    limits: dict[str, Any] = {"wave": wave, "max_steps": max_steps}
    one, other = (Keyed(lost, {(unscored,), (unscored, 0)}) for _ in range(2))
    whole, stepped = search(one, **limits), search(other, whole="never", **limits)
    assert (one.whole, one.stepped, other.whole) == (9, 0, 0)
    assert records(whole) == records(stepped)
    assert (whole.answer, whole.support, whole.failures) == (stepped.answer, stepped.support, stepped.failures)
    assert replayed(whole, **limits) == []


def test_a_deadline_lets_those_vote_that_have_ended_and_cancels_the_others() -> None:
    part = Keyed(lost={2})
    part.seconds = {1: 60.0, 4: 60.0, 7: 60.0}
    solution = search(part, deadline=4.0)
    assert solution.expired
    assert sorted(path.key[0] for path in solution.finished) == sorted(part.ended) == [0, 3, 5, 6, 8]
    assert solution.failures == ("lost",)
    assert solution.saved == 0
    assert solution.answer is not None
    assert replayed(solution) == []


def test_a_deadline_before_the_first_rollout_has_ended_finds_nothing() -> None:
    part = Keyed()
    part.seconds = dict.fromkeys(range(9), 60.0)
    solution = search(part, deadline=0.3)
    assert (solution.expired, solution.finished, solution.answer, part.ended) == (True, (), None, [])
    assert replayed(solution) == []


def test_a_decided_vote_cancels_the_rollouts_in_flight() -> None:
    part = Keyed(answer="7")
    part.seconds = {0: 60.0, 3: 60.0, 5: 60.0, 8: 60.0}
    solution = search(part, stop_early="lossless", whole="always")
    assert solution.answer == "7"
    assert sorted(path.key[0] for path in solution.finished) == sorted(part.ended) == [1, 2, 4, 6, 7]
    assert (solution.saved, solution.failures) == (4, ())
    assert replayed(solution) == []


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ({}, True),
        ({"stop_early": "lossless"}, False),
        ({"stop_early": "lossless", "budget": 1}, True),
        ({"strategy": "rebase"}, False),
        ({"constant_width": True}, False),
        ({"overlap": "never"}, False),
        ({"whole": "never"}, False),
    ],
)
def test_rollouts_are_whole_only_if_nothing_is_read_between_their_steps(given: dict[str, Any], whole: bool) -> None:
    part = Keyed()
    search(part, **given)
    assert (part.whole > 0, part.stepped == 0) == (whole, whole)


def test_a_policy_that_breaks_down_costs_its_rollout_and_a_short_one_counts_as_lost() -> None:
    class Breaks(Keyed):
        async def finish(self, path: Path) -> list[Step] | Failure:
            if path.key == (1,):
                raise OSError("gone")
            steps = await super().finish(path)
            return [Step("cut", 1, Stop.LENGTH)] if path.key == (2,) else steps

    solution = search(Breaks())
    assert sorted(solution.failures) == ["OSError: gone", "the policy ended the rollout before its end"]
    assert len(solution.finished) == 7
