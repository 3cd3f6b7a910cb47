"""Searches over HTTP with real servers on loopback: every kind's manner, faults, several servers, keys, cancelling."""

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import OWNERS, QUESTION, TEXTS, WAYS, Emulator, emulated, encode
from typer.testing import CliRunner
from walking import walk

import rollwise
from rollwise.bench.store import Outcome
from rollwise.cli import build_app
from rollwise.core import Failure, Path, Problem, Sampling, Step, Stop
from rollwise.directions.finders import KNOWN, EmbeddingSession, EqualSteps, _InThread, window
from rollwise.engines.http.client import Fleet, LostError, PassingError, Patience, check_status, hidden, retry_after
from rollwise.engines.http.embedder import HttpEmbedder
from rollwise.engines.http.forks import fork_groups, seed_of
from rollwise.engines.http.policy import HttpPolicy
from rollwise.engines.http.probe import probe
from rollwise.engines.http.servers import Address, addresses
from rollwise.errors import InputError
from rollwise.report.search import round_line
from rollwise.search.config import Config
from rollwise.search.events import rounds
from rollwise.search.records import event_records
from rollwise.search.runner import Runner
from rollwise.testing import FAULTS, faulty
from rollwise.testing.cases import NoPolicy

FAST = Patience(first=0.01, longest=0.05, connect=2.0)
PROBLEM = Problem(QUESTION, QUESTION)


@pytest.fixture
def served() -> Iterator[Emulator]:
    with emulated("vllm") as server:
        yield server


async def grown(policy: HttpPolicy, paths: list[Path], problem: Problem = PROBLEM) -> list[Step | Failure]:
    session = policy.open(problem, Sampling())
    try:
        await session.prepare()
        return await session.extend(paths)
    finally:
        await session.close()


