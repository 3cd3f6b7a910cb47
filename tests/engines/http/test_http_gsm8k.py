"""The bundled policy for GSM8K behind real servers: a real vocabulary of bytes, a chat template, a learnt end of text.

Run `rollwise models get gsm8k` first. Then set ROLLWISE_LLAMACPP or ROLLWISE_VLLM to an executable, or ROLLWISE_GSM8K
to the URLs (URL,URL) of servers that hold the policy; docs/servers.md says how to start them.
"""

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest
from llama_server import assert_greedy, assert_logprobs, logits, serving
from vllm_server import vllm
from walking import walk

import rollwise
from rollwise.core import Sampling, Stop
from rollwise.engines.http.client import Fleet
from rollwise.engines.http.policy import HttpPolicy
from rollwise.engines.local.policy import LocalPolicy
from rollwise.models import whole_model
from rollwise.names import bundled
from rollwise.registry import find_problems
from rollwise.training.gguf import write_gguf

EXECUTABLES = {kind: os.environ.get(f"ROLLWISE_{kind}", "") for kind in ("LLAMACPP", "VLLM")}
GIVEN = [url for url in os.environ.get("ROLLWISE_GSM8K", "").split(",") if url]
SERVERS = GIVEN or [kind for kind, given in EXECUTABLES.items() if given and not given.startswith("http")]
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not SERVERS, reason="set ROLLWISE_LLAMACPP, ROLLWISE_VLLM or ROLLWISE_GSM8K"),
]
WORLD = find_problems("gsm8k")
GREEDY = Sampling(temperature=0, max_step_tokens=120, max_tokens=300)
QUESTIONS = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips did "
    "Natalia sell altogether in April and May?",
    "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?",
    "Zoë's café sells crêpes for $1,234.50 a week — and ½ as much in July.\n\nHow much is that in 3 weeks?",
    "小明有 12 个苹果, 吃了 5 个. ∑ left?",
)


@pytest.fixture(scope="module", params=SERVERS or ["none"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("gsm8k")
    if request.param in GIVEN:
        yield request.param.rstrip("/")
    elif request.param == "VLLM":
        options = ["--max-model-len", "1024", "--no-enable-chunked-prefill"]
        with vllm(whole_model(bundled("gsm8k", "policy")), folder / "log", *options) as url:
            yield url
    else:
        write_gguf(whole_model(bundled("gsm8k", "policy")), folder / "policy.gguf", "gsm8k")
        words = "-m {model} -np 16 --kv-unified -c 8192 -t 1 --metrics --host 127.0.0.1 --port {port}"
        with serving([EXECUTABLES["LLAMACPP"], *words.split()], folder, "/health") as url:
            yield url


@pytest.fixture(scope="module")
def local() -> Any:
    return LocalPolicy.load(whole_model(bundled("gsm8k", "policy")), WORLD.separator, "float32")


def test_prompts_have_the_policys_own_tokens(server: str, local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[Any] = []
    post, lines = Fleet.post, Fleet.stream

    async def posting(fleet: Fleet, endpoint: Any, path: str, body: Any, *rest: Any) -> Any:
        bodies.append(body)
        return await post(fleet, endpoint, path, body, *rest)

    def streaming(fleet: Fleet, endpoint: Any, path: str, body: Any, *rest: Any) -> Any:
        bodies.append(body)
        return lines(fleet, endpoint, path, body, *rest)

    monkeypatch.setattr(Fleet, "post", posting)
    monkeypatch.setattr(Fleet, "stream", streaming)
    policy = HttpPolicy(server)
    for question in QUESTIONS:
        bodies.clear()
        problem = WORLD.parse(question)
        asyncio.run(walk(policy, problem, Sampling(temperature=0, max_step_tokens=4), most=1))
        assert [body["prompt"] for body in bodies if isinstance(body.get("prompt"), list)] == [
            local.prompt_tokens(problem)
        ]


def test_greedy_paths_equal_the_models_up_to_the_first_near_tie(server: str, local: Any) -> None:
    policy, ended = HttpPolicy(server), 0
    for question in QUESTIONS:
        problem = WORLD.parse(question)
        path = asyncio.run(walk(policy, problem, GREEDY))
        ids = [token for step in path.steps for token in step.ids]
        scores = logits(local, local.prompt_tokens(problem), ids)
        assert_greedy(scores, ids)
        assert path.text == local.tokenizer.decode(ids)
        assert all(step.text.endswith("\n\n") for step in path.steps if step.stop is Stop.STEP)
        assert_logprobs(scores, path, local.tokenizer.eos_token_id, within=0.05)
        ended += path.ended and "\\boxed{" in path.text
    assert ended >= 2


@pytest.mark.parametrize("calculator", [False, True])
def test_a_search_answers_and_fails_nothing(server: str, calculator: bool) -> None:
    solution = rollwise.solve(
        QUESTIONS[0],
        "dora",
        8,
        policy=server,
        world="gsm8k",
        reward="sums" if calculator else "confidence",
        calculator=calculator,
        directions="text",
    )
    assert solution.failures == ()
    assert solution.answer is not None
    assert float(solution.answer) > 0
    assert solution.ledger.usage["policy"].generated > 8 * 20


def test_a_text_that_is_cut_before_its_box_has_no_answer(server: str) -> None:
    solution = rollwise.solve(
        QUESTIONS[0], "temperature", 4, policy=server, world="gsm8k", reward="confidence", max_tokens=8
    )
    assert solution.failures == ()
    assert solution.answer is None


def test_a_question_of_ones_own_is_answered_in_the_world_text(server: str) -> None:
    """The same chat, so the same policy boxes an answer for a question that is in no collection."""
    solution = rollwise.solve("Ann has 3 bags with 12 nuts in each. How many nuts has she?", "rebase", 8, policy=server)
    assert solution.failures == ()
    assert solution.answer is not None
