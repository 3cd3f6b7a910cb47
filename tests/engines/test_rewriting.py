"""Rewritten steps: the policy reads them before it goes on, whatever it keeps in its caches."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollwise.core import Failure, Path, Policy, Problem, Sampling, Step, Stop, Usage, completed
from rollwise.directions.finders import HiddenStates
from rollwise.engines import RewritingPolicy, with_stops
from rollwise.registry import find_policy, find_world
from rollwise.report import account_of, round_line, search_html
from rollwise.search import Config, Grown, Runner, event_records, read_events, rounds, run_to_end
from rollwise.search.calculator import with_calculator
from rollwise.service.records import plain_events
from rollwise.testing import check_directions, check_policy, demonstration_cases

GAME = find_world("countdown")
PROBLEMS = [GAME.problem(level, 3) for level in (1, 2)]


def swapped(problem: Problem, path: Path, step: Step) -> Step:
    """The step with other digits."""
    text = step.text.translate(str.maketrans("123456", "654321"))
    return step if text == step.text else replace(step, text=text, ids=())


@pytest.fixture(scope="module")
def policy() -> Policy:
    return find_policy("trained", "countdown", "float64")


def test_a_rewriting_policy_keeps_the_contract(policy: Policy) -> None:
    """The kit grows each path with its caches kept and dropped: both must go on from the text as it was rewritten."""
    check_policy(RewritingPolicy(policy, swapped), PROBLEMS, Sampling(1.0, max_step_tokens=24), paths=3, rounds=3)


def test_hidden_states_are_those_of_the_rewritten_text(policy: Policy) -> None:
    check_directions(HiddenStates(), demonstration_cases(problems=1), RewritingPolicy(policy, swapped))


async def grown(policy: Policy, path: Path) -> tuple[Step | Failure, list[float]]:
    session = policy.open(PROBLEMS[0], Sampling(1.0))
    (step,) = await session.extend([path])
    hidden = list(session.hidden(path.key)) if isinstance(step, Step) else []
    await session.close()
    return step, hidden


def test_the_hidden_state_of_a_rewritten_step_is_read_from_its_text(policy: Policy) -> None:
    step, hidden = run_to_end(grown(RewritingPolicy(policy, swapped), Path((0,))))
    plain, other = run_to_end(grown(policy, Path((0,))))
    assert isinstance(step, Step)
    assert isinstance(plain, Step)
    assert step.text == swapped(PROBLEMS[0], Path((0,)), plain).text != plain.text
    assert hidden != pytest.approx(other)

    async def read() -> list[float]:
        session = policy.open(PROBLEMS[0], Sampling(1.0))
        path = Path((0,), (step,))
        await session.reread([path])
        return list(session.hidden(path.key))

    assert hidden == pytest.approx(run_to_end(read()))


class Stubborn:
    """A policy that writes the same step again and again."""

    def __init__(self, text: str) -> None:
        self.text, self.parameters = text, 0

    def open(self, problem: Problem, sampling: Sampling) -> Stubborn:
        self.usage, self.room = Usage(), 1000
        return self

    async def extend(self, paths: list[Path]) -> list[Step]:
        self.usage.generated += 9 * len(paths)
        return [Step(self.text, 9, Stop.STEP if len(path.steps) < 1 else Stop.END, ids=(1, 2)) for path in paths]

    def hidden(self, key: tuple[int, ...]) -> object:
        raise NotImplementedError

    def retain(self, keys: object) -> None:
        return

    async def close(self) -> None:
        return


def test_the_calculator_puts_sums_right_and_leaves_other_steps() -> None:
    async def steps(text: str) -> list[Step | Failure]:
        session = with_calculator(find_own(text)).open(Problem("q", "What is 7*8?"), Sampling())
        return await session.extend([Path((0,))])

    (wrong,) = run_to_end(steps("7*8 = 54. \\boxed{54}\n\n"))
    assert isinstance(wrong, Step)
    assert (wrong.text, wrong.ids, wrong.tokens) == ("7*8 = 56. \\boxed{56}\n\n", (), 9)
    assert wrong.wrote == "7*8 = 54. \\boxed{54}\n\n"
    (right,) = run_to_end(steps("7*8 = 56\n\n"))
    assert isinstance(right, Step)
    assert (right.ids, right.wrote) == ((1, 2), None)


def find_own(text: str) -> Policy:
    return completed(Stubborn(text), Policy)


def test_a_search_with_the_calculator_elects_the_right_result() -> None:
    config = {"world": "text", "strategy": "temperature", "budget": 2, "reward": "sums"}
    found = Runner(Config.of(**config, policy=Stubborn("7*8 = 54. \\boxed{54}\n\n"), calculator=True))
    solution = run_to_end(found.solve(found.parts.parse("What is 7*8?")))
    assert solution.answer == "56"
    records = event_records(solution.events, {})
    assert [record["wrote"] for record in records if record["event"] == "grown"] == ["7*8 = 54. \\boxed{54}\n\n"] * 4
    assert [event.step.wrote for event in read_events(records) if isinstance(event, Grown)] == [
        event.step.wrote for event in solution.events if isinstance(event, Grown)
    ]
    kept, _ = plain_events(solution.events, keep_text=False)
    assert all(record["wrote"].startswith("sha256:") for record in kept if record["event"] == "grown")
    page = search_html(account_of(solution, found.parts))
    assert "Put right. The model wrote:" in page
    assert round_line(rounds(solution.events)[0]).plain.count("2 put right") == 1
    plain = Runner(Config.of(**config, policy=Stubborn("7*8 = 54. \\boxed{54}\n\n")))
    assert run_to_end(plain.solve(plain.parts.parse("What is 7*8?"))).answer == "54"


def test_a_stop_string_ends_the_text(policy: Policy) -> None:
    step, _ = run_to_end(grown_with_stop(policy))
    assert isinstance(step, Step)
    assert step.stop is Stop.END
    assert "=" not in step.text


async def grown_with_stop(policy: Policy) -> tuple[Step | Failure, None]:
    session = with_stops(policy, ["="]).open(PROBLEMS[0], Sampling(1.0))
    (step,) = await session.extend([Path((0,))])
    await session.close()
    return step, None
