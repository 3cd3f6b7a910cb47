"""The bundled policy behind `rollwise serve-model`, compared with the same policy in this process."""

import asyncio
import math
import time
from collections.abc import Iterator

import numpy as np
import pytest
from walking import walk

import rollwise
from rollwise.core import Failure, Path, Sampling, Step
from rollwise.engines.http.client import Patience
from rollwise.engines.http.policy import HttpPolicy
from rollwise.engines.http.probing import probe
from rollwise.engines.http.servers import addresses
from rollwise.engines.local.policy import LocalPolicy
from rollwise.names import bundled
from rollwise.registry import find_world
from rollwise.rewards.confidence import Confidence
from rollwise.search.config import Config
from rollwise.search.runner import Runner
from rollwise.testing import FAULTS, faulty

pytest.importorskip("uvicorn", reason="pip install 'rollwise[serve]'")

WORLD = find_world("countdown")
GREEDY = Sampling(temperature=0, max_step_tokens=64, max_tokens=200)
FAST = Patience(first=0.01, longest=0.1)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The bundled policy in float64, so that the other rows of a batch change nothing."""
    from rollwise.model_server.run import Choice, load_models, running

    with running(load_models(Choice(reward="none", dtype="float64", rows=32))) as url:
        yield url


@pytest.fixture(scope="module")
def local() -> LocalPolicy:
    return LocalPolicy.load(bundled("countdown", "policy"), WORLD.separator, "float64", rows=32)


def test_greedy_paths_are_those_of_the_policy_in_this_process(server: str, local: LocalPolicy) -> None:
    served = HttpPolicy(server)
    assert served.server.by_ids
    assert served.server.stopping == "field"
    for seed in range(2):
        problem = WORLD.problem(1 + seed, seed)
        here = asyncio.run(walk(local, problem, GREEDY))
        there = asyncio.run(walk(served, problem, GREEDY))
        assert [step.text for step in there.steps] == [step.text for step in here.steps]
        assert [step.stop for step in there.steps] == [step.stop for step in here.steps]
        assert [step.tokens for step in there.steps] == [step.tokens for step in here.steps]
        assert [step.ids for step in there.steps] == [step.ids for step in here.steps]
        np.testing.assert_allclose(
            [step.logprob for step in there.steps], [step.logprob for step in here.steps], atol=1e-6
        )


@pytest.mark.parametrize("rule", ["sentence", "tokens(7)"])
def test_step_rules_split_served_and_local_texts_alike(server: str, local: LocalPolicy, rule: str) -> None:
    problem = WORLD.problem(2, 1)
    own = rollwise.registry.find_policy("trained", "countdown", "float64", step_rule=rule)
    here = asyncio.run(walk(own, problem, GREEDY, 60))
    there = asyncio.run(walk(HttpPolicy(server, rule), problem, GREEDY, 60))
    whole = asyncio.run(walk(local, problem, GREEDY))
    assert [(step.text, step.stop) for step in there.steps] == [(step.text, step.stop) for step in here.steps]
    assert there.text == whole.text


def test_certainty_is_computed_from_the_policys_distribution(server: str, local: LocalPolicy) -> None:
    problem = WORLD.problem(2, 3)
    served = HttpPolicy(server)
    step = asyncio.run(walk(served, problem, GREEDY, 1)).steps[0]
    import torch

    ids = [*local.prompt_tokens(problem), *step.ids]
    with torch.inference_mode():
        logits = local.model(input_ids=torch.tensor([ids])).logits[0, -len(step.ids) - 1 : -1]
    likeliest = torch.log_softmax(logits, -1).topk(5).values.clamp(min=-100)
    values = -likeliest.mean(-1) - math.log(5)
    assert step.certainty == pytest.approx(float(values.mean()), abs=1e-6)


def test_the_ledger_of_a_search_equals_the_counts_of_the_server(server: str) -> None:
    solution = rollwise.solve(
        WORLD.problem(2, 0), "rebase", 8, policy=server, world="countdown", max_step_tokens=64, max_tokens=200
    )
    assert len(solution.finished) + len(solution.failures) == 8
    ledger = solution.ledger.usage["policy"]
    grown = [event.step for event in solution.events if isinstance(event, rollwise.search.events.Grown)]
    assert ledger.generated == sum(step.tokens for step in grown)
    assert ledger.cached > 0
    again = rollwise.solve(
        WORLD.problem(2, 0), "rebase", 8, policy=server, world="countdown", max_step_tokens=64, max_tokens=200
    )
    assert sorted(path.text for path in again.finished) == sorted(path.text for path in solution.finished)


def test_a_search_is_the_same_if_copies_share_a_request_or_not(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> tuple[list[str], rollwise.Solution]:
        limits = {"max_step_tokens": 64, "max_tokens": 200}
        solution = rollwise.solve(
            WORLD.problem(3, 1),
            "beam",
            8,
            policy=server,
            reward="dial(0.1)",
            directions="text",
            world="countdown",
            **limits,
        )
        return sorted(path.text for path in solution.finished), solution

    together, solution = found()
    monkeypatch.setattr("rollwise.engines.http.policy.can_grow_copies", lambda _: False)
    alone, other = found()
    assert together == alone
    shared, separate = solution.ledger.usage["policy"], other.ledger.usage["policy"]
    assert shared.generated == separate.generated
    assert shared.calls < separate.calls
    assert shared.prefilled + shared.cached < separate.prefilled + separate.cached


def test_directions_from_the_servers_own_embedder(server: str) -> None:
    solution = rollwise.solve(
        WORLD.problem(1, 0), "dora", 4, policy=server, world="countdown", directions=server, max_tokens=120
    )
    assert solution.failures == ()
    assert solution.ledger.usage["embedder"].prefilled > 0


def test_every_search_finishes_if_a_tenth_of_the_exchanges_breaks(server: str) -> None:
    with faulty(server, 0.1) as proxy:
        policy = HttpPolicy(proxy.url, patience=FAST)
        reward = Confidence()
        config = Config.of(
            policy=policy,
            world="countdown",
            reward=reward,
            directions="text",
            budget=6,
            max_tokens=120,
            max_step_tokens=40,
        )
        runner = Runner(config)

        async def all_of_them() -> list[rollwise.Solution]:
            return await asyncio.gather(*(runner.solve(WORLD.problem(1, seed)) for seed in range(5)))

        solutions = asyncio.run(all_of_them())
    assert set(proxy.outcomes) == {"passed", *FAULTS}
    assert all(len(solution.finished) + len(solution.failures) == 6 for solution in solutions)
    assert sum(len(solution.failures) for solution in solutions) == 0


def test_closing_a_session_stops_the_server(server: str) -> None:
    import httpx

    policy = HttpPolicy(server, "separator(#####)")

    def busy() -> int:
        info = httpx.get(f"{server}/server_info", trust_env=False, timeout=60).json()["policy"]
        return int(info["running"]) + int(info["waiting"])

    async def interrupted() -> int:
        session = policy.open(WORLD.problem(5, 0), Sampling(temperature=5.0, max_step_tokens=400))
        await session.prepare()
        growing = asyncio.ensure_future(session.extend([Path((index,)) for index in range(8)]))
        for _ in range(200):
            await asyncio.sleep(0.005)
            if most := await asyncio.to_thread(busy):
                break
        await session.close()
        assert all(isinstance(result, Failure | Step) for result in await growing)
        return most

    assert asyncio.run(interrupted()) > 0
    deadline = time.monotonic() + 120
    while busy() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert busy() == 0


def test_a_thorough_probe_of_the_real_server(server: str) -> None:
    found = probe(addresses(server)[0], thorough=True)
    assert (found.kind, found.by_ids, found.template, found.logprobs) == ("rollwise", True, "tokenize", 5)
    assert found.n is True
    assert found.cached is True
    assert found.seed is not False
