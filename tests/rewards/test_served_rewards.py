"""Reward models behind a server: literal requests and replies, a server that computes, a broken server, a judge."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import torch
from tiny import CHATML, tiny_model, word_tokenizer, words_of

from rollwise.core import Failure, Path, Problem, Step, Stop
from rollwise.engines.http.client import Patience
from rollwise.engines.http.shapes import BrokenReplyError
from rollwise.errors import InputError
from rollwise.registry import find_reward, find_world
from rollwise.rewards.judge import Judge, messages, read_points, read_yes_no
from rollwise.rewards.layouts import CHAT, MATH_SHEPHERD, RLHFLOW, SKYWORK, TRL, Family
from rollwise.rewards.local import LocalReward
from rollwise.rewards.served import ROUTES, ServedReward, own_pooling_score

torch.set_num_threads(1)

QUESTION = "What is 1 + 1 ?"
STEPS = ["First: 1 + 1 = 2 .", "So the answer is 2 ."]
PROBLEM = Problem("one", QUESTION)
SPECIAL = ("<pad>", "<s>", "<|im_start|>", "<|im_end|>")
TOKENIZER: Any = word_tokenizer(
    [*("+", "-", " +", " -", "ки", " ки", "a", " a", "system", "user", "assistant"), *words_of(QUESTION, *STEPS, "\n")],
    SPECIAL,
    opened_by="<s>",
    bos_token="<s>",
    eos_token="<|im_end|>",
    pad_token="<pad>",
    chat_template=CHATML,
)
QUICK = Patience(attempts=4, first=0.001, longest=0.002)
Reply = tuple[int, Any]


def path_of(*steps: str, key: tuple[int, ...] = (0,)) -> Path:
    return Path(key, tuple(Step(f"{step}\n\n", 1, Stop.STEP) for step in steps))


@contextmanager
def serving(answer: Callable[[str, Any], Reply]) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """The URL of a server that replies to (path, body) with (status, JSON), and the log of its requests."""
    log: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply(None)

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def _reply(self, body: Any) -> None:
            log.append((self.path, body))
            status, reply = answer(self.path, body)
            data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", log
    finally:
        server.shutdown()
        server.server_close()


def local(family: Family) -> LocalReward:
    kind = "LlamaForTokenClassification" if family.head == "labels" else "LlamaForCausalLM"
    return LocalReward(tiny_model(kind, TOKENIZER).double(), TOKENIZER, family=family)


def computing(reward: LocalReward, length: int = 160) -> Callable[[str, Any], Reply]:
    """The replies of a server in the manner of vLLM, which reads every prompt as a whole."""

    def tokenize(body: Any) -> list[int]:
        if "messages" in body:
            text = TOKENIZER.apply_chat_template(
                body["messages"], tokenize=False, add_generation_prompt=body["add_generation_prompt"]
            )
            return list(TOKENIZER(text, add_special_tokens=False)["input_ids"])
        return list(TOKENIZER(body["prompt"], add_special_tokens=body["add_special_tokens"])["input_ids"])

    def logits(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            return reward.model(input_ids=torch.tensor([ids])).logits[0]

    def answer(path: str, body: Any) -> Reply:
        match path:
            case "/v1/models":
                return 200, {"data": [{"id": "prm", "max_model_len": length, "owned_by": "vllm"}]}
            case "/tokenize":
                return 200, {"tokens": tokenize(body), "max_model_len": length}
            case "/pooling":
                (ids,) = body["input"]
                rows = torch.softmax(logits(ids), -1).tolist()
                return 200, {"data": [{"index": 0, "data": rows}], "usage": {"prompt_tokens": len(ids)}}
            case "/v1/completions":
                ids, words = body["prompt"], body["logprob_token_ids"]
                chances = torch.log_softmax(logits(ids)[-1], -1)
                logprobs = {f"token_id:{word}": float(chances[word]) for word in words}
                usage = {
                    "prompt_tokens": len(ids),
                    "completion_tokens": 1,
                    "prompt_tokens_details": {"cached_tokens": 8},
                }
                return 200, {"choices": [{"logprobs": {"top_logprobs": [logprobs]}}], "usage": usage}
            case "/generative_scoring":
                ids = [*body["query"], *body["items"][0]]
                share = torch.softmax(logits(ids)[-1][body["label_token_ids"]], -1)[0]
                return 200, {"data": [{"index": 0, "score": float(share)}], "usage": {"prompt_tokens": len(ids)}}
        return 404, {"detail": "Not Found"}

    return answer


@pytest.mark.parametrize(
    ("family", "route"),
    [
        (TRL, "pooling"),
        (CHAT, "pooling"),
        (MATH_SHEPHERD, "one_token"),
        (MATH_SHEPHERD, "generative_scoring"),
        (RLHFLOW, "one_token"),
    ],
    ids=lambda part: getattr(part, "name", part),
)
async def test_a_served_model_scores_as_the_same_model_in_this_process(family: Family, route: str) -> None:
    reward = local(family)
    paths = [path_of(STEPS[0]), path_of(*STEPS, key=(0, 0)), path_of(STEPS[1], key=(1,))]
    paths.append(Path((2,), (*paths[0].steps, Step(STEPS[1], 1, Stop.END))))
    expected = [(await reward.open(PROBLEM, 0).score([path]))[0] for path in paths]
    with serving(computing(reward)) as (url, log):
        found_reward: Any = find_reward(f"{family.name}/{route}@{url}/v1", "countdown")
        assert ["reads the whole solution again" in remark for remark in found_reward.remarks] == [True] * (
            route == "pooling"
        )
        session: Any = found_reward.open(PROBLEM, 0)
        found = await session.score([*paths, paths[0]])
        assert found == pytest.approx([*expected, expected[0]], abs=1e-12)
        asked = [body for path, body in log if path == ROUTES[route].path]
        assert len(asked) == len({json.dumps(body) for body in asked}) == session.usage.calls
        assert all(body["model"] == "prm" for body in asked)
        read = sum(len(reward.tokens(family.solution(QUESTION, path))) for path in paths[: len(asked)])
        kept = 8 * len(asked) if route == "one_token" else 0
        assert (session.usage.prefilled, session.usage.cached) == (read - kept, kept)
        tokenized = sum(path == "/tokenize" for path, _ in log)
        await session.score(paths)
        assert sum(path == "/tokenize" for path, _ in log) == tokenized
        await session.close()


async def test_requests_and_replies_follow_vllms_protocol() -> None:
    """The expected values are written by hand from vLLM's protocol, with made-up ids."""
    tokens, words = (5, 6, 7), (648, 387)
    assert ROUTES["pooling"].body(tokens, None) == {
        "input": [[5, 6, 7]],
        "task": "token_classify",
        "use_activation": True,
    }
    assert ROUTES["one_token"].body(tokens, words) == {
        "prompt": [5, 6, 7],
        "max_tokens": 1,
        "temperature": 0.0,
        "logprobs": 2,
        "logprob_token_ids": [648, 387],
        "return_tokens_as_token_ids": True,
        "add_special_tokens": False,
    }
    assert ROUTES["generative_scoring"].body(tokens, words) == {
        "query": [5, 6],
        "items": [[7]],
        "label_token_ids": [648, 387],
        "apply_softmax": True,
        "add_special_tokens": False,
    }
    pooled = {"data": [{"index": 0, "object": "pooling", "data": [[0.25, 0.75], [0.625, 0.375]]}]}
    assert ROUTES["pooling"].score(pooled, None) == 0.375
    top = {"token_id:648": math.log(0.3), "token_id:387": math.log(0.1), "token_id:28705": math.log(0.5)}
    reply = {"choices": [{"text": " +", "logprobs": {"tokens": ["token_id:28705"], "top_logprobs": [top]}}]}
    assert ROUTES["one_token"].score(reply, words) == pytest.approx(0.75)
    assert ROUTES["generative_scoring"].score({"data": [{"index": 0, "score": 0.5}]}, words) == 0.5


