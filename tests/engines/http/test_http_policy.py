"""Searches with a served policy, with servers on loopback in the manner of each kind: retries, keys, cancelling."""

import asyncio
import json
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from served import FAST, OWNERS, PROBLEM, QUESTION, TEXTS, WAYS, Emulator, emulated, encode
from typer.testing import CliRunner
from walking import closing, extended, walk

import rollwise
from rollwise.cli import build_app
from rollwise.core import Failure, Path, Problem, Sampling, Step, Stop
from rollwise.engines.http.client import Fleet
from rollwise.engines.http.keys import redacted
from rollwise.engines.http.policy import HttpPolicy
from rollwise.engines.http.probing import probe
from rollwise.engines.http.servers import Address, addresses
from rollwise.errors import InputError
from rollwise.search.config import Config
from rollwise.search.runner import Runner
from rollwise.testing import FAULTS, faulty


def run(*arguments: str) -> Any:
    return CliRunner().invoke(build_app(), list(arguments))


@pytest.mark.parametrize("kind", OWNERS)
def test_a_search_with_every_kind_of_server_finishes_step_by_step(kind: str) -> None:
    with emulated(kind) as server:
        reward = "dial(0)" if kind == "transformers" else "confidence"
        solution = rollwise.solve(
            QUESTION, "rebase", 12, policy=server.url, world="countdown", reward=reward, directions="text"
        )
        completions = server.bodies("/completion" if kind == "llamacpp" else "/v1/completions")
    assert solution.failures == ()
    assert len(solution.finished) == 12
    for path in solution.finished:
        assert path.text in TEXTS
        assert [step.text for step in path.steps] == WAYS[TEXTS.index(path.text)]
        assert [step.stop for step in path.steps] == [Stop.STEP, Stop.STEP, Stop.END]
    assert solution.covered
    ledger = solution.ledger.usage["policy"]
    assert sum(body.get("n", 1) for body in completions if body.get("stop") != []) >= 36
    assert ledger.calls == (25 if kind in ("vllm", "rollwise") else 36)
    if kind not in ("llama-cpp-python", "openai"):
        ended = [len(path.text) + 1 for path in solution.finished]
        assert sum(path.tokens for path in solution.finished) == sum(ended)
        assert all("seed" in body and "temperature" in body and "top_p" in body for body in completions)


def test_replies_are_streamed_if_the_server_fails_at_stop_strings() -> None:
    with emulated("transformers", no_stops=True, logprobs=False) as server:
        assert probe(addresses(server.url)[0]).stopping == "streamed"
        steps = asyncio.run(extended(HttpPolicy(server.url), [Path((0,))]))
    assert isinstance(steps[0], Step)
    assert steps[0].text in (WAYS[0][0], WAYS[1][0])


@pytest.mark.parametrize("certainty", [True, False])
@pytest.mark.parametrize("logits_all", [True, False])
def test_llama_cpp_python_is_streamed_unless_log_probabilities_show_the_step_ends(
    certainty: bool, logits_all: bool
) -> None:
    whole = certainty and logits_all
    with emulated("llama-cpp-python", logits_all=logits_all) as server:
        policy = HttpPolicy(server.url)
        assert policy.server.refused == (frozenset() if logits_all else {"logprobs"})
        assert policy.server.stopping == ("logprobs" if logits_all else "streamed")
        server.log.clear()
        path = asyncio.run(walk(policy, PROBLEM, Sampling(temperature=0, certainty=certainty)))
        bodies = server.bodies("/v1/completions")
    assert [step.text for step in path.steps] == WAYS[0]
    assert [step.stop for step in path.steps] == [Stop.STEP, Stop.STEP, Stop.END]
    assert [step.tokens for step in path.steps] == [len(text) for text in WAYS[0]]
    assert [("stream" in body, "stop" in body, "logprobs" in body) for body in bodies] == [
        (not whole, whole, whole)
    ] * 3