async def test_connections_are_as_many_as_requests_at_once_and_a_lost_ones_is_closed(
    served: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[httpx.AsyncClient] = []

    class Noted(httpx.AsyncClient):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            made.append(self)

    monkeypatch.setattr(httpx, "AsyncClient", Noted)
    fleet = Fleet(addresses(served.url), concurrency=4, patience=Patience(attempts=1))

    async def ask(seconds: float = 9.0) -> Any:
        body = {"prompt": "1", "messages": [{"role": "user", "content": "1"}]}
        return await fleet.ask("q", (), lambda endpoint, _: fleet.post(endpoint, "/tokenize", body, seconds))

    fleet.enter()
    for _ in range(6):
        await ask()
    assert len(made) == 1
    await asyncio.gather(*(ask() for _ in range(20)))
    assert 1 < len(made) <= 4
    before = len(made)
    with pytest.raises(LostError):
        await ask(0.0)
    assert [client.is_closed for client in made].count(True) == 1
    await asyncio.gather(*(ask() for _ in range(20)))
    assert len(made) <= before + 1
    await fleet.leave()
    assert all(client.is_closed for client in made)


@pytest.mark.parametrize("kind", OWNERS)
def test_every_kind_is_searched_to_the_end_and_step_by_step(kind: str) -> None:
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


@pytest.mark.parametrize(
    ("kind", "stopping", "by_ids", "template"),
    [
        ("vllm", "told", True, "tokenize"),
        ("rollwise", "told", True, "tokenize"),
        ("sglang", "told", True, "plain"),
        ("llamacpp", "told", True, "apply-template"),
        ("llama-cpp-python", "shown", False, "plain"),
        ("transformers", "kept", False, "plain"),
        ("openai", "cut", False, "plain"),
    ],
)
def test_a_probe_finds_what_a_server_can_do(kind: str, stopping: str, by_ids: bool, template: str) -> None:
    with emulated(kind) as server:
        found = probe(addresses(server.url + "/v1")[0])
    assert (found.kind, found.stopping, found.by_ids, found.template) == (kind, stopping, by_ids, template)
    assert found.model == "tiny"
    assert found.logprobs == (None if kind == "transformers" else 2)


def test_a_server_that_fails_at_stop_strings_is_streamed_from() -> None:
    with emulated("transformers", no_stops=True, logprobs=False) as server:
        assert probe(addresses(server.url)[0]).stopping == "cut"
        steps = asyncio.run(grown(HttpPolicy(server.url), [Path((0,))]))
    assert isinstance(steps[0], Step)
    assert steps[0].text in (WAYS[0][0], WAYS[1][0])


@pytest.mark.parametrize("certainty", [True, False])
@pytest.mark.parametrize("logits_all", [True, False])
def test_llama_cpp_python_is_streamed_from_unless_log_probabilities_show_the_ends(
    certainty: bool, logits_all: bool
) -> None:
    shown = certainty and logits_all
    with emulated("llama-cpp-python", logits_all=logits_all) as server:
        policy = HttpPolicy(server.url)
        assert policy.server.refused == (frozenset() if logits_all else {"logprobs"})
        assert policy.server.stopping == ("shown" if logits_all else "cut")
        server.log.clear()
        path = asyncio.run(walk(policy, PROBLEM, Sampling(temperature=0, certainty=certainty)))
        bodies = server.bodies("/v1/completions")
    assert [step.text for step in path.steps] == WAYS[0]
    assert [step.stop for step in path.steps] == [Stop.STEP, Stop.STEP, Stop.END]
    assert [step.tokens for step in path.steps] == [len(text) for text in WAYS[0]]
    assert [("stream" in body, "stop" in body, "logprobs" in body) for body in bodies] == [
        (not shown, shown, shown)
    ] * 3


@pytest.mark.parametrize("certainty", [True, False])
def test_a_prompt_that_llama_cpp_python_has_no_room_for_is_sent_no_eight_times(certainty: bool) -> None:
    with emulated("llama-cpp-python", context=100) as server:
        policy = HttpPolicy(server.url)
        server.log.clear()
        long = Path((0, 0), (Step("x" * 100, 100, Stop.STEP),))
        session = policy.open(PROBLEM, Sampling(certainty=certainty))
        (lost,) = asyncio.run(closing(session, session.extend([long])))
        asked = server.bodies("/v1/completions")
    assert lost == Failure("the server answered 400: This model's maximum context length is 100 tokens")
    assert [body.get("stream", False) for body in asked] == ([False] if certainty else [True, False])


@pytest.mark.parametrize(
    ("settings", "tempering"), [({}, "asked"), ({"temperature": 0}, "greedy"), ({"temperature": 1}, "first")]
)
def test_whose_temperature_holds_is_tried_and_told(settings: dict[str, Any], tempering: str) -> None:
    with emulated("transformers", **settings) as server:
        found = probe(addresses(server.url)[0])
        told = HttpPolicy(server.url).remarks
    assert found.tempering == tempering
    assert found.one_at_a_time == (tempering != "first")
    assert any("--continuous-batching" in one for one in told) == (tempering != "asked")


def test_a_name_that_a_proxy_rewrote_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OWNERS, "sglang", "gateway")
    with emulated("sglang") as server:
        found = probe(addresses(server.url)[0])
    assert (found.kind, found.stop_key) == ("sglang", "matched_stop")


def test_a_prompt_is_rendered_once_and_steps_go_on_by_their_ids(served: Emulator) -> None:
    policy = HttpPolicy(served.url)
    served.log.clear()
    first = asyncio.run(grown(policy, [Path((0,))]))[0]
    assert isinstance(first, Step)
    assert len(served.bodies("/tokenize")) == 1
    assert first.ids == tuple(encode(first.text))
    asyncio.run(grown(policy, [Path((0, 0), (first,))]))
    start, later = (body["prompt"] for body in served.bodies("/v1/completions"))
    assert start == encode(f"<user>{QUESTION}<answer>")
    assert later == [*start, *first.ids]
    bare = replace(first, ids=())
    second = asyncio.run(grown(policy, [Path((0, 0), (bare,))]))[0]
    assert isinstance(second, Step)
    assert served.bodies("/v1/completions")[-1]["prompt"] == later


def test_the_text_world_tells_to_box_the_answer_and_judges_nothing(served: Emulator) -> None:
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
def test_step_rules_cut_the_same_text_elsewhere(served: Emulator, rule: str) -> None:
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


