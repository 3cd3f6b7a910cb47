"""Paths are scored and embedded while others grow: the same search as without, whatever comes when, and sooner."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from served import Emulator, emulated

from rollwise.allocation.strategies import STRATEGIES
from rollwise.core import Evidence, Failure, FloatArray, Path, PathKey, Problem, Sampling, Step, Stop, Usage
from rollwise.errors import InputError
from rollwise.numerics import keyed_generator
from rollwise.registry import find_policy, find_reward, find_world
from rollwise.rewards.functions import from_function
from rollwise.rewards.judge import Judge
from rollwise.rewards.sharing import Shared
from rollwise.search.config import Config
from rollwise.search.events import Failed, Grown, rounds
from rollwise.search.machine import Limits, Search
from rollwise.search.records import event_records
from rollwise.search.round import Grower
from rollwise.search.runner import Runner, run_to_end, solve
from rollwise.search.solution import Solution

torch.set_num_threads(1)

PROBLEM = Problem("one", "Use 2, 3, 4 to make 24")
Pause = Callable[[PathKey], int]


async def turns(count: int) -> None:
    """Let others have their turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


class Part:
    """A policy, reward model and direction finder of keyed numbers, each answer after `pause(key)` turns of others.

    `log` tells what was asked, `most` how many calls were open beside each other.
    """

    parameters, room, in_process = 0, 2048, False

    def __init__(self, pause: Pause, at_once: int = 1, lost: Collection[PathKey] = ()) -> None:
        self.pause, self.at_once, self.lost, self.usage = pause, at_once, lost, Usage()
        self.log: list[list[PathKey]] = []
        self.open_calls = self.most = 0

    def open(self, *arguments: object) -> Part:
        return self

    async def as_grown(self, paths: Sequence[Path]) -> AsyncIterator[tuple[Path, Step | Failure]]:
        for path in sorted(paths, key=lambda path: (self.pause(path.key), path.key)):
            await turns(self.pause(path.key))
            yield path, self._step(path)

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        return [self._step(path) for path in paths]

    def _step(self, path: Path) -> Step | Failure:
        if path.key in self.lost:
            return Failure("lost")
        ends = len(path.steps) == 2 or keyed_generator(path.key, "end").random() < 0.2
        return Step(f"{len(path.steps)}-{path.key[0] % 3}\n\n", 3, Stop.END if ends else Stop.STEP)

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        await self._asked(paths)
        return [
            Failure("unscored") if path.key in self.lost else float(keyed_generator(path.key, "reward").random())
            for path in paths
        ]

    async def find(self, paths: Sequence[Path]) -> list[Evidence]:
        await self._asked(paths)
        return [Evidence(embedding=np.array([1.0 + path.key[0] % 3, 1.0, path.key[-1]])) for path in paths]

    async def _asked(self, paths: Sequence[Path]) -> None:
        self.log.append([path.key for path in paths])
        self.open_calls += 1
        self.most = max(self.most, self.open_calls)
        await turns(self.pause(paths[0].key))
        self.open_calls -= 1

    def hidden(self, key: PathKey) -> FloatArray:
        raise NotImplementedError

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass


def search(policy: Any, reward: Any, finder: Any = "text", **fields: Any) -> Solution:
    return solve(PROBLEM, policy=policy, reward=reward, directions=finder, world="text", **{"budget": 12} | fields)


def records(solution: Solution) -> list[dict[str, Any]]:
    """The events as plain values, without when they were."""
    return [{**event, "spans": None} for event in event_records(solution.events, {})]


@settings(max_examples=15)
@given(st.lists(st.integers(0, 6), min_size=7, max_size=7), st.integers(1, 3), st.integers(0, 2), st.integers(0, 11))
def test_the_search_is_the_same_whatever_comes_when(pauses: list[int], scorers: int, embedders: int, lost: int) -> None:
    def pause(key: PathKey) -> int:
        return pauses[sum(key) % 7]

    def parts(calls: int = 0) -> tuple[Part, Part, Part]:
        policy, reward = Part(pause, lost={(lost,)}), Part(pause, scorers, {((lost + 1) % 12,)})
        return policy, reward, Part(pause, embedders)

    policy, reward, finder = parts()
    plain = records(search(policy, reward, finder, overlap="never"))
    assert len(reward.log) == max(event["round"] for event in plain) + 1
    policy, reward, finder = parts()
    assert records(search(policy, reward, finder)) == plain
    scored = [key for keys in reward.log for key in keys]
    assert len(scored) == len(set(scored)) == sum(event["event"] == "grown" for event in plain) + 1
    assert reward.most <= scorers
    assert finder.most <= max(1, embedders)