@pytest.mark.parametrize("certainty", [True, False])
def test_a_prompt_beyond_the_context_of_llama_cpp_python_is_not_retried(certainty: bool) -> None:
    with emulated("llama-cpp-python", context=100) as server:
        policy = HttpPolicy(server.url)
        server.log.clear()
        long = Path((0, 0), (Step("x" * 100, 100, Stop.STEP),))
        session = policy.open(PROBLEM, Sampling(certainty=certainty))
        (lost,) = asyncio.run(closing(session, session.extend([long])))
        asked = server.bodies("/v1/completions")
    assert lost == Failure("the server answered 400: This model's maximum context length is 100 tokens")
    assert [body.get("stream", False) for body in asked] == ([False] if certainty else [True, False])


def test_the_prompt_is_rendered_once_and_continued_with_the_ids_of_the_steps(served: Emulator) -> None:
    policy = HttpPolicy(served.url)
    served.log.clear()
    first = asyncio.run(extended(policy, [Path((0,))]))[0]
    assert isinstance(first, Step)
    assert len(served.bodies("/tokenize")) == 1
    assert first.ids == tuple(encode(first.text))
    asyncio.run(extended(policy, [Path((0, 0), (first,))]))
    start, later = (body["prompt"] for body in served.bodies("/v1/completions"))
    assert start == encode(f"<user>{QUESTION}<answer>")
    assert later == [*start, *first.ids]
    bare = replace(first, ids=())
    second = asyncio.run(extended(policy, [Path((0, 0), (bare,))]))[0]
    assert isinstance(second, Step)
    assert served.bodies("/v1/completions")[-1]["prompt"] == later


def test_the_text_world_asks_for_a_boxed_answer_and_does_not_check_it(served: Emulator) -> None:
    solution = rollwise.solve(QUESTION, budget=8, policy=served.url, directions="text")
    assert solution.problem.world == "text"
    assert solution.answer in ("2 × 3 × 4", "(2 + 3) × 4")
    reply = solution.as_dict()
    assert (reply["right"], reply["covered"], solution.vote) == (None, None, "weighted_majority")
    assert any("confidence" in note for note in reply["notes"])
    system = [body["messages"][0] for body in served.bodies("/tokenize") if "messages" in body][-1]
    assert system["role"] == "system"
    assert "\\boxed{}" in system["content"]


@pytest.mark.parametrize("rule", ["sentence", "tokens(9)", "separator(=)"])
def test_step_rules_split_the_same_text_at_other_places(served: Emulator, rule: str) -> None:
    shared: dict[str, Any] = {"policy": served.url, "directions": "text", "step_rule": rule, "max_steps": 60}
    solution = rollwise.solve(QUESTION, "temperature", 4, **(shared | {"directions": "text"}))
    for path in solution.finished:
        assert path.text in TEXTS
        for step in path.steps[:-1]:
            assert step.stop is Stop.STEP
            if rule == "tokens(9)":
                assert len(step.text) == 9
            elif rule == "separator(=)":
                assert step.text.endswith("=")
            else:
                assert step.text.endswith("\n\n")


def test_thinking_is_switched_off_or_steps_are_cut_by_length() -> None:
    with emulated("vllm", thinking=True) as server:
        policy = HttpPolicy(server.url)
        assert (policy.server.thinking, policy.rule.name) == ("off", "separator")
        step = asyncio.run(extended(policy, [Path((0,))]))[0]
        assert isinstance(step, Step)
        assert server.bodies("/tokenize")[-1]["chat_template_kwargs"] == {"enable_thinking": False}
    with emulated("vllm", opens="<think>\n") as server:
        policy = HttpPolicy(server.url)
        assert (policy.server.thinking, policy.rule.name) == ("forced", "tokens(256)")
        assert any("thinks" in remark for remark in policy.remarks)
        assert HttpPolicy(server.url, "sentence").rule.name == "sentence"


def test_a_search_repeats_in_any_order_of_replies(served: Emulator) -> None:
    def answers(**fields: Any) -> list[tuple[Any, str]]:
        solution = rollwise.solve(QUESTION, "dora", 8, policy=served.url, directions="text", **fields)
        return sorted((path.key, path.text) for path in solution.finished)

    assert answers() == answers(concurrency=1) == answers(concurrency=3)
    assert answers() != answers(seed=5)