def test_a_model_that_thinks_is_kept_from_it_or_cut_by_length() -> None:
    with emulated("vllm", thinking=True) as server:
        policy = HttpPolicy(server.url)
        assert (policy.server.thinking, policy.rule.name) == ("off", "separator")
        step = asyncio.run(grown(policy, [Path((0,))]))[0]
        assert isinstance(step, Step)
        assert server.bodies("/tokenize")[-1]["chat_template_kwargs"] == {"enable_thinking": False}
    with emulated("vllm", opens="<think>\n") as server:
        policy = HttpPolicy(server.url)
        assert (policy.server.thinking, policy.rule.name) == ("forced", "tokens(256)")
        assert any("thinks" in remark for remark in policy.remarks)
        assert HttpPolicy(server.url, "sentence").rule.name == "sentence"


def test_a_search_repeats_and_order_of_replies_changes_nothing(served: Emulator) -> None:
    def answers(**fields: Any) -> list[tuple[Any, str]]:
        solution = rollwise.solve(QUESTION, "dora", 8, policy=served.url, directions="text", **fields)
        return sorted((path.key, path.text) for path in solution.finished)

    assert answers() == answers(concurrency=1) == answers(concurrency=3)
    assert answers() != answers(seed=5)


def test_requests_at_once_are_bounded() -> None:
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
        server.most, server.settings["seconds"] = 0, 0.1
        steps = asyncio.run(grown(policy, [Path((index, 0)) for index in range(12)]))
    finally:
        server.shutdown()
        server.server_close()
    assert all(isinstance(step, Step) for step in steps)
    assert 1 < server.most <= 3


def test_what_may_pass_is_tried_again_and_a_server_may_say_when(served: Emulator) -> None:
    policy = HttpPolicy(served.url, patience=FAST)
    served.failures = [(500, {}), (429, {"Retry-After": "0.3"}), (503, {})]
    began = time.monotonic()
    step = asyncio.run(grown(policy, [Path((0,))]))[0]
    assert isinstance(step, Step)
    assert time.monotonic() - began >= 0.3
    served.failures = [(500, {})] * 50
    lost = asyncio.run(grown(policy, [Path((0,))]))[0]
    assert isinstance(lost, Failure)
    assert "500" in lost.reason
    assert "tried 8 times" in lost.reason
    served.failures = [(429, {"Retry-After": "500"})] * 50
    policy.fleet.patience = replace(FAST, deadline=1.0)
    began = time.monotonic()
    late = asyncio.run(grown(policy, [Path((0,))]))[0]
    assert isinstance(late, Failure)
    assert time.monotonic() - began < 60


def test_what_will_not_pass_costs_one_rollout_at_once(served: Emulator) -> None:
    policy = HttpPolicy(served.url, patience=FAST)
    served.failures = [(400, {})]
    served.log.clear()
    results = asyncio.run(grown(policy, [Path((index, 0)) for index in range(4)]))
    assert sum(isinstance(result, Failure) for result in results) == 1
    assert len(served.bodies("/v1/completions")) == 4