def test_only_what_waits_is_taken_and_all_of_it() -> None:
    reward = Part(lambda key: 40)
    search(Part(lambda key: 10), reward, strategy="rebase", max_steps=1)
    sizes = [len(keys) for keys in reward.log]
    assert sum(sizes) == 12
    assert sizes[0] == 1
    assert all(2 <= size < 11 for size in sizes[1:-1])
    whole = Part(lambda key: 40, at_once=0)
    search(Part(lambda key: 10), whole, strategy="rebase", max_steps=1)
    assert [len(keys) for keys in whole.log] == [12]


class Waits(Part):
    """A policy whose last path grows only when the first has been scored."""

    def __init__(self) -> None:
        super().__init__(lambda key: 0)
        self.scored = asyncio.Event()

    async def as_grown(self, paths: Sequence[Path]) -> AsyncIterator[tuple[Path, Step | Failure]]:
        for path in paths:
            if path is paths[-1]:
                await asyncio.wait_for(self.scored.wait(), 20)
            yield path, Step("over", 1, Stop.END)

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        if any(path.key == (0,) for path in paths):
            self.scored.set()
        return [0.5] * len(paths)


def test_scoring_begins_before_the_last_path_has_grown_and_the_events_say_so() -> None:
    part = Waits()
    solution = search(part, part, budget=4)
    assert len(solution.finished) == 4
    (only,) = rounds(solution.events)
    generating, scoring = only.span("generating"), only.span("scoring")
    assert generating is not None
    assert scoring is not None
    assert scoring[0] < generating[1]
    assert only.span("embedding") is None
    told = event_records(solution.events, {})[0]["spans"]
    assert told["generating"] == pytest.approx(only.grown[0].spans["generating"], abs=1e-6)
    assert told["scoring"][0] >= told["generating"][1]


class Loses(Part):
    """A part that loses path 0 as it grows, 3 as it is scored, 2 as it is embedded. Path 1 ends and is not embedded."""

    async def find(self, paths: Sequence[Path]) -> list[Any]:
        found = await super().find(paths)
        return [Failure("lost") if path.key == (2,) else one for path, one in zip(paths, found, strict=True)]


@pytest.mark.parametrize("overlap", ["auto", "never"])
def test_a_loss_says_what_was_done_before_it_and_when_it_came(overlap: str) -> None:
    ticks = itertools.count()
    parts = Loses(lambda key: 0, lost={(0,)}), Loses(lambda key: 1, lost={(3,)}), Loses(lambda key: 2)

    async def growing() -> Search:
        search = Search(PROBLEM, STRATEGIES["temperature"].bind(None), Limits(4))
        await Grower(*parts, overlap=overlap, clock=lambda: float(next(ticks))).round(search)  # type: ignore[arg-type]
        return search

    (happened,) = rounds(asyncio.run(growing()).events)
    named = {event.path: list(event.spans) for event in happened.failed}
    every = ["generating", "scoring", "embedding"]
    assert named == {(0,): every[:1], (2,): every, (3,): every}
    assert [list(event.spans) for event in happened.grown] == [every[:2]]
    events: list[Grown | Failed] = [*happened.failed, *happened.grown]
    for event in events:
        starts, ends = zip(*event.spans.values(), strict=True)
        assert all(start < end for start, end in zip(starts, ends, strict=True))
        assert all(start >= ends[0] for start in starts[1:])
    assert happened.span("generating") == (0.0, max(event.spans["generating"][1] for event in events))
    for loss, told in zip(happened.failed, event_records(happened.failed, {}), strict=True):
        assert json.loads(json.dumps(told))["spans"] == {name: list(span) for name, span in loss.spans.items()}