def test_concurrent_requests_are_limited() -> None:
    class Counting(Emulator):
        running = most = 0
        lock = threading.Lock()

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            with self.lock:
                self.running += 1
                self.most = max(self.most, self.running)
            super().process_request_thread(request, client_address)
            with self.lock:
                self.running -= 1

    server = Counting("vllm")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        policy = HttpPolicy(server.url, concurrency=3)
        while server.running:  # the probe's connection ends in its own time
            time.sleep(0.01)
        server.most, server.settings["seconds"] = 0, 0.1
        steps = asyncio.run(extended(policy, [Path((index, 0)) for index in range(12)]))
    finally:
        server.shutdown()
        server.server_close()
    assert all(isinstance(step, Step) for step in steps)
    assert 1 < server.most <= 3


def test_transient_failures_are_retried_after_the_wait_that_the_server_asks_for(served: Emulator) -> None:
    policy = HttpPolicy(served.url, patience=FAST)
    served.failures = [(500, {}), (429, {"Retry-After": "0.3"}), (503, {})]
    began = time.monotonic()
    step = asyncio.run(extended(policy, [Path((0,))]))[0]
    assert isinstance(step, Step)
    assert time.monotonic() - began >= 0.3
    served.failures = [(500, {})] * 50
    lost = asyncio.run(extended(policy, [Path((0,))]))[0]
    assert isinstance(lost, Failure)
    assert "500" in lost.reason
    assert "the same fault 4 times in a row" in lost.reason
    served.failures = [(429, {"Retry-After": "500"})] * 50
    policy.fleet.patience = replace(FAST, deadline=1.0)
    began = time.monotonic()
    late = asyncio.run(extended(policy, [Path((0,))]))[0]
    assert isinstance(late, Failure)
    assert time.monotonic() - began < 60


def test_a_refused_request_costs_one_rollout_and_is_not_retried(served: Emulator) -> None:
    policy = HttpPolicy(served.url, patience=FAST)
    served.failures = [(400, {})]
    served.log.clear()
    results = asyncio.run(extended(policy, [Path((index, 0)) for index in range(4)]))
    assert sum(isinstance(result, Failure) for result in results) == 1
    assert len(served.bodies("/v1/completions")) == 4