def test_a_key_comes_from_the_environment_and_is_told_to_nobody(
    served: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-openai")
    monkeypatch.setenv("ROLLWISE_API_KEY", "key-of-rollwise")
    caplog.set_level("DEBUG")
    policy = HttpPolicy(served.url, patience=FAST)
    served.failures = [(401, {})]
    lost = asyncio.run(grown(policy, [Path((0,))]))[0]
    assert isinstance(lost, Failure)
    assert "Bearer ***" in lost.reason
    assert {headers["Authorization"] for _, _, headers in served.log} == {"Bearer key-of-rollwise"}
    for told in (
        repr(policy),
        repr(policy.server),
        repr(lost),
        caplog.text,
        repr(vars(policy)),
        repr(vars(policy.fleet)),
    ):
        assert "key-of" not in told
    assert hidden("a key-of-openai b") == "a *** b"
    monkeypatch.delenv("ROLLWISE_API_KEY")
    probe(addresses(served.url)[0])
    assert served.log[-1][2]["Authorization"] == "Bearer key-of-openai"
    monkeypatch.delenv("OPENAI_API_KEY")
    probe(addresses(served.url)[0])
    assert "Authorization" not in served.log[-1][2]


def test_questions_keep_to_one_server_and_move_when_it_dies() -> None:
    with emulated("vllm") as one, emulated("vllm") as other:
        policy = HttpPolicy(f"{one.url},{other.url}", patience=FAST)
        questions = [f"question {index}" for index in range(12)]
        homes = {question: policy.fleet.choose(question).address.url for question in questions}
        assert set(homes.values()) == {one.url, other.url}
        alone = Fleet([Address(one.url)])
        assert {alone.choose(question).address.url for question in questions} == {one.url}
        moved = next(question for question in questions if homes[question] == one.url)
        one.log.clear()
        other.log.clear()
        problem = Problem(moved, QUESTION)
        asyncio.run(grown(policy, [Path((index, 0)) for index in range(4)], problem))
        assert len(one.bodies("/v1/completions")) == 4
        assert not other.log
        one.shutdown()
        one.server_close()
        steps = asyncio.run(grown(policy, [Path((index, 0)) for index in range(4)], problem))
        assert all(isinstance(step, Step) for step in steps)
        assert len(other.bodies("/v1/completions")) == 4


def test_a_server_missing_at_the_start_is_left_out_and_unlike_servers_are_refused(served: Emulator) -> None:
    policy = HttpPolicy(f"http://127.0.0.1:9,{served.url}")
    assert [server.url for server in policy.servers] == [served.url]
    assert "nothing answers at http://127.0.0.1:9" in policy.remarks[0]
    with emulated("rollwise") as other, pytest.raises(InputError, match="not alike"):
        HttpPolicy(f"{served.url},{other.url}")
    with pytest.raises(InputError, match="serves no model 'huge'; it serves: tiny"):
        HttpPolicy(f"{served.url}#huge")


def test_rendezvous_moves_only_the_questions_of_a_server_that_goes() -> None:
    urls = [Address(f"http://10.0.0.{index}") for index in range(4)]
    fleet, fewer = Fleet(urls), Fleet(urls[:3])
    homes = {question: fleet.choose(question).address for question in map(str, range(400))}
    counts = [sum(home == url for home in homes.values()) for url in urls]
    assert min(counts) > 60
    for question, home in homes.items():
        if home != urls[3]:
            assert fewer.choose(question).address == home


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
            await asyncio.wait_for(runner.solve(runner.world.parse(QUESTION)), 0.3)

        began = time.monotonic()
        with pytest.raises(TimeoutError):
            asyncio.run(search())
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("kind", ["vllm", "openai"])
def test_every_question_ends_though_a_tenth_of_the_exchanges_breaks(kind: str) -> None:
    with emulated(kind) as server, faulty(server.url, 0.1) as proxy:
        policy = HttpPolicy(proxy.url, patience=FAST)
        config = Config.of(policy=policy, world="countdown", reward="dial(0)", directions="text", budget=8)
        runner = Runner(config)

        async def all_of_them() -> list[rollwise.Solution]:
            problems = [Problem(f"question {index}", QUESTION, "24", "countdown") for index in range(4)]
            return await asyncio.gather(*(runner.solve(problem) for problem in problems))

        solutions = asyncio.run(all_of_them())
    assert set(proxy.done) == {"passed", *FAULTS}
    for solution in solutions:
        assert len(solution.finished) + len(solution.failures) == 8
        assert len(solution.finished) == 8
        assert {path.text for path in solution.finished} <= set(TEXTS)


def test_where_nothing_gets_through_every_rollout_is_lost_and_said_so() -> None:
    with emulated("vllm") as server, faulty(server.url, 0.0) as proxy:
        policy = HttpPolicy(proxy.url, patience=replace(FAST, attempts=3))
        proxy.share, proxy.kinds = 1.0, ("drop", "garbage")
        solution = rollwise.solve(
            QUESTION, budget=4, policy=policy, world="text", reward="confidence", directions="text"
        )
    assert solution.finished == ()
    assert len(solution.failures) == 4
    assert all("tried 3 times" in reason for reason in solution.failures)


def test_waits_and_statuses() -> None:
    patience = Patience(first=1.0, longest=8.0)
    for attempt in range(6):
        wait = patience.wait(attempt, None, "a", 1)
        assert 0.5 * min(8, 2**attempt) <= wait <= min(8, 2**attempt)
        assert wait == patience.wait(attempt, None, "a", 1)
    assert patience.wait(0, None, "a") != patience.wait(0, None, "b")
    assert patience.wait(0, 30.0, "a") == 30.0
    assert retry_after("2", 0) == 2
    assert retry_after("Thu, 01 Jan 1970 00:00:10 GMT", 4) == 6
    assert [retry_after(value, 0) for value in (None, "", "soon", "inf")] == [None] * 4
    for status in (408, 425, 429, 500, 502, 503, 504):
        with pytest.raises(PassingError):
            check_status(status, "{}")
    for status in (301, 400, 401, 403, 404, 422):
        with pytest.raises(LostError):
            check_status(status, '{"detail": [{"msg": "no"}]}')
    check_status(200, "")


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
def test_what_cannot_work_is_said_before_the_first_token(served: Emulator, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        rollwise.solve(QUESTION, policy=served.url, budget=4, **({"directions": "text"} | fields))
    assert all(body["max_tokens"] <= 2 for body in served.bodies("/v1/completions"))


def test_a_template_that_takes_no_system_message_is_told_of_with_the_way_out() -> None:
    with emulated("vllm", no_system=True) as server:
        with pytest.raises(InputError, match=r"System role not supported; .*--instruction user"):
            rollwise.solve(QUESTION, "rebase", 4, policy=server.url)
        solution = rollwise.solve(QUESTION, "rebase", 4, policy=server.url, instruction="user")
    assert len(solution.finished) == 4


def test_a_policy_given_as_an_object_shows_no_hidden_states_either(served: Emulator) -> None:
    with pytest.raises(InputError, match="no hidden states"):
        rollwise.solve(QUESTION, budget=4, policy=HttpPolicy(served.url), world="text", reward="confidence")


def test_where_all_servers_rest_the_one_that_rested_longest_is_asked() -> None:
    fleet = Fleet([Address("http://10.0.0.1"), Address("http://10.0.0.2")], clock=lambda: 100.0)
    first, second = fleet.ranked("a")
    assert fleet.choose("a") is first
    first.rests_until, second.rests_until = 130.0, 120.0
    assert fleet.choose("a") is second
    second.rests_until = 99.0
    assert fleet.choose("a") is second


def test_a_policy_without_log_probabilities_asks_for_a_reward_first() -> None:
    with emulated("transformers") as server:
        with pytest.raises(InputError, match="no log-probabilities"):
            rollwise.solve(QUESTION, budget=4, policy=server.url, directions="text")
        assert all(body["max_tokens"] <= 8 for body in server.bodies("/v1/completions"))


@pytest.mark.parametrize("field", [{"concurrency": 3}, {"window": "step"}, {"tokenizer": "."}])
def test_options_of_a_served_policy_are_not_taken_and_ignored_elsewhere(field: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        rollwise.solve(QUESTION, budget=4, **field)


def test_a_question_longer_than_the_context_is_refused(served: Emulator) -> None:
    with pytest.raises(InputError, match="takes 792 tokens and the model reads 600"):
        rollwise.solve("9" * 700, "rebase", 2, policy=served.url)
    solution = rollwise.solve("7" * 440, "rebase", 2, policy=served.url, max_steps=3)
    prompts = [len(body["prompt"]) + body["max_tokens"] for body in served.bodies("/v1/completions")]
    assert max(prompts) <= 600
    assert solution.failures == ()


def path_of(*texts: str) -> Path:
    return Path((0,) * len(texts), tuple(Step(text, 1, Stop.STEP) for text in texts))


def test_windows_of_a_path() -> None:
    path = path_of("one two\n\n", "three  four\n\n")
    assert window("whole")(path) == "one two\n\nthree  four\n\n"
    assert window("step")(path) == "three  four\n\n"
    assert window("tail(3)")(path) == "two three four"
    assert window("step")(path_of("one\n\n", "\n\n")) == "one\n\n\n\n"
    for wrong in ("", "tail", "tail(0)", "half"):
        with pytest.raises(InputError, match="window"):
            window(wrong)


def test_equal_steps_go_together_whatever_came_before(served: Emulator) -> None:
    session = EqualSteps().open(PROBLEM, HttpPolicy(served.url).open(PROBLEM, Sampling()))
    found = asyncio.run(session.find([path_of("a", "X  is\n1"), path_of("b", " x is 1 \n"), path_of("a", "x is 2")]))
    labels = [evidence.label for evidence in found if not isinstance(evidence, Failure)]
    assert labels[0] == labels[1] != labels[2]


def test_only_new_texts_are_embedded_and_each_path_gets_its_own() -> None:
    with emulated("vllm") as server:
        embedder = HttpEmbedder(server.url, "step")
        assert embedder.size == 10
        server.log.clear()

        async def rounds() -> tuple[Any, int]:
            session: Any = embedder.open(PROBLEM, HttpPolicy(server.url).open(PROBLEM, Sampling()))
            await session.find([path_of("11"), path_of("2"), path_of("11")])
            found = await session.find([path_of("11", "2"), path_of("11", "333")])
            await session.close()
            return found, session.usage.prefilled

        found, read = asyncio.run(rounds())
    assert [body["input"] for body in server.bodies("/v1/embeddings")] == [["11", "2"], ["333"]]
    assert read == len("11" + "2" + "333")
    np.testing.assert_allclose([one.embedding[2:4] for one in found], [[1.01, 0.01], [0.01, 3.01]])


async def evidence(embedder: HttpEmbedder, texts: list[str]) -> list[Any]:
    session: Any = embedder.open(PROBLEM, HttpPolicy(embedder.given[0].url).open(PROBLEM, Sampling()))
    try:
        return list(await session.find([path_of(text) for text in texts]))
    finally:
        await session.close()


@pytest.mark.parametrize(("status", "tries"), [(400, (1, 1)), (500, (8, 2))])
@pytest.mark.parametrize("bad", [0, 21, 63])
def test_a_text_that_cannot_be_embedded_is_found_by_halves_and_leaves_its_path_unplaced(
    status: int, tries: tuple[int, int], bad: int
) -> None:
    texts = [str(1000 + index) for index in range(64)]
    texts[bad] = "2" * 13
    with emulated("vllm", longest_embedded=12, refuses_by=status) as server:
        embedder = HttpEmbedder(server.url, "step", patience=FAST)
        server.log.clear()
        found = asyncio.run(evidence(embedder, texts))
        asked = [body["input"] for body in server.bodies("/v1/embeddings")]
    for text, one in zip(texts, found, strict=True):
        if text == texts[bad]:
            assert (one.embedding, one.unplaced is None) == (None, False)
            assert "a text is too long" in one.unplaced
        else:
            np.testing.assert_allclose(one.embedding, [text.count(digit) + 0.01 for digit in "0123456789"])
    first, later = tries
    assert asked.count(texts) == first
    assert asked.count([KNOWN]) == 7
    assert (
        len(asked) == first + 6 * later + 6 + 7
    )  # the bad halves, the good ones, and the text that is known to be good


def test_a_server_that_is_gone_is_not_asked_text_by_text() -> None:
    with emulated("vllm") as server, faulty(server.url, 0.0, kinds=("drop",)) as proxy:
        embedder = HttpEmbedder(proxy.url, "step", patience=FAST)
        proxy.share = 1.0
        for count, most in ((1, 10), (64, 10), (130, 18)):  # later batches are tried twice
            proxy.done.clear()
            session: Any = embedder.open(PROBLEM, NoPolicy())
            found = asyncio.run(closing(session, session.find([path_of(str(index)) for index in range(count)])))
            assert [type(one) for one in found] == [Failure] * count
            assert "tried 8 times" in found[0].reason
            assert len(proxy.done) == most


async def closing(session: Any, result: Any) -> Any:
    try:
        return await result
    finally:
        await session.close()


def test_embeddings_come_through_a_line_that_breaks(served: Emulator) -> None:
    texts = [str(index) for index in range(200)]
    plain = asyncio.run(evidence(HttpEmbedder(served.url, patience=FAST), texts))
    with faulty(served.url, 0.3, kinds=("drop", "truncate", "500", "garbage")) as proxy:
        embedder = HttpEmbedder(proxy.url, patience=FAST)
        session: Any = embedder.open(PROBLEM, NoPolicy())
        found = asyncio.run(closing(session, session.find([path_of(text) for text in texts])))
    np.testing.assert_array_equal([one.embedding for one in found], [one.embedding for one in plain])


def test_a_search_goes_on_where_solutions_outgrow_the_embedder() -> None:
    longest = max(len(way[0]) for way in WAYS)
    fields: dict[str, Any] = {"budget": 8, "strategy": "dora", "world": "countdown", "reward": "confidence"}
    with emulated("vllm", longest_embedded=longest) as server:
        solution = rollwise.solve(QUESTION, policy=server.url, directions=server.url, **fields)
    assert (len(solution.finished), solution.failures) == (8, ())
    assert len([note for note in solution.notes if note.startswith("8 paths went on as directions of their own")]) == 1
    first, second, third = rounds(solution.events)
    assert [event.unplaced is None for event in (*first.grown, *third.grown)] == [True] * 16
    assert all("too long" in str(event.unplaced) for event in second.grown)
    assert second.allocated is not None
    assert second.allocated.allocation.effective_directions == 8
    assert "8 unplaced" in round_line(second).plain
    assert "too long" in event_records(second.grown, {})[0]["unplaced"]
    assert Outcome.of(solution).unplaced == 8


def test_an_embedder_that_is_gone_costs_the_rollouts_that_need_it(served: Emulator) -> None:
    with faulty(served.url, 0.0, kinds=("drop",)) as proxy:
        embedder = HttpEmbedder(proxy.url, patience=FAST)
        proxy.share = 1.0
        solution = rollwise.solve(QUESTION, "dora", 8, policy=served.url, directions=embedder)
    assert len(solution.failures) == 8
    assert all("tried 8 times" in reason for reason in solution.failures)


@pytest.mark.parametrize(("bad", "unplaced"), [("a text", 1), (KNOWN, 0)])
def test_what_breaks_a_model_in_this_process_costs_no_other_text(bad: str, unplaced: int) -> None:
    class Model:
        """Breaks down at one text: at none other, or at all."""

        def embed(self, texts: list[str]) -> Any:
            if bad == KNOWN or bad in texts:
                raise RuntimeError("out of memory")
            return np.array([[len(text), 1.0] for text in texts])

        def tokens(self, texts: list[str]) -> int:
            return sum(map(len, texts))

    session = EmbeddingSession(_InThread(Model()), window("whole"))  # type: ignore[arg-type]
    found: list[Any] = list(asyncio.run(session.find([path_of(text) for text in ("one", "a text", "three")])))
    if not unplaced:
        assert found == [Failure("RuntimeError: out of memory")] * 3
        return
    assert [one.unplaced for one in found] == [None, "RuntimeError: out of memory", None]
    assert [found[0].embedding[0], found[2].embedding[0]] == [3, 5]
    assert session.usage.prefilled == len("one" + "three") + 3 * len(KNOWN)


def test_directions_by_a_server_that_embeds(served: Emulator) -> None:
    solution = rollwise.solve(QUESTION, budget=8, policy=served.url, directions=served.url, window="step")
    distinct = {text for way in WAYS for text in way[:2]}
    assert solution.ledger.usage["embedder"].prefilled == sum(map(len, distinct))
    assert len(solution.finished) == 8
    with emulated("vllm", embeds=False) as server, pytest.raises(InputError, match="does not embed"):
        HttpEmbedder(server.url)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(build_app(), list(arguments))


def test_one_url_is_enough_to_solve(served: Emulator) -> None:
    shown = run("solve", QUESTION, "--policy", served.url, "--budget", "8")
    assert shown.exit_code == 0, shown.output
    told = " ".join(shown.output.split())
    for part in ("note: the reward is the policy's own confidence", "not checked", "8 paths finished", "unknown"):
        assert part in told
    reply = json.loads(run("solve", QUESTION, "--policy", served.url, "--budget", "8", "--json").output)
    assert reply["finished"] == 8
    assert reply["notes"]


def test_doctor_says_what_servers_can_do(served: Emulator) -> None:
    with emulated("openai") as other:
        shown = run("doctor", served.url, other.url)
        assert shown.exit_code == 0, shown.output
        told = " ".join(shown.output.split())
        for part in (
            "vllm 0.33.0",
            "tiny, reads 600 tokens",
            "token ids",
            "stop_reason",
            "honoured",
            "at work",
            "streamed",
        ):
            assert part in told
        found = json.loads(run("doctor", served.url, other.url, "--json").output)
    assert [one["kind"] for one in found] == ["vllm", "openai"]
    assert found[0]["seed"] is True
    assert found[0]["step_rule"] == "separator"
    missing = run("doctor", "http://127.0.0.1:9")
    assert missing.exit_code == 1
    assert "nothing answers" in missing.output


def test_the_policys_own_confidence_is_a_reward_by_name_for_local_policies_too() -> None:
    solution = rollwise.solve(QUESTION, "rebase", 4, reward="confidence")
    for path in solution.finished:
        for step, reward in zip(path.steps, path.rewards, strict=True):
            assert reward == pytest.approx(np.exp(step.logprob / step.tokens))


def test_copies_of_one_path_are_asked_for_together_and_get_what_each_would_get_alone() -> None:
    with emulated("vllm") as server:
        policy = HttpPolicy(server.url, patience=FAST)
        paths = [Path((index,)) for index in range(20)]
        before = len(server.bodies("/v1/completions"))
        together = asyncio.run(grown(policy, paths))
        asked = server.bodies("/v1/completions")[before:]
        alone = [asyncio.run(grown(policy, [path]))[0] for path in paths]
    assert [body.get("n") for body in asked] == [16, 4]
    assert asked[1]["seed"] == asked[0]["seed"] + 16
    assert together == alone
    assert len({step.text for step in together if isinstance(step, Step)}) == 2


@pytest.mark.parametrize("kind", ["sglang", "llamacpp", "transformers", "openai"])
def test_who_may_seed_several_completions_otherwise_is_asked_for_one_at_a_time(kind: str) -> None:
    with emulated(kind) as server:
        policy = HttpPolicy(server.url, patience=FAST)
        asyncio.run(grown(policy, [Path((index,)) for index in range(5)]))
        bodies = server.bodies("/completion" if kind == "llamacpp" else "/v1/completions")
    assert all(body.get("n", 1) == 1 for body in bodies)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), unique=True), st.integers(1, 4))
