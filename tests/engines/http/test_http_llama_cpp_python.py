"""The bundled policy behind the server of llama-cpp-python, compared with the same policy in this process.

Set ROLLWISE_LLAMA_CPP_PYTHON to the python of an environment that has `llama-cpp-python[server]` (docs/servers.md says
how to build it), or to the URL of a running server that holds the bundled policy of the numbers game:

    rollwise world export countdown --out countdown.gguf
    python -m llama_cpp.server --model countdown.gguf --n_ctx 512 --n_threads 1 --port 8153
"""

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

import pytest
import torch
from llama_server import assert_greedy, logits, posted, serving
from typer.testing import CliRunner
from walking import walk

import rollwise
from rollwise.cli import build_app
from rollwise.core import Failure, Path, Sampling, Step, Stop
from rollwise.engines.http import templates
from rollwise.engines.http.policy import HttpPolicy
from rollwise.engines.http.probing import probe
from rollwise.engines.http.replies import read_reply
from rollwise.engines.http.servers import addresses, completion_body
from rollwise.engines.local.policy import LocalPolicy
from rollwise.engines.prompts import messages
from rollwise.names import bundled
from rollwise.registry import find_world

GIVEN = os.environ.get("ROLLWISE_LLAMA_CPP_PYTHON", "")
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        not GIVEN, reason="set ROLLWISE_LLAMA_CPP_PYTHON to a python that has llama-cpp-python[server], or to its URL"
    ),
]
WORLD = find_world("countdown")
FOLDER = str(bundled("countdown", "policy"))
GREEDY = Sampling(temperature=0, max_step_tokens=64, max_tokens=200)
OPTIONS = "--model {model} --n_ctx 512 --n_threads 1 --host 127.0.0.1 --port {port}"
COMMAND = [GIVEN, "-m", "llama_cpp.server", *OPTIONS.split()]
QUIET = replace(GREEDY, certainty=False)
"""A sampling whose certainty no part reads: requests ask for no log-probabilities, and replies are streamed."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> FilePath:
    return tmp_path_factory.mktemp("llama-cpp-python")


@pytest.fixture(scope="module")
def server(folder: FilePath) -> Iterator[str]:
    if GIVEN.startswith("http"):
        yield GIVEN.rstrip("/")
        return
    with serving(COMMAND, folder, "/v1/models") as url:
        yield url


@pytest.fixture(scope="module")
def policy(server: str) -> HttpPolicy:
    return HttpPolicy(server, tokenizer=FOLDER)


@pytest.fixture(scope="module")
def local() -> Any:
    return LocalPolicy.load(bundled("countdown", "policy"), WORLD.separator, "float32")


def test_the_probe_knows_it(server: str) -> None:
    found = probe(addresses(server)[0], thorough=True)
    assert (found.kind, found.stopping, found.stop_key) == ("llama-cpp-python", "logprobs", None)
    assert (found.takes_ids, found.gives_ids, found.template, found.context) == (False, False, "plain", None)
    assert (found.logprobs, found.refused, found.one_at_a_time) == (5, frozenset(), True)
    assert (found.seed, found.n, found.counts, found.cached) == (True, False, True, False)
    known = probe(addresses(server)[0], FOLDER)
    assert (known.takes_ids, known.by_ids, known.stopping, known.template) == (False, False, "logprobs", "tokenizer")


def test_doctor_names_it(server: str) -> None:
    run = CliRunner().invoke(build_app(), ["doctor", server, "--json"])
    assert run.exit_code == 0, run.output
    assert '"llama-cpp-python"' in run.output


def test_prompts_have_the_policys_own_tokens(server: str, local: Any) -> None:
    for seed in range(50):
        problem = WORLD.problem(1 + seed % 5, seed)
        text = templates.local_prompt(FOLDER, messages(problem, "system"), quiet=False)
        encoded = posted(server, "/extras/tokenize", {"input": templates.without_start_token(FOLDER, text)})
        assert encoded["tokens"] == local.prompt_tokens(problem), problem.question


@pytest.mark.parametrize("sampling", [GREEDY, QUIET], ids=["whole", "streamed"])
def test_greedy_paths_equal_the_models_up_to_the_first_near_tie(
    policy: HttpPolicy, local: Any, sampling: Sampling
) -> None:
    ended = 0
    for seed in range(6):
        problem = WORLD.problem(2 + seed % 4, seed)
        path = asyncio.run(walk(policy, problem, sampling))
        ids = local.tokenizer.encode(path.text, add_special_tokens=False)
        scores = logits(local, local.prompt_tokens(problem), ids)
        assert_greedy(scores, ids)
        assert all(step.text.endswith("\n\n") for step in path.steps if step.stop is Stop.STEP)
        assert path.text.count("\n\n") == len(path.steps) - path.ended
        assert sum(step.tokens for step in path.steps) == len(ids)  # the server does not count the end of the text
        logprobs, start = torch.log_softmax(scores, -1), 0
        for step in path.steps if sampling.certainty else ():
            expected = sum(float(logprobs[start + place, ids[start + place]]) for place in range(step.tokens))
            start += step.tokens
            assert step.logprob == pytest.approx(expected, abs=0.02)
            assert step.certainty > 0
        ended += path.ended
    assert ended >= 3


@pytest.mark.parametrize("sampling", [GREEDY, QUIET], ids=["whole", "streamed"])
def test_a_cut_is_distinguished_from_an_end(policy: HttpPolicy, sampling: Sampling) -> None:
    path = asyncio.run(walk(policy, WORLD.problem(2, 0), replace(sampling, max_step_tokens=4), most=2))
    assert [(step.stop, step.tokens) for step in path.steps] == [(Stop.LENGTH, 4)] * 2


@pytest.mark.parametrize("sampling", [GREEDY, QUIET], ids=["whole", "streamed"])
def test_a_prompt_beyond_the_context_is_refused_once(policy: HttpPolicy, sampling: Sampling) -> None:
    long = Path((0, 0), (Step("1 + 2 = 3, left: 3 4\n\n" * 60, 600, Stop.STEP),))

    async def grown() -> Any:
        session = policy.open(WORLD.problem(2, 0), replace(sampling, max_tokens=2000))
        try:
            return await session.extend([long])
        finally:
            await session.close()

    (lost,) = asyncio.run(grown())
    assert isinstance(lost, Failure)
    assert "maximum context length is 512 tokens" in lost.reason
    assert "tried" not in lost.reason


def test_the_ledgers_tokens_equal_the_servers_usage(policy: HttpPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    replies: list[dict[str, Any]] = []

    def recording(server: Any, body: Any, *rest: Any) -> Any:
        replies.append(body)
        return read_reply(server, body, *rest)

    monkeypatch.setattr("rollwise.engines.http.policy.read_reply", recording)
    solution = rollwise.solve(
        WORLD.problem(2, 0), "rebase", 8, policy=policy, world="countdown", reward="confidence", max_tokens=200
    )
    assert solution.failures == ()
    ledger = solution.ledger.usage["policy"]
    assert ledger.generated == sum(reply["usage"]["completion_tokens"] for reply in replies)
    assert ledger.prefilled == sum(reply["usage"]["prompt_tokens"] for reply in replies)
    assert (ledger.calls, ledger.cached) == (len(replies), 0)


def test_streamed_and_whole_replies_count_alike(policy: HttpPolicy) -> None:
    used = []
    for sampling in (GREEDY, QUIET):

        async def grown(sampling: Sampling = sampling) -> Any:
            session = policy.open(WORLD.problem(3, 1), sampling)
            try:
                (step,) = await session.extend([Path((0,))])
                assert isinstance(step, Step)
                return step.text, session.usage.prefilled, session.usage.generated
            finally:
                await session.close()

        used.append(asyncio.run(grown()))
    assert used[0] == used[1]


def test_a_search_from_the_command_line_repeats(server: str) -> None:
    question = ["--world", "countdown", "--level", "4", "--seed", "1", "--budget", "8", "--strategy", "rebase"]
    command = ["solve", *question, "--policy", server, "--tokenizer", FOLDER, "--json"]
    results = []
    for _ in range(2):
        run = CliRunner().invoke(build_app(), command)
        assert run.exit_code == 0, run.output
        results.append(json.loads(run.output))
    first, second = results
    assert (first["finished"] + first["failed"], first["failed"], first["vote"]) == (8, 0, "verified")
    assert first["right"] == first["covered"]
    assert first["ledger"]["policy"]["generated"] > 0
    assert [ballot["answer"] for ballot in first["ballots"]] == [ballot["answer"] for ballot in second["ballots"]]
    assert len(first["ballots"]) > 1  # seeds differ from path to path


def test_cancelling_reaches_the_server_if_it_streams(
    server: str, folder: FilePath, local: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if GIVEN.startswith("http"):
        pytest.skip("this reads the server's log: give a python rather than a URL")
    log = folder / f"log-{server.rpartition(':')[2]}"
    policy = HttpPolicy(server, rule="tokens(300)", tokenizer=FOLDER)
    begun = asyncio.Event()

    def endless(*arguments: Any) -> dict[str, Any]:
        begun.set()
        return {**completion_body(*arguments), "logit_bias": {str(local.tokenizer.eos_token_id): -100.0}}

    monkeypatch.setattr("rollwise.engines.http.policy.completion_body", endless)

    async def interrupted() -> None:
        session = policy.open(WORLD.problem(3, 0), replace(QUIET, max_step_tokens=300, max_tokens=300))
        await session.prepare()
        growing = asyncio.ensure_future(session.extend([Path((place,)) for place in range(16)]))
        await begun.wait()
        await asyncio.sleep(0.1)
        await session.close()
        assert all(isinstance(result, Failure) for result in await growing)

    before = log.read_text().count("Disconnected from client")
    asyncio.run(interrupted())
    posted(server, "/v1/completions", {"prompt": "Use 1", "max_tokens": 1})
    assert log.read_text().count("Disconnected from client") == before + 1


def test_replies_are_streamed_if_the_server_keeps_no_logits(folder: FilePath, local: Any) -> None:
    if GIVEN.startswith("http"):
        pytest.skip("this needs a server of its own: give a python rather than a URL")
    with serving([*COMMAND, "--logits_all", "false"], folder, "/v1/models") as url:
        policy = HttpPolicy(url, tokenizer=FOLDER)
        assert (policy.server.logprobs, policy.server.stopping) == (None, "streamed")
        assert policy.server.refused == {"logprobs"}
        path = asyncio.run(walk(policy, WORLD.problem(2, 0), GREEDY))
        ids = local.tokenizer.encode(path.text, add_special_tokens=False)
        scores = logits(local, local.prompt_tokens(WORLD.problem(2, 0)), ids)
        assert path.ended
        assert [int(row.argmax()) for row in scores[:-1]] == ids
