"""The bundled policy behind a real vLLM, compared with the same policy in this process.

Set ROLLWISE_VLLM to the vllm executable of a separate environment, or to the URL of a running server that holds the
bundled policy of the numbers game:

    VLLM_CPU_KVCACHE_SPACE=2 vllm serve src/rollwise/worlds/models/countdown/policy \
        --dtype float32 --enforce-eager --max-model-len 512 --enable-prompt-tokens-details --port 8151
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from vllm_server import GIVEN, vllm
from walking import walk

import rollwise
from rollwise.core import Sampling
from rollwise.engines.http.client import Fleet
from rollwise.engines.http.policy import HttpPolicy
from rollwise.engines.http.probing import probe
from rollwise.engines.http.servers import addresses
from rollwise.engines.local.policy import LocalPolicy
from rollwise.names import bundled
from rollwise.registry import find_world

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not GIVEN, reason="set ROLLWISE_VLLM to a vllm executable or to the URL of its server"),
]
WORLD = find_world("countdown")
NEAR_TIE = 1e-3
GREEDY = Sampling(temperature=0, max_step_tokens=64, max_tokens=200)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if GIVEN.startswith("http"):
        yield GIVEN
        return
    options = ["--max-model-len", "512", "--enable-prompt-tokens-details"]
    with vllm(bundled("countdown", "policy"), tmp_path_factory.mktemp("vllm") / "log", *options) as url:
        yield url


def test_the_probe_knows_vllm(server: str) -> None:
    found = probe(addresses(server)[0], thorough=True)
    assert (found.kind, found.stop_key, found.by_ids, found.template) == ("vllm", "stop_reason", True, "tokenize")
    assert (found.n, found.logprobs, found.context, found.refused) == (True, 5, 512, frozenset())
    assert found.seed is not False


def test_greedy_paths_equal_the_models_up_to_the_first_near_tie(server: str) -> None:
    policy = HttpPolicy(server)
    local: Any = LocalPolicy.load(bundled("countdown", "policy"), WORLD.separator, "float32")
    for seed in range(4):
        problem = WORLD.problem(2 + seed % 4, seed)
        path = asyncio.run(walk(policy, problem, GREEDY))
        prompt = local.prompt_tokens(problem)
        ids = [token for step in path.steps for token in step.ids]
        with torch.inference_mode():
            logits = local.model(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 :]
        for place, token in enumerate(ids):
            first, second = logits[place].topk(2).values.tolist()
            if first - second < NEAR_TIE:
                break
            assert token == int(logits[place].argmax()), (seed, place)
        else:
            assert path.ended
            assert int(logits[len(ids)].argmax()) in local.end_tokens
        assert path.text == local.tokenizer.decode(ids)
        logprobs = torch.log_softmax(logits, -1)
        reported = sum(step.logprob for step in path.steps)
        end = float(logprobs[len(ids)].max()) if path.ended else 0.0
        expected = sum(float(logprobs[place, token]) for place, token in enumerate(ids)) + end
        assert reported == pytest.approx(expected, abs=0.02)


def test_the_ledgers_tokens_equal_the_servers_usage(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usages: list[dict[str, Any]] = []

    post = Fleet.post

    async def recording(fleet: Fleet, endpoint: Any, path: str, *rest: Any) -> Any:
        reply = await post(fleet, endpoint, path, *rest)
        if path == "/v1/completions":
            usages.append(reply["usage"])
        return reply

    monkeypatch.setattr(Fleet, "post", recording)
    solution = rollwise.solve(
        WORLD.problem(2, 0),
        "rebase",
        8,
        policy=HttpPolicy(server),
        world="countdown",
        reward="confidence",
        max_tokens=200,
    )
    assert solution.failures == ()
    ledger = solution.ledger.usage["policy"]
    assert ledger.generated == sum(usage["completion_tokens"] for usage in usages)
    assert ledger.prefilled + ledger.cached == sum(usage["prompt_tokens"] for usage in usages)
    assert ledger.calls == len(usages)
