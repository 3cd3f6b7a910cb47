"""The bundled policy behind a real llama.cpp server, compared with the same policy in this process.

Set ROLLWISE_LLAMACPP to the llama-server executable (docs/servers.md says how to build it), or to the URL of a running
server that holds the bundled policy of the numbers game:

    rollwise world export countdown --out countdown.gguf
    llama-server -m countdown.gguf -np 16 --kv-unified -c 8192 -t 1 --metrics --port 8152
"""

import asyncio
import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from llama_server import CLIENT, assert_greedy, assert_logprobs, logits, posted, serving
from typer.testing import CliRunner
from walking import walk

import rollwise
from rollwise.cli import build_app
from rollwise.core import Failure, Path, Sampling, Stop
from rollwise.engines.http.policy import HttpPolicy
from rollwise.engines.http.probing import probe
from rollwise.engines.http.replies import read_reply
from rollwise.engines.http.servers import addresses, completion_body
from rollwise.engines.local.policy import LocalPolicy
from rollwise.names import bundled
from rollwise.registry import find_world

GIVEN = os.environ.get("ROLLWISE_LLAMACPP", "")
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not GIVEN, reason="set ROLLWISE_LLAMACPP to a llama-server executable or to its server's URL"),
]
WORLD = find_world("countdown")
GREEDY = Sampling(temperature=0, max_step_tokens=64, max_tokens=200)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if GIVEN.startswith("http"):
        yield GIVEN.rstrip("/")
        return
    options = "-m {model} -np 16 --kv-unified -c 8192 -t 1 --metrics --host 127.0.0.1 --port {port}"
    with serving([GIVEN, *options.split()], tmp_path_factory.mktemp("llamacpp"), "/health") as url:
        yield url


@pytest.fixture(scope="module")
def local() -> Any:
    return LocalPolicy.load(bundled("countdown", "policy"), WORLD.separator, "float32")


def test_the_probe_knows_llama_cpp(server: str) -> None:
    found = probe(addresses(server)[0], thorough=True)
    assert (found.kind, found.stopping, found.stop_key) == ("llamacpp", "field", "stop_reason")
    assert (found.by_ids, found.template, found.thinking) == (True, "apply-template", "none")
    assert (found.logprobs, found.context, found.refused) == (5, 512, frozenset())
    assert (found.seed, found.counts, found.cached, found.prefix_cache) == (True, True, True, True)
    assert found.parameters == 2_409_984
    assert not HttpPolicy(server).remarks


def test_doctor_names_it(server: str) -> None:
    run = CliRunner().invoke(build_app(), ["doctor", server, "--json"])
    assert run.exit_code == 0, run.output
    assert '"llamacpp"' in run.output


def test_prompts_have_the_policys_own_tokens(server: str, local: Any) -> None:
    for seed in range(200):
        problem = WORLD.problem(1 + seed % 5, seed)
        chat = posted(server, "/apply-template", {"messages": [{"role": "user", "content": problem.question}]})
        encoded = posted(server, "/tokenize", {"content": chat["prompt"], "add_special": True, "parse_special": True})
        assert encoded["tokens"] == local.prompt_tokens(problem), problem.question
    for text in ("12 − 3 = 9, left: 9 100\n\nAnswer: \\boxed{(1 + 2) × 999}.", "What is 2 + 2?", "Ann × Use 7, "):
        assert posted(server, "/tokenize", {"content": text})["tokens"] == local.tokenizer.encode(text)


def test_greedy_paths_equal_the_models_up_to_the_first_near_tie(server: str, local: Any) -> None:
    policy, ended = HttpPolicy(server), 0
    for seed in range(8):
        problem = WORLD.problem(2 + seed % 4, seed)
        path = asyncio.run(walk(policy, problem, GREEDY))
        ids = [token for step in path.steps for token in step.ids]
        scores = logits(local, local.prompt_tokens(problem), ids)
        assert_greedy(scores, ids)
        assert path.text == local.tokenizer.decode(ids)
        assert all(step.text.endswith("\n\n") for step in path.steps if step.stop is Stop.STEP)
        assert "".join(step.text for step in path.steps).count("\n\n") == len(path.steps) - path.ended
        assert_logprobs(scores, path, local.tokenizer.eos_token_id, within=0.02)
        ended += path.ended
    assert ended >= 4


def test_a_cut_is_distinguished_from_an_end(server: str) -> None:
    path = asyncio.run(
        walk(HttpPolicy(server), WORLD.problem(2, 0), Sampling(temperature=0, max_step_tokens=4), most=2)
    )
    assert [(step.stop, step.tokens, len(step.ids)) for step in path.steps] == [(Stop.LENGTH, 4, 4)] * 2