def test_equal_losses_may_differ_in_when_they_came() -> None:
    early, late = (Failed(0, (1,), "lost", {"generating": (at, at + 1.0)}) for at in (0.0, 5.0))
    assert early == late == Failed(0, (1,), "lost")
    assert event_records([Failed(0, (1,), "lost")], {}) == [
        {"event": "failed", "round": 0, "path": "1", "reason": "lost"}
    ]


@pytest.mark.parametrize(
    ("apart", "overlap", "calls"),
    [(True, "auto", 12), (False, "auto", 1), (False, "always", 12), (True, "never", 1)],
)
def test_two_models_of_one_process_take_turns_unless_told(apart: bool, overlap: str, calls: int) -> None:
    policy, reward = Part(lambda key: 3), Part(lambda key: 0)
    policy.in_process, reward.in_process = True, not apart
    search(policy, reward, overlap=overlap, max_steps=1)
    assert len(reward.log) == calls


class Breaks(Part):
    """A reward model that raises where it is asked about a certain path."""

    def __init__(self, error: Exception) -> None:
        super().__init__(lambda key: 0)
        self.error = error

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        if any(path.key == (3,) for path in paths):
            raise self.error
        return await super().score(paths)


def test_a_call_that_breaks_down_costs_its_own_paths_only() -> None:
    solution = search(Part(lambda key: 3), Breaks(OSError("gone")), strategy="temperature")
    assert solution.failures == ("OSError: gone",)
    assert len(solution.finished) == 11


class Endless(Part):
    """A policy that never tells its last step; `left` is how many iterations were given up."""

    left = 0

    async def as_grown(self, paths: Sequence[Path]) -> AsyncIterator[tuple[Path, Step | Failure]]:
        try:
            for path in paths[:-1]:
                yield path, self._step(path)
            await asyncio.sleep(3600)
        finally:
            self.left += 1


async def test_who_gives_up_leaves_nothing_running() -> None:
    policy, reward = Endless(lambda key: 0), Part(lambda key: 1 << 30)
    runner = Runner(Config.of(policy=policy, reward=reward, directions="text", world="text", budget=4))
    solving = asyncio.ensure_future(runner.solve(PROBLEM))
    while not reward.open_calls:
        await asyncio.sleep(0)
    solving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await solving
    assert policy.left == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_reward_model_that_is_wrongly_configured_ends_the_question() -> None:
    with pytest.raises(InputError, match="a key"):
        search(Part(lambda key: 2), Breaks(InputError("the server needs a key")))


class Forgets(Part):
    """A policy that tells of one path twice, of another never, and of one that nobody asked about."""

    async def as_grown(self, paths: Sequence[Path]) -> AsyncIterator[tuple[Path, Step | Failure]]:
        for path in [paths[0], Path((99,)), *paths[:-1]]:
            yield path, Step("over", 1, Stop.END)


def test_a_policy_that_forgets_a_path_loses_it() -> None:
    solution = search(Forgets(lambda key: 0), Part(lambda key: 0), budget=4)
    assert solution.failures == ("the policy returned no step for this path",)
    assert len(solution.finished) == 3


def test_the_local_models_search_the_same_trees_and_read_no_token_more() -> None:
    parts = {
        "policy": find_policy("trained", "countdown", "float64"),
        "reward": find_reward("trained", "countdown", "float64"),
    }
    problem = find_world("countdown").problem(5, 1)
    plain = solve(problem, budget=16, overlap="never", **parts)
    early = solve(problem, budget=16, overlap="always", **parts)
    assert early.ledger.usage["reward"].calls >= plain.ledger.usage["reward"].calls
    for role in ("policy", "reward"):
        one, other = plain.ledger.usage[role], early.ledger.usage[role]
        assert (one.generated, one.prefilled, one.cached) == (other.generated, other.prefilled, other.cached)
    for before, after in zip(records(plain), records(early), strict=True):
        (exact, numbers), (other_exact, other_numbers) = parted(before), parted(after)
        assert exact == other_exact
        for name, value in numbers.items():
            assert other_numbers[name] == pytest.approx(value, abs=1e-9), name


