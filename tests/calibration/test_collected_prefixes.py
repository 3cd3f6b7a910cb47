"""Completed prefixes of a policy whose chances are all known."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Sequence
from pathlib import Path as FilePath
from typing import Any

import pytest

from rollwise.calibration.prefixes import collect_prefixes, complete_prefixes, load_prefixes
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
)
from rollwise.errors import InputError
from rollwise.numerics import keyed_generator
from rollwise.worlds.countdown import Countdown

WORLD = Countdown()
PROBLEM = WORLD.parse("Use 3, 4, 5 to make 17")
GOOD, BAD = "3 × 4 = 12, left: 5 12\n\n", "4 + 5 = 9, left: 3 9\n\n"
NEXT = {
    "": [(0.5, GOOD), (0.5, BAD)],
    GOOD: [(0.75, "5 + 12 = 17, left: 17\n\n"), (0.25, "12 − 5 = 7, left: 7\n\n")],
    BAD: [(1.0, "3 + 9 = 12, left: 12\n\n")],
}
ANSWERS = {"17": "5 + 3 × 4", "7": "3 × 4 − 5", "12": "3 + (4 + 5)"}


class Scripted(Policy, PolicySession):
    """A policy that draws each step from a table, and is its own session."""

    parameters = 0
    room = 100

    def __init__(self) -> None:
        self.usage = Usage()
        self.steps = 0

    def open(self, problem: Problem, sampling: Sampling) -> Scripted:
        return self

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        self.steps += len(paths)
        return [self._grow(path) for path in paths]

    def _grow(self, path: Path) -> Step:
        draw = keyed_generator("scripted", path.key).random()
        for chance, text in NEXT.get(path.text, []):
            draw -= chance
            if draw < 0:
                return Step(text, 5, Stop.STEP)
        left = path.text.rstrip().rpartition(" ")[2]
        return Step(f"Answer: \\boxed{{{ANSWERS[left]}}}", 5, Stop.END)

    def hidden(self, key: PathKey) -> FloatArray:
        raise NotImplementedError

    def retain(self, keys: Collection[PathKey]) -> None: ...

    async def close(self) -> None: ...


def test_completions_estimate_the_worth_of_a_prefix() -> None:
    everything = asyncio.run(complete_prefixes(WORLD, Scripted(), PROBLEM, 40, 400, Sampling()))
    found = [prefix for prefix in everything if not prefix.ended]
    by_text = {"".join(prefix.steps): prefix for prefix in found}
    assert len(by_text) == len(found) == 5
    for depth in (1, 2):
        assert sum(prefix.size for prefix in found if prefix.depth == depth) == 40
    good = by_text[GOOD]
    assert abs(good.right - 300) < 4 * (400 * 0.75 * 0.25) ** 0.5
    assert by_text[GOOD + NEXT[GOOD][0][1]].right == good.completions == 400
    assert by_text[BAD].right == by_text[GOOD + NEXT[GOOD][1][1]].right == 0
    assert good.valid
    assert good.reachable
    assert by_text[BAD].valid
    assert not by_text[BAD].reachable
    assert good.state == repr(WORLD.state(PROBLEM, [GOOD.strip()]))
    finished = {prefix.steps[:-1]: prefix for prefix in everything if prefix.ended}
    assert set(finished) == {prefix.steps for prefix in found if prefix.depth == 2}
    for steps, whole in finished.items():
        assert (whole.completions, whole.depth, whole.size) == (1, 3, by_text["".join(steps)].size)
        assert whole.worth == whole.right == by_text["".join(steps)].worth
        assert whole.reachable == bool(whole.right)


def test_completions_do_not_repeat_the_samples_they_start_from() -> None:
    def prefixes(count: int) -> dict[tuple[str, ...], int]:
        found = asyncio.run(complete_prefixes(WORLD, Scripted(), PROBLEM, count, 50, Sampling()))
        return {prefix.steps: prefix.right for prefix in found}

    few, many = prefixes(20), prefixes(40)
    assert few == {steps: many[steps] for steps in few}
    assert 0 < few[GOOD,] < 50


class Hashes(Scripted):
    """The same policy, with its answers after #### instead of in boxes."""

    def _grow(self, path: Path) -> Step:
        step = super()._grow(path)
        return Step(step.text.replace("Answer: \\boxed{", "#### ").rstrip("}"), step.tokens, step.stop)