def test_groups_of_copies_are_runs_of_one_parents_children(keys: list[tuple[int, int]], most: int) -> None:
    paths = [Path(key) for key in keys]
    groups = fork_groups(paths, most)
    assert [path for group in groups for path in group] == paths
    for group in groups:
        assert len(group) <= most
        assert [path.key for path in group] == [
            (group[0].key[0], group[0].key[1] + index) for index in range(len(group))
        ]
        assert [seed_of(path, "q") for path in group] == [seed_of(group[0], "q") + index for index in range(len(group))]
    for one, other in itertools.pairwise(groups):
        assert len(one) == most or other[0].key != (one[-1].key[0], one[-1].key[1] + 1)


def test_what_a_shared_reply_says_nothing_of_is_asked_for_again_by_itself() -> None:
    with emulated("vllm") as server:
        policy = HttpPolicy(server.url, patience=FAST)
        paths = [Path((index,)) for index in range(4)]
        whole = asyncio.run(grown(policy, paths))
        server.settings["broken_choice"] = 2
        before = len(server.bodies("/v1/completions"))
        assert asyncio.run(grown(policy, paths)) == whole
        assert [body.get("n", 1) for body in server.bodies("/v1/completions")[before:]] == [4, 1]
        server.settings["most"] = 2
        assert asyncio.run(grown(policy, paths)) == whole
        assert [body.get("n", 1) for body in server.bodies("/v1/completions")[-5:]] == [4, 1, 1, 1, 1]


@pytest.mark.parametrize(("kind", "fewest"), [("vllm", 0), ("rollwise", 0), ("sglang", 1), ("openai", 1)])
def test_the_likeliest_tokens_are_asked_for_where_the_reward_reads_them(kind: str, fewest: int) -> None:
    with emulated(kind) as server:
        for reward, asked in (("confidence", 5), ("dial(0)", fewest)):
            server.log.clear()
            rollwise.solve(
                QUESTION, "rebase", 4, policy=server.url, world="countdown", reward=reward, directions="text"
            )
            told = [body["logprobs"] for body in server.bodies("/v1/completions") if "logprobs" in body]
            assert told[-1] == asked