def parted(event: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of an event is exact, and what a sum in another order may change in the last digits."""
    inexact = ("reward", "rewards", "logprob", "weights", "uniqueness")
    numbers: dict[str, Any] = {name: event[name] for name in inexact if name in event}
    if belief := event.get("belief"):
        numbers["mean"] = belief["mean"]
    return {name: value for name, value in event.items() if name not in {*numbers, "belief"}}, numbers


def test_equal_questions_are_asked_once_until_they_are_forgotten() -> None:
    asked: list[str] = []

    async def ask(question: str) -> int:
        asked.append(question)
        await asyncio.sleep(0)
        if question == "bad":
            raise ValueError(question)
        return len(question)

    async def run() -> None:
        shared = Shared(ask)
        assert await asyncio.gather(*map(shared.get, ["a", "bb", "a"])) == [1, 2, 1]
        assert await shared.get("bb") == 2
        assert asked == ["a", "bb"]
        shared.forget()
        assert await shared.get("bb") == 2
        assert asked == ["a", "bb", "bb"]
        found = await asyncio.gather(shared.get("bad"), shared.get("bad"), return_exceptions=True)
        assert [type(error) for error in found] == [ValueError, ValueError]
        impatient, patient = (asyncio.ensure_future(shared.get("ccc")) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        assert await patient == 3
        await shared.close()

    asyncio.run(run())


def says(prompt: str, seed: int, limit: int, temperature: float) -> tuple[str, bool]:
    """A whole solution in one step, another for each seed."""
    return f"\\boxed{{{seed}}}", True


@pytest.mark.parametrize("slow", ["judge", "function"])
def test_a_slow_policy_and_a_slow_reward_take_about_as_long_as_the_slower_one(slow: str) -> None:
    count, pause = 8, 0.15

    def sleeps(problem: Problem, solutions: list[list[str]]) -> list[float]:
        time.sleep(pause / 2 * len(solutions))
        return [0.5] * len(solutions)

    longest = count * pause / 2  # the policy takes two at a time, the reward one in half the time

    def sooner(server: Emulator) -> bool:
        took: dict[str, float] = {}
        early: dict[str, bool] = {}
        for overlap in ("never", "auto"):
            reward = Judge(server.url, concurrency=1) if slow == "judge" else from_function(sleeps)
            fields = {"budget": count, "concurrency": 2, "strategy": "temperature", "overlap": overlap}
            config = Config.of(policy=server.url, reward=reward, **fields)
            (only,) = rounds(run_to_end(Runner(config).solve(Problem("one", "What is 1 + 1?"))).events)
            generating, scoring = only.span("generating"), only.span("scoring")
            assert generating is not None
            assert scoring is not None
            assert len(only.grown) == count
            took[overlap] = scoring[1] - generating[0]
            early[overlap] = scoring[0] < generating[1]
        assert not early["never"]
        assert took["never"] > 2 * longest
        return early["auto"] and took["auto"] - longest < 0.6 * (took["never"] - longest)

    with emulated("sglang", seconds=pause, says=says, judges=pause / 2) as server:
        assert any(sooner(server) for _ in range(5)), "a busy machine delays one, not all"


def test_a_local_policy_tells_each_step_as_it_is_done() -> None:
    policy = find_policy("trained", "countdown", "float64")
    problem = find_world("countdown").problem(5, 2)
    sampling, paths = Sampling(2.5, max_step_tokens=40, seed=3), [Path((index,)) for index in range(12)]

    async def both() -> tuple[list[Any], list[tuple[Path, Any]]]:
        session = policy.open(problem, sampling)
        whole = await session.extend(paths)
        again: Any = policy.open(problem, sampling)
        return whole, [each async for each in again.as_grown(paths)]

    whole, told = asyncio.run(both())
    assert {path.key for path, _ in told} == {path.key for path in paths}
    steps = {path.key: step for path, step in told}
    assert [steps[path.key].text for path in paths] == [step.text for step in whole]
    lengths = [step.tokens for _, step in told]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 1