@pytest.mark.parametrize("route", ROUTES)
def test_a_reply_of_another_shape_is_broken(route: str) -> None:
    odd_rows: list[Any] = [[0.0, 0.0, 1.0], [0.5], ["a", "b"], [math.nan, 0.5], [10**400, 1], None]
    words: list[Any] = [
        {},
        {"token_id:1": None, "token_id:2": -1.0},
        {"token_id:1": -math.inf, "token_id:2": -math.inf},
    ]
    shapes: list[Any] = [None, 3, "a", [], {}, {"data": None}, {"data": [3]}, {"data": [{"score": 2}]}, {"error": "no"}]
    shapes += [{"data": [{"data": rows}]} for rows in ([], [0.2, 0.8], *[[row] for row in odd_rows])]
    shapes += [{"choices": [{"logprobs": {"top_logprobs": [word]}}]} for word in words]
    shapes += [{"choices": [{"logprobs": None}]}, {"choices": [{}]}, {"data": [{"score": "high"}]}]
    for shape in shapes:
        with pytest.raises(BrokenReplyError):
            ROUTES[route].score(shape, (1, 2))
        if route == "pooling":
            with pytest.raises(BrokenReplyError):
                own_pooling_score(shape, None)


async def test_a_prompt_that_does_not_fit_the_context_is_not_sent() -> None:
    """vLLM's generative scoring would cut it silently."""
    reward = local(MATH_SHEPHERD)
    needed = len(reward.tokens(MATH_SHEPHERD.solution(QUESTION, path_of(STEPS[0]))))
    for length, fits in ((needed + 1, True), (needed, False)):
        with serving(computing(reward, length)) as (url, log):
            session = ServedReward(MATH_SHEPHERD, url, "generative_scoring").open(PROBLEM, 0)
            (found,) = await session.score([path_of(STEPS[0])])
            assert isinstance(found, float) == fits
            assert any(path == "/generative_scoring" for path, _ in log) == fits
            if isinstance(found, Failure):
                assert found.reason == f"{needed} tokens, and the reward model reads {length - 1}"
            await session.close()