def test_a_full_context_is_a_cut(server: str, local: Any) -> None:
    policy = HttpPolicy(server)
    prompt = (local.prompt_tokens(WORLD.problem(5, 0)) * 40)[:508]
    body = completion_body(policy.server, prompt, Sampling(temperature=0), 64, 1) | {"ignore_eos": True}
    reply = posted(server, "/completion", body)
    assert reply["truncated"] is True
    step = read_reply(policy.server, reply, policy.rule, 64, 5).step
    assert step.stop is Stop.LENGTH
    assert 1 <= step.tokens <= 5


def test_it_samples_from_the_nucleus_of_the_heated_distribution(server: str, local: Any) -> None:
    """The temperature applies before top_p, as with every other server and the policy in this process."""
    policy, heat = HttpPolicy(server), Sampling(temperature=2.5, top_p=0.8)
    prompt = local.prompt_tokens(WORLD.problem(5, 1))
    body = completion_body(policy.server, prompt, heat, 1, 7) | {"post_sampling_probs": True, "n_probs": 1021}
    (place,) = posted(server, "/completion", body)["completion_probabilities"]
    found = {top["id"]: top["prob"] for top in place["top_probs"]}
    chances, order = torch.softmax(logits(local, prompt, [])[0] / heat.temperature, -1).sort(descending=True)
    kept = int((chances.cumsum(0) < heat.top_p).sum()) + 1
    assert kept > 3
    assert set(found) == set(order[:kept].tolist())
    expected = chances[:kept] / chances[:kept].sum()
    for token, chance in zip(order[:kept].tolist(), expected.tolist(), strict=True):
        assert found[token] == pytest.approx(chance, abs=2e-3)


def test_the_ledgers_tokens_equal_the_servers_usage(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replies: list[dict[str, Any]] = []

    def recording(server: Any, body: Any, *rest: Any) -> Any:
        replies.append(body)
        return read_reply(server, body, *rest)

    monkeypatch.setattr("rollwise.engines.http.policy.read_reply", recording)
    before = counters(server)
    policy = HttpPolicy(server)
    probed = counters(server)
    solution = rollwise.solve(
        WORLD.problem(2, 0), "rebase", 8, policy=policy, world="countdown", reward="confidence", max_tokens=200
    )
    assert solution.failures == ()
    ledger = solution.ledger.usage["policy"]
    assert ledger.generated == sum(reply["tokens_predicted"] for reply in replies)
    assert ledger.prefilled + ledger.cached == sum(reply["tokens_evaluated"] for reply in replies)
    assert ledger.calls == len(replies)
    assert ledger.cached > 0
    after = counters(server)
    assert before["tokens_predicted_total"] < probed["tokens_predicted_total"]
    assert after["tokens_predicted_total"] - probed["tokens_predicted_total"] == ledger.generated
    assert after["prompt_tokens_total"] - probed["prompt_tokens_total"] == ledger.prefilled


def counters(server: str) -> dict[str, float]:
    """The server's own counts, from its /metrics."""
    text = CLIENT.get(f"{server}/metrics").text
    return {name: float(value) for name, value in re.findall(r"^llamacpp:(\w+) (\S+)$", text, re.MULTILINE)}


def test_a_search_from_the_command_line(server: str) -> None:
    question = ["--world", "countdown", "--level", "2", "--seed", "1", "--budget", "8", "--strategy", "rebase"]
    run = CliRunner().invoke(build_app(), ["solve", *question, "--policy", server, "--json"])
    assert run.exit_code == 0, run.output
    result = json.loads(run.output)
    assert (result["finished"] + result["failed"], result["failed"], result["vote"]) == (8, 0, "verified")
    assert result["right"] == result["covered"]  # this vote takes a right answer if there is one
    assert result["ledger"]["policy"]["generated"] > 0


def test_cancelling_reaches_the_server(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, limit = 32, 400

    def endless(*arguments: Any) -> dict[str, Any]:
        return {**completion_body(*arguments), "ignore_eos": True, "stop": []}

    monkeypatch.setattr("rollwise.engines.http.policy.completion_body", endless)
    before = counters(server)["tokens_predicted_total"]

    async def interrupted() -> None:
        session = HttpPolicy(server).open(WORLD.problem(3, 0), Sampling(max_step_tokens=limit, max_tokens=limit))
        await session.prepare()
        growing = asyncio.ensure_future(session.extend([Path((place,)) for place in range(paths)]))
        while not busy(await asyncio.to_thread(lambda: CLIENT.get(f"{server}/slots").json())):
            await asyncio.sleep(0.01)
        await session.close()
        assert all(isinstance(result, Failure) for result in await growing)

    asyncio.run(interrupted())
    deadline = time.monotonic() + 10
    while busy(CLIENT.get(f"{server}/slots").json()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert counters(server)["tokens_predicted_total"] - before < paths * limit / 2


def busy(slots: list[dict[str, Any]]) -> bool:
    return any(slot["is_processing"] for slot in slots)