def test_the_api_key_comes_from_the_environment_and_never_shows(
    served: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-openai")
    monkeypatch.setenv("ROLLWISE_API_KEY", "key-of-rollwise")
    caplog.set_level("DEBUG")
    policy = HttpPolicy(served.url, patience=FAST)
    served.failures = [(401, {})]
    lost = asyncio.run(extended(policy, [Path((0,))]))[0]
    assert isinstance(lost, Failure)
    assert "Bearer ***" in lost.reason
    assert {headers["Authorization"] for _, _, headers in served.log} == {"Bearer key-of-rollwise"}
    for text in (
        repr(policy),
        repr(policy.server),
        repr(lost),
        caplog.text,
        repr(vars(policy)),
        repr(vars(policy.fleet)),
    ):
        assert "key-of" not in text
    assert redacted("a key-of-openai b") == "a *** b"
    monkeypatch.delenv("ROLLWISE_API_KEY")
    probe(addresses(served.url)[0])
    assert served.log[-1][2]["Authorization"] == "Bearer key-of-openai"
    monkeypatch.delenv("OPENAI_API_KEY")
    probe(addresses(served.url)[0])
    assert "Authorization" not in served.log[-1][2]


def test_a_question_stays_on_one_server_and_moves_if_the_server_dies() -> None:
    with emulated("vllm") as first, emulated("vllm") as second:
        policy = HttpPolicy(f"{first.url},{second.url}", patience=FAST)
        questions = [f"question {index}" for index in range(64)]  # enough that each server is home to one
        homes = {question: policy.fleet.choose(question).address.url for question in questions}
        assert set(homes.values()) == {first.url, second.url}
        alone = Fleet([Address(first.url)])
        assert {alone.choose(question).address.url for question in questions} == {first.url}
        moved = next(question for question in questions if homes[question] == first.url)
        first.log.clear()
        second.log.clear()
        problem = Problem(moved, QUESTION)
        asyncio.run(extended(policy, [Path((index, 0)) for index in range(4)], problem))
        assert len(first.bodies("/v1/completions")) == 4
        assert not second.log
        first.shutdown()
        first.server_close()
        steps = asyncio.run(extended(policy, [Path((index, 0)) for index in range(4)], problem))
        assert all(isinstance(step, Step) for step in steps)
        assert len(second.bodies("/v1/completions")) == 4


def test_a_missing_server_is_left_out_and_different_servers_are_refused(served: Emulator) -> None:
    policy = HttpPolicy(f"http://127.0.0.1:9,{served.url}")
    assert [server.url for server in policy.servers] == [served.url]
    assert "nothing answers at http://127.0.0.1:9" in policy.remarks[0]
    with emulated("rollwise") as other, pytest.raises(InputError, match="differ"):
        HttpPolicy(f"{served.url},{other.url}")
    with pytest.raises(InputError, match="serves no model 'huge'; it serves: tiny"):
        HttpPolicy(f"{served.url}#huge")


def test_cancelling_reaches_the_server() -> None:
    with emulated("openai") as server:
        policy = HttpPolicy(server.url, "separator(#####)")
        server.settings["pause"] = 0.2  # so a reply takes over ten seconds
        server.cut = 0
        server.log.clear()

        async def interrupted() -> None:
            session = policy.open(PROBLEM, Sampling())
            await session.prepare()
            growing = asyncio.ensure_future(session.extend([Path((index,)) for index in range(3)]))
            while len(server.log) < 3:
                await asyncio.sleep(0.01)
            await session.close()
            assert all(isinstance(result, Failure) for result in await growing)

        asyncio.run(interrupted())
        deadline = time.monotonic() + 8
        while server.cut < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.cut == 3


def test_cancelling_a_search_ends_it_and_its_requests() -> None:
    with emulated("vllm") as server:
        config = Config.of(
            policy=HttpPolicy(server.url), world="text", reward="confidence", directions="text", budget=4
        )
        runner = Runner(config)
        server.settings["seconds"] = 60.0

        async def search() -> None:
            await asyncio.wait_for(runner.solve(runner.parts.problems.parse(QUESTION)), 0.3)

        began = time.monotonic()
        with pytest.raises(TimeoutError):
            asyncio.run(search())
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("kind", ["vllm", "openai"])
def test_every_search_finishes_if_a_tenth_of_the_exchanges_breaks(kind: str) -> None:
    with emulated(kind) as server, faulty(server.url, 0.1) as proxy:
        policy = HttpPolicy(proxy.url, patience=FAST)
        config = Config.of(policy=policy, world="countdown", reward="dial(0)", directions="text", budget=8)
        runner = Runner(config)

        async def all_of_them() -> list[rollwise.Solution]:
            problems = [Problem(f"question {index}", QUESTION, "24", "countdown") for index in range(4)]
            return await asyncio.gather(*(runner.solve(problem) for problem in problems))

        solutions = asyncio.run(all_of_them())
    assert set(proxy.outcomes) == {"passed", *FAULTS}
    for solution in solutions:
        assert len(solution.finished) + len(solution.failures) == 8
        assert len(solution.finished) == 8
        assert {path.text for path in solution.finished} <= set(TEXTS)


def test_every_rollout_fails_with_a_reason_if_no_request_gets_through() -> None:
    with emulated("vllm") as server, faulty(server.url, 0.0) as proxy:
        policy = HttpPolicy(proxy.url, patience=replace(FAST, attempts=3))
        proxy.share, proxy.kinds = 1.0, ("drop", "garbage")
        solution = rollwise.solve(
            QUESTION, budget=4, policy=policy, world="text", reward="confidence", directions="text"
        )
    assert solution.finished == ()
    assert len(solution.failures) == 4
    assert all("tried 3 times" in reason for reason in solution.failures)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"directions": "hidden"}, "no hidden states"),
        ({"directions": "state"}, "has no states"),
        ({"reward": "trained"}, "no models of its own"),
        ({"reward": "dial(0.2)"}, "a dial reads the truth"),
        ({"step_rule": "word"}, "step rule"),
        ({"window": "step"}, "--window step is for directions that embed"),
        ({"strategy": "rebase", "window": "step"}, "reads no directions"),
        ({"vote": "verified"}, "cannot be checked"),
        ({"instruction": "above"}, "instruction"),
    ],
)
def test_impossible_settings_are_refused_before_the_first_token(
    served: Emulator, fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        rollwise.solve(QUESTION, policy=served.url, budget=4, **({"directions": "text"} | fields))
    assert all(body["max_tokens"] <= 2 for body in served.bodies("/v1/completions"))


def test_a_refused_system_message_is_reported_with_the_option_that_avoids_it() -> None:
    with emulated("vllm", no_system=True) as server:
        with pytest.raises(InputError, match=r"System role not supported; .*--instruction user"):
            rollwise.solve(QUESTION, "rebase", 4, policy=server.url)
        solution = rollwise.solve(QUESTION, "rebase", 4, policy=server.url, instruction="user")
    assert len(solution.finished) == 4


def test_a_policy_object_has_no_hidden_states_either(served: Emulator) -> None:
    with pytest.raises(InputError, match="no hidden states"):
        rollwise.solve(QUESTION, budget=4, policy=HttpPolicy(served.url), world="text", reward="confidence")


def test_a_policy_without_log_probabilities_needs_a_reward_model() -> None:
    with emulated("transformers") as server:
        with pytest.raises(InputError, match="no log-probabilities"):
            rollwise.solve(QUESTION, budget=4, policy=server.url, directions="text")
        assert all(body["max_tokens"] <= 8 for body in server.bodies("/v1/completions"))


@pytest.mark.parametrize("field", [{"concurrency": 3}, {"window": "step"}, {"tokenizer": "."}])
def test_options_of_a_served_policy_are_refused_with_other_policies(field: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        rollwise.solve(QUESTION, budget=4, **field)


def test_a_question_longer_than_the_context_is_refused(served: Emulator) -> None:
    with pytest.raises(InputError, match="takes 792 tokens and the model reads 600"):
        rollwise.solve("9" * 700, "rebase", 2, policy=served.url)
    solution = rollwise.solve("7" * 440, "rebase", 2, policy=served.url, max_steps=3)
    prompts = [len(body["prompt"]) + body["max_tokens"] for body in served.bodies("/v1/completions")]
    assert max(prompts) <= 600
    assert solution.failures == ()


def test_one_url_is_enough_to_solve(served: Emulator) -> None:
    shown = run("solve", QUESTION, "--policy", served.url, "--budget", "8")
    assert shown.exit_code == 0, shown.output
    output = " ".join(shown.output.split())
    for part in ("note: the reward is the policy's own confidence", "not checked", "8 paths finished", "unknown"):
        assert part in output
    reply = json.loads(run("solve", QUESTION, "--policy", served.url, "--budget", "8", "--json").output)
    assert reply["finished"] == 8
    assert reply["notes"]


def test_confidence_is_a_reward_for_local_policies_too() -> None:
    solution = rollwise.solve(QUESTION, "rebase", 4, reward="confidence")
    for path in solution.finished:
        for step, reward in zip(path.steps, path.rewards, strict=True):
            assert reward == pytest.approx(np.exp(step.logprob / step.tokens))


@pytest.mark.parametrize(("kind", "fewest"), [("vllm", 0), ("rollwise", 0), ("sglang", 1), ("openai", 1)])
def test_the_likeliest_tokens_are_requested_only_if_the_reward_reads_them(kind: str, fewest: int) -> None:
    with emulated(kind) as server:
        for reward, asked in (("confidence", 5), ("dial(0)", fewest)):
            server.log.clear()
            rollwise.solve(
                QUESTION, "rebase", 4, policy=server.url, world="countdown", reward=reward, directions="text"
            )
            sent = [body["logprobs"] for body in server.bodies("/v1/completions") if "logprobs" in body]
            assert sent[-1] == asked