async def test_a_third_label_is_ignored_for_rollwises_models_and_refused_for_others() -> None:
    works = computing(local(TRL))

    def answer(path: str, body: Any) -> Reply:
        pooled = {"data": [{"data": [[0.2, 0.6, 0.2]]}], "usage": {"prompt_tokens": 9}}
        return (200, pooled) if path == "/pooling" else works(path, body)

    with serving(answer) as (url, _):
        own, other = ServedReward(CHAT, url).open(PROBLEM, 0), ServedReward(TRL, url, patience=QUICK).open(PROBLEM, 0)
        assert await own.score([path_of(STEPS[0])]) == pytest.approx([0.75])
        with pytest.raises(InputError, match="the served model has 3"):
            await other.score([path_of(STEPS[0])])
        await own.close()
        await other.close()


@pytest.mark.parametrize(
    "broken",
    [(500, {"error": "busy"}), (429, {}), (200, b"{"), (200, {"data": []}), (200, {"data": [{"data": [[0.9, 0.9]]}]})],
    ids=["500", "429", "cut off", "nothing", "no probabilities"],
)
async def test_transient_failures_are_retried_and_a_lasting_failure_costs_one_rollout(broken: Reply) -> None:
    reward, pooled = local(TRL), 0
    works = computing(reward)
    never = reward.tokens(TRL.solution(QUESTION, path_of(STEPS[1])))

    def answer(path: str, body: Any) -> Reply:
        nonlocal pooled
        if path == "/pooling":
            pooled += 1
            if body["input"] == [list(never)] or pooled % 2:
                return broken
        return works(path, body)

    expected = await reward.open(PROBLEM, 0).score([path_of(STEPS[0])])
    with serving(answer) as (url, _):
        session = ServedReward(TRL, url, concurrency=1, patience=QUICK).open(PROBLEM, 0)
        (good,) = await session.score([path_of(STEPS[0])])
        (lost,) = await session.score([path_of(STEPS[1], key=(1,))])
        await session.close()
    assert good == pytest.approx(expected[0], abs=1e-12)
    assert isinstance(lost, Failure)
    assert "tried 4 times" in lost.reason