def test_completions_are_judged_in_the_form_of_their_answers() -> None:
    def rights(policy: Policy, form: str) -> list[int]:
        found = asyncio.run(complete_prefixes(WORLD, policy, PROBLEM, 10, 20, Sampling(), form))
        return [prefix.right for prefix in found]

    boxed = rights(Scripted(), "boxed")
    assert any(boxed)
    assert rights(Hashes(), "gsm8k") == rights(Hashes(), "auto") == boxed
    assert not any(rights(Hashes(), "boxed"))


def test_prefixes_that_a_file_holds_are_not_made_again(tmp_path: FilePath) -> None:
    policy, file = Scripted(), tmp_path / "prefixes.jsonl"

    def collect(questions: Sequence[str]) -> None:
        problems = [Problem(question, question, "17", WORLD.name, 1) for question in questions]
        collect_prefixes(WORLD, policy, problems, 4, 3, Sampling(), file, lambda done, total: None)

    first = PROBLEM.question
    collect([first])
    spent = policy.steps
    collect([first])
    assert policy.steps == spent
    collect([first, first.replace("3, 4, 5", "5, 4, 3")])
    loaded = dict(load_prefixes(file))
    assert len(loaded) == 2
    for prefixes in loaded.values():
        assert all(prefix.completions == (1 if prefix.ended else 3) for prefix in prefixes)
        assert {prefix.ended for prefix in prefixes} == {False, True}


def test_a_file_of_prefixes_with_other_settings_is_refused(tmp_path: FilePath) -> None:
    policy, file = Scripted(), tmp_path / "prefixes.jsonl"

    def collect(world: Any, paths: int = 4, completions: int = 3, temperature: float = 0.8, name: str = "") -> None:
        sampling = Sampling(temperature)
        collect_prefixes(world, policy, [PROBLEM], paths, completions, sampling, file, lambda done, total: None, name)

    collect(WORLD)
    before = file.read_bytes()
    other = Countdown()
    other.name = "another"
    changes: list[tuple[str, dict[str, Any]]] = [
        ("paths", {"paths": 5}),
        ("completions", {"completions": 9}),
        ("temperature", {"temperature": 0.1}),
        ("policy", {"name": "large"}),
    ]
    for setting, change in changes:
        with pytest.raises(InputError, match=f"made with other settings: {setting} was"):
            collect(WORLD, **change)
    with pytest.raises(InputError, match="made with other settings: world was countdown and is now another"):
        collect(other)
    collect(WORLD)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"max_tokens": 0}]
)
def test_sampling_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Sampling(**wrong)


def test_a_file_with_other_fields_is_refused(tmp_path: FilePath) -> None:
    file = tmp_path / "prefixes.jsonl"
    problem = {"id": "1", "question": "2 + 2?"}
    file.write_text(json.dumps({"problem": problem, "prefixes": [{"steps": ["a"], "wins": 1}]}) + "\n")
    with pytest.raises(InputError, match=r"completions.*right"):
        list(load_prefixes(file))
    record = {"steps": ["a"], "size": 1, "state": "", "valid": True, "reachable": True, "ended": False}
    for counts in ({"right": 2, "completions": 1}, {"right": 0, "completions": 0}, {"right": -1, "completions": 4}):
        file.write_text(json.dumps({"problem": problem, "prefixes": [record | counts]}) + "\n")
        with pytest.raises(InputError, match="at least 1 completion"):
            list(load_prefixes(file))


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"problem": {"name": "a"}, "prefixes": []}', '{"problem": {}}'])
def test_a_line_that_holds_no_record_is_refused(tmp_path: FilePath, line: str) -> None:
    file = tmp_path / "prefixes.jsonl"
    file.write_text(f"{line}\n")
    with pytest.raises(InputError, match="line 1 is not a JSON object with a problem and its prefixes"):
        list(load_prefixes(file))