def test_impossible_routes_and_scales_are_refused_before_a_search() -> None:
    with pytest.raises(InputError, match="give its folder"):
        ServedReward(SKYWORK, "http://127.0.0.1:1")
    with pytest.raises(InputError, match="pooling, not with one_token"):
        ServedReward(TRL, "http://127.0.0.1:1", "one_token")
    with pytest.raises(InputError, match="judge"):
        find_reward("gpt@http://127.0.0.1:1", "countdown")
    with pytest.raises(InputError, match="points or yes_no"):
        find_reward("judge/stars@http://127.0.0.1:1", "countdown")


@pytest.mark.parametrize(
    ("said", "points"),
    [
        ("Score: 7", 0.7),
        ("Score: 10\n", 1.0),
        ("Score: 0", 0.0),
        ("score:7.5", 0.75),
        ("**Score:** 3", 0.3),
        ("**Score: 3/10**\n\n", 0.3),
        ("The final answer 4 is right.\nScore: 9.", 0.9),
        ("First I thought\nScore: 3\nbut no.\nScore: 4", 0.4),
        ("<think>maybe\nScore: 2\n</think>\nScore: 9", 0.9),
        ("no start of the thought\nScore: 2</think>Score: 9", 0.9),
        ("7", None),
        ("6/10", None),
        ("Score: 9. The final answer 4 is right.", None),
        ("Score (0-10): 7", None),
        ("Score: 7\nThat is all.", None),
        ("My Score: 7", None),
        ("Score: 7/100", None),
        ("Score: 11", None),
        ("Score: 100", None),
        ("Score: -1", None),
        ("Score: ", None),
        ("Score: 7 or 8", None),
        ("<think>maybe\nScore: 7", None),
        ("<think>a</think>\n<think>b\nScore: 7", None),
        ("<think>Score: 7</think>", None),
        ("no idea", None),
        ("", None),
    ],
)
def test_points_are_read_from_a_judges_reply(said: str, points: float | None) -> None:
    if points is None:
        with pytest.raises(ValueError, match=r"Score: N|from 0 to 10|does not end"):
            read_points(said)
    else:
        assert read_points(said) == pytest.approx(points)


def test_all_spellings_of_yes_and_no_count() -> None:
    tokens = [(" Yes", 0.3), ("yes", 0.1), ("No", 0.2), ("Maybe", 0.4)]
    shares = [{"token": token, "logprob": math.log(share)} for token, share in tokens]
    assert read_yes_no(shares) == pytest.approx(0.4 / 0.6)
    with pytest.raises(ValueError, match="neither"):
        read_yes_no(shares[3:])


def judging(content: Callable[[str], str]) -> Callable[[str, Any], Reply]:
    def answer(path: str, body: Any) -> Reply:
        if path == "/v1/models":
            return 200, {"data": [{"id": "chatty"}]}
        message = {"role": "assistant", "content": content(body["messages"][-1]["content"])}
        usage = {"prompt_tokens": 50, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 30}}
        choice = {"message": message, "finish_reason": "stop"}
        if body.get("logprobs"):
            shares = [{"token": "Yes", "logprob": math.log(0.6)}, {"token": "No", "logprob": math.log(0.2)}]
            choice["logprobs"] = {"content": [{"token": "Yes", "logprob": -0.5, "top_logprobs": shares}]}
        return 200, {"choices": [choice], "usage": usage}

    return answer


async def test_equal_texts_are_judged_once_and_a_reply_without_points_costs_one_rollout() -> None:
    paths = [path_of(STEPS[0]), path_of(STEPS[0], key=(1,)), path_of(STEPS[1], key=(2,))]
    with serving(judging(lambda asked: "who knows" if STEPS[1] in asked else "Right.\nScore: 8")) as (url, log):
        judge = Judge(url, patience=QUICK)
        assert judge.remarks == ()
        log.clear()
        session = judge.open(PROBLEM, 0)
        score, same, lost = await session.score(paths)
        await session.close()
    assert score == same == 0.8
    assert isinstance(lost, Failure)
    assert "who knows" in lost.reason
    bodies = [body for path, body in log if path == "/v1/chat/completions"]
    assert len(bodies) == 2
    fields = {"temperature": 0.0, "max_tokens": 256, "model": "chatty"}
    assert {"messages": messages(QUESTION, [STEPS[0]], "points"), **fields} in bodies  # they arrive in any order
    usage = session.usage
    assert (usage.prefilled, usage.cached, usage.generated, usage.calls) == (40, 60, 4, 2)


async def test_a_yes_no_judge_reads_the_probabilities_of_both_words() -> None:
    with serving(judging(lambda asked: "Yes")) as (url, _):
        session: Any = find_reward(f"judge/yes_no@{url}", "countdown").open(PROBLEM, 0)
        assert await session.score([path_of(*STEPS)]) == pytest.approx([0.75])
        await session.close()

    def silent(path: str, body: Any) -> Reply:
        return judging(lambda asked: "Yes")(path, {**(body or {}), "logprobs": False})

    with serving(silent) as (url, _), pytest.raises(InputError, match="judge/points"):
        Judge(url, "yes_no", patience=QUICK)


def thinking(thought: int, field: str = "max_tokens") -> Callable[[str, Any], Reply]:
    """The replies of a judge that thinks for so many tokens, and takes only the limit called `field`."""

    def answer(path: str, body: Any) -> Reply:
        if path == "/v1/models":
            return 200, {"data": [{"id": "thinker"}]}
        if field not in body:
            return 400, {"error": {"message": f"Unsupported parameter: 'max_tokens'. Use '{field}' instead."}}
        if "temperature" in body and field == "max_completion_tokens":
            return 400, {"error": {"message": "Unsupported value: 'temperature' does not support 0.0"}}
        tokens = ["<think>", *["Hm, Score: 3\n"] * thought, "</think>", "\n", "Score: 6"]
        if body.get("logprobs"):
            tokens[-1] = "Yes"
        shown = tokens[: body[field]]
        choice: dict[str, Any] = {"message": {"content": "".join(shown)}}
        choice["finish_reason"] = "length" if len(shown) < len(tokens) else "stop"
        if body.get("logprobs"):
            tops = [{"token": "Yes", "logprob": math.log(0.6)}, {"token": "No", "logprob": math.log(0.2)}]
            other = [{"token": "No", "logprob": -0.1}]
            choice["logprobs"] = {
                "content": [
                    {"token": token, "top_logprobs": tops if number == len(tokens) - 1 else other}
                    for number, token in enumerate(shown)
                ]
            }
        return 200, {"choices": [choice]}

    return answer


@pytest.mark.parametrize(
    ("thought", "field", "room"),
    [(5, "max_tokens", 4096), (300, "max_completion_tokens", 4096), (5000, "max_tokens", 16384)],
)
async def test_a_judge_that_thinks_gets_room_before_the_search(thought: int, field: str, room: int) -> None:
    with serving(thinking(thought, field)) as (url, log):
        judge = Judge(url, patience=QUICK)
        assert (judge.limit_field, judge.room, judge.remarks) == (field, room, ())
        assert judge.refused == ({"temperature"} if field == "max_completion_tokens" else set())
        log.clear()
        session = judge.open(PROBLEM, 0)
        assert await session.score([path_of(STEPS[0])]) == [0.6]
        await session.close()
    ((_, body),) = log
    assert body[field] == room


async def test_a_yes_no_judge_that_thinks_is_read_after_its_thought() -> None:
    with serving(thinking(9)) as (url, _):
        session = Judge(url, "yes_no", patience=QUICK).open(PROBLEM, 0)
        assert await session.score([path_of(STEPS[0])]) == pytest.approx([0.75])
        await session.close()


def test_a_judge_that_never_ends_or_refuses_is_reported_before_the_search() -> None:
    with serving(thinking(20000)) as (url, _), pytest.raises(InputError, match="does not end within 16384 tokens"):
        Judge(url)
    refusing: Reply = (404, {"error": {"message": "the model `gpt` does not exist"}})
    with serving(lambda path, body: refusing) as (url, log):
        with pytest.raises(InputError, match="the model `gpt` does not exist"):
            Judge(f"{url}#gpt")
        # the list of models is asked for once more, for the reason why it is empty
        assert [path for path, _ in log] == ["/v1/models", "/v1/models", "/v1/chat/completions"]


def test_a_judge_that_ignores_the_format_is_remarked() -> None:
    with serving(judging(lambda asked: "7")) as (url, _):
        (remark,) = Judge(url).remarks
    assert "Score: N" in remark


@pytest.mark.parametrize("wrong", [None, 7, "no", [], {}, {"choices": None}, {"choices": [{"message": None}]}, b"<p>"])
async def test_a_judge_that_replies_another_shape_costs_one_rollout(wrong: Any) -> None:
    works = judging(lambda asked: "Score: 5")

    def answer(path: str, body: Any) -> Reply:
        return works(path, body) if path == "/v1/models" or "17 + 25" in str(body) else (200, wrong)

    with serving(answer) as (url, _):
        session = Judge(url, patience=QUICK).open(PROBLEM, 0)
        (lost,) = await session.score([path_of(STEPS[0])])
        await session.close()
    assert isinstance(lost, Failure)


def test_a_judges_chat_grows_at_its_end() -> None:
    """A server's prefix cache then holds everything but the new step."""
    first, second = (messages(QUESTION, STEPS[:count], "points")[-1]["content"] for count in (1, 2))
    shown = first.index(STEPS[0]) + len(STEPS[0])
    assert second[:shown] == first[:shown]


def test_a_missing_server_is_reported_before_a_search() -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9"):
        Judge("http://127.0.0.1:9")


async def test_a_judge_works_on_several_event_loops() -> None:
    """Each event loop has its own connections."""
    with serving(judging(lambda asked: "Score: 5")) as (url, _):
        judge = Judge(url)

        async def once() -> Any:
            session = judge.open(PROBLEM, 0)
            found = await session.score([path_of(STEPS[0])])
            await session.close()
            return found

        assert await once() == [0.5]
        assert await asyncio.to_thread(lambda: asyncio.run(once())) == [0.5]


@pytest.fixture(scope="module")
def own_server() -> Iterator[tuple[str, LocalReward, Any]]:
    """The address of `rollwise serve-model` with tiny models of the numbers game, and its reward model."""
    import uvicorn

    from rollwise.engines.local.policy import LocalPolicy
    from rollwise.engines.local.prefixes import Prefixes
    from rollwise.model_server.app import build_app
    from rollwise.model_server.models import Models
    from rollwise.model_server.step_scores import StepScorer
    from rollwise.openai_format import listen
    from rollwise.worlds.tokenizer import build_tokenizer

    world = find_world("countdown")
    tokenizer = build_tokenizer(world.literals)
    reward = LocalReward(tiny_model("LlamaForTokenClassification", tokenizer).double(), tokenizer)
    policy = LocalPolicy(tiny_model("LlamaForCausalLM", tokenizer).double(), tokenizer, world.separator, rows=2)
    models = Models("policy", policy, Prefixes(4096), StepScorer(reward, "reward", world.separator, 4096, 2))
    socket = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(build_app(models, None), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{socket.getsockname()[1]}", reward, world
    server.should_exit = True
    thread.join(10)


async def test_rollwises_server_keeps_prefixes_and_reports_cached_tokens(
    own_server: tuple[str, LocalReward, Any],
) -> None:
    url, reward, world = own_server
    problem = world.problem(3, 4)
    steps = ["1 + 2 = 3, left: 3 4", "3 + 4 = 7, left: 7", r"Answer: \boxed{1 + 2 + 4}"]
    grown = [Path((0,) * count, path_of(*steps[:count]).steps) for count in (1, 2)]
    grown.append(Path((0, 0, 0), (*grown[-1].steps, Step(steps[2], 1, Stop.END))))
    here, there = reward.open(problem, 0), ServedReward(CHAT, url).open(problem, 0)
    for path in grown:
        (expected,), (found,) = await here.score([path]), await there.score([path])
        assert found == pytest.approx(expected, abs=1e-9)
    assert (there.usage.prefilled, there.usage.cached) == (here.usage.prefilled, here.usage.cached - len(here.prompt))
    await there.close()
