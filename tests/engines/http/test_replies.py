"""Reading replies, without a server: literal replies of every kind, every way to stop, and broken replies."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollwise.core import Sampling, Step, Stop
from rollwise.engines.http.replies import (
    as_choice,
    certainty,
    ending,
    read_reply,
)
from rollwise.engines.http.servers import Server, addresses, completion_body, is_url, weaknesses
from rollwise.engines.http.shapes import BrokenReplyError, token_ids
from rollwise.engines.http.streams import NativeStream, Stream
from rollwise.engines.http.templates import opens_thought, read_prompt
from rollwise.engines.prompts import SENTENCE_ENDS, messages, step_rule
from rollwise.errors import InputError
from rollwise.rewards.confidence import confidence

BLANK = ("\n\n",)
VLLM = Server("http://a", "vllm", "m", takes_ids=True, gives_ids=True, stopping="field", stop_key="stop_reason")
SGLANG = Server("http://a", "sglang", "m", stopping="field", stop_key="matched_stop")
LLAMA = Server("http://a", "llamacpp", "m", stopping="field", stop_key="stop_reason")
PYTHON = Server("http://a", "llama-cpp-python", "m")
SHOWN = Server("http://a", "llama-cpp-python", "m", stopping="logprobs")
TRANSFORMERS = Server("http://a", "transformers", "m", stopping="text")


def choice(text: str, finish_reason: str | None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": finish_reason, **fields}]}


def shown(text: str, finish_reason: str, *tokens: str) -> dict[str, Any]:
    named = {"tokens": list(tokens), "token_logprobs": [-0.1] * len(tokens), "top_logprobs": [{}] * len(tokens)}
    return choice(text, finish_reason, logprobs=named)


def native(content: str, stop_type: str, **fields: Any) -> dict[str, Any]:
    return {"content": content, "stop_type": stop_type, "stopping_word": "", "truncated": False, **fields}


ENDINGS = [
    # vLLM: a string is the stop string, a number a stop token (a second end-of-text id), None the first one, or a cut
    (VLLM, choice("a = 1\n\n", "stop", stop_reason="\n\n"), Stop.STEP, "a = 1\n\n"),
    (VLLM, choice("a = 1", "stop", stop_reason="\n\n"), Stop.STEP, "a = 1\n\n"),
    (VLLM, choice("done", "stop", stop_reason=128009), Stop.END, "done"),
    (VLLM, choice("done", "stop", stop_reason=None), Stop.END, "done"),
    (VLLM, choice("a = ", "length", stop_reason=None), Stop.LENGTH, "a = "),
    # SGLang: matched_stop, its end-of-text always a number
    (SGLANG, choice("a = 1\n\n", "stop", matched_stop="\n\n"), Stop.STEP, "a = 1\n\n"),
    (SGLANG, choice("a = 1", "stop", matched_stop="\n\n"), Stop.STEP, "a = 1\n\n"),
    (SGLANG, choice("done", "stop", matched_stop=151645), Stop.END, "done"),
    (SGLANG, choice("a = ", "length", matched_stop=None), Stop.LENGTH, "a = "),
    # llama.cpp's own route: the stop word is never in the text
    (LLAMA, native("a = 1", "word", stopping_word="\n\n"), Stop.STEP, "a = 1\n\n"),
    (LLAMA, native("done", "eos"), Stop.END, "done"),
    (LLAMA, native("a = ", "limit"), Stop.LENGTH, "a = "),
    # transformers serve: the text keeps its stop string, and no field names it
    (TRANSFORMERS, choice("a = 1\n\n", "stop"), Stop.STEP, "a = 1\n\n"),
    (TRANSFORMERS, choice("done", "stop"), Stop.END, "done"),
    (TRANSFORMERS, choice("a = ", "length"), Stop.LENGTH, "a = "),
    # llama-cpp-python: the tokens contain the stop string, the text does not; they lack characters of several tokens
    (SHOWN, shown("a = 1", "stop", "a", " = 1", "\n\n"), Stop.STEP, "a = 1\n\n"),
    (SHOWN, shown("a = 1", "stop", "a", " = 1", "\n\nb"), Stop.STEP, "a = 1\n\nb"),
    (SHOWN, shown("a 🙂", "stop", "a ", "", "", "\n\n"), Stop.STEP, "a 🙂\n\n"),
    (SHOWN, shown("", "stop", "\n\n"), Stop.STEP, "\n\n"),
    (SHOWN, shown("done", "stop", "do", "ne"), Stop.END, "done"),
    (SHOWN, shown("", "stop"), Stop.END, ""),
    (SHOWN, shown("a = ", "length", "a", " = "), Stop.LENGTH, "a = "),
]


@pytest.mark.parametrize(("server", "reply", "stop", "text"), ENDINGS)
def test_how_a_step_ended(server: Server, reply: dict[str, Any], stop: Stop, text: str) -> None:
    step = read_reply(server, reply, step_rule("separator"), 64, 5).step
    assert (step.stop, step.text) == (stop, text)


@pytest.mark.parametrize("reason", ["abort", "error", "repetition", "content_filter", None])
def test_a_reply_broken_off_is_no_step(reason: str | None) -> None:
    with pytest.raises(BrokenReplyError, match=reason or "no reason"):
        ending(choice("a", reason)["choices"][0], "stop_reason", BLANK)


@pytest.mark.parametrize(
    "body", [None, 3, "x", [], {}, {"choices": []}, {"choices": [None]}, {"choices": {}}, {"error": {"message": "no"}}]
)
def test_a_reply_without_a_choice_is_broken(body: Any) -> None:
    for own_route in (False, True):
        with pytest.raises(BrokenReplyError):
            as_choice(body, own_route)
    with pytest.raises(BrokenReplyError, match="larger -c"):
        as_choice(native("a", "eos", truncated=True), True)


def test_a_full_context_of_llama_cpp_is_a_cut() -> None:
    step = read_reply(LLAMA, native("a = ", "limit", truncated=True), step_rule("separator"), 64, 5).step
    assert (step.text, step.stop) == ("a = ", Stop.LENGTH)


def test_tokens_are_counted_by_the_usage_else_the_ids_else_the_logprobs() -> None:
    ids, logprobs = [5, 6, 7], {"token_logprobs": [-1.0, -0.5], "tokens": ["a", " b"]}
    full = choice("a b", "length", token_ids=ids, logprobs=logprobs)
    rule = step_rule("separator")
    counted = read_reply(VLLM, full | {"usage": {"prompt_tokens": 40, "completion_tokens": 4}}, rule, 9, 5)
    assert (counted.step.tokens, counted.prefilled, counted.cached) == (4, 40, None)
    details = {"prompt_tokens": 40, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 32}}
    cached = read_reply(VLLM, full | {"usage": details}, rule, 9, 5)
    assert (cached.prefilled, cached.cached) == (8, 32)
    assert read_reply(VLLM, full, rule, 9, 5).step.tokens == 3
    assert read_reply(VLLM, choice("a b", "length", logprobs=logprobs), rule, 9, 5).step.tokens == 2
    assert read_reply(VLLM, full, rule, 9, 5).step.logprob == pytest.approx(-1.5)
    absurd = choice("a b", "length", logprobs={"token_logprobs": [1e308, -0.5, 1e308], "tokens": ["a", " ", "b"]})
    assert read_reply(VLLM, absurd, rule, 9, 5).step.logprob == -0.5
    bare = read_reply(VLLM, choice("a b", "length"), rule, 9, 5)
    assert math.isnan(bare.step.logprob)
    assert not bare.counted


def test_the_last_id_of_an_ended_text_is_dropped_only_if_it_is_known_to_be_the_end() -> None:
    shown = {"token_logprobs": [-1.0, -0.5], "tokens": ["do", "ne"]}
    ended = {"token_logprobs": [-1.0, -0.5, 0.0], "tokens": ["do", "ne", "<end>"]}
    rule = step_rule("separator")
    known = read_reply(VLLM, choice("done", "stop", stop_reason=None, token_ids=[5, 6, 2], logprobs=ended), rule, 9, 5)
    assert known.step.ids == (5, 6)
    unknown = read_reply(VLLM, choice("done", "stop", stop_reason=None, token_ids=[5, 6], logprobs=shown), rule, 9, 5)
    assert unknown.step.ids == ()


def test_a_token_that_continues_after_the_stop_string_stays_whole() -> None:
    logprobs = {"token_logprobs": [-1.0, -0.5], "tokens": ["a = 1", "\n\n\n"]}
    reply = choice("a = 1\n\n", "stop", stop_reason="\n\n", token_ids=[5, 6], logprobs=logprobs)
    step = read_reply(VLLM, reply, step_rule("separator"), 9, 5).step
    assert (step.text, step.ids, step.stop) == ("a = 1\n\n\n", (5, 6), Stop.STEP)


def test_with_a_rule_of_lengths_only_a_step_of_full_length_is_complete() -> None:
    reply = choice("a b c d", "length", stop_reason=None)
    assert read_reply(VLLM, reply, step_rule("tokens(4)"), 4, 5).step.stop is Stop.STEP
    assert read_reply(VLLM, reply, step_rule("tokens(4)"), 3, 5).step.stop is Stop.LENGTH


def test_llama_cpp_counts_the_tokens_from_its_cache() -> None:
    counts = {"tokens": [5, 6], "tokens_predicted": 2, "tokens_evaluated": 40, "timings": {"cache_n": 30}}
    probabilities = [
        {
            "id": 5,
            "token": "a",
            "logprob": -0.5,
            "top_logprobs": [{"id": 5, "logprob": -0.5}, {"id": 9, "logprob": -1.5}],
        }
    ] * 2
    reply = native("a = 1", "word", stopping_word="\n\n", completion_probabilities=probabilities, **counts)
    read = read_reply(LLAMA, reply, step_rule("separator"), 9, 5)
    assert (read.prefilled, read.cached, read.step.tokens, read.step.ids) == (10, 30, 2, (5, 6))
    assert read.step.logprob == pytest.approx(-1.0)
    assert read.step.certainty == pytest.approx(1.0 - math.log(2))


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=12))
def test_certainty_over_the_whole_vocabulary_is_the_divergence_from_uniform(logits: list[float]) -> None:
    p = np.exp(np.array(logits))
    p /= p.sum()
    uniform = 1 / len(p)
    divergence = float(np.sum(uniform * np.log(uniform / p)))
    logprobs = {str(index): float(np.log(probability)) for index, probability in enumerate(p)}
    assert certainty([logprobs], 100) == pytest.approx(divergence, abs=1e-9)
    assert certainty([logprobs, None, {"only": -0.1}], 100) == pytest.approx(divergence, abs=1e-9)
    most = certainty([logprobs], 3)
    assert most >= 0
    step = Step("a", 1, Stop.STEP, certainty=most)
    assert confidence(step) == pytest.approx(most / (1 + most))


def test_confidence_falls_back_on_the_mean_log_probability_and_then_requires_a_reward() -> None:
    assert confidence(Step("a", 4, Stop.STEP, -2.0)) == pytest.approx(math.exp(-0.5))
    assert certainty([{"a": -0.1}, None, {}], 5) != certainty([{"a": -0.1}, None, {}], 5)
    assert certainty([{"a": -9999.0, "b": float("-inf"), "c": -0.1}], 5) == pytest.approx(200.1 / 3 - math.log(3))
    with pytest.raises(InputError, match="--reward"):
        confidence(Step("a", 4, Stop.STEP))


def streamed(pieces: list[str], last: str | None, rule: str = "separator") -> tuple[Stream, int]:
    stream = Stream(step_rule(rule))
    events = [{"choices": [{"text": piece, "finish_reason": None}]} for piece in pieces]
    events += [{"choices": [{"text": "", "finish_reason": last}]}] if last else []
    for index, event in enumerate(events):
        if stream.feed(event):
            return stream, index + 1
    return stream, len(events)


def test_a_stream_is_cut_at_the_end_of_a_step_and_distinguishes_it_from_the_end_of_the_text() -> None:
    stream, read = streamed(["a = 1", "\n", "\n", "b", "c"], "stop")
    assert read == 3
    step = read_reply(PYTHON, stream.body, step_rule("separator"), 64, 5).step
    assert (step.text, step.stop, step.tokens) == ("a = 1\n\n", Stop.STEP, 3)
    for last, stop in (("stop", Stop.END), ("length", Stop.LENGTH)):
        stream, _ = streamed(["do", "ne"], last)
        step = read_reply(PYTHON, stream.body, step_rule("separator"), 64, 5).step
        assert (step.text, step.stop, step.tokens) == ("done", stop, 2)
    broken, _ = streamed(["do"], None)
    with pytest.raises(BrokenReplyError, match="before the completion did"):
        _ = broken.body
    with pytest.raises(BrokenReplyError, match="overloaded"):
        Stream(step_rule("separator")).feed({"error": {"message": "overloaded"}})


def natively(*tokens: tuple[int, str, str], stop_type: str, word: str = "", predicted: int = 0) -> NativeStream:
    """The stream of (id, text sent, text of the token), as llama-server of llama.cpp b11549 sends it."""
    stream = NativeStream()
    for number, sent, piece in tokens:
        tops = [{"id": number, "token": piece, "logprob": -0.25}, {"id": 99, "token": "?", "logprob": -1.5}]
        shown = {"id": number, "token": sent, "logprob": -0.25, "top_logprobs": tops}
        event = {"content": sent, "tokens": [number], "stop": False, "completion_probabilities": [shown]}
        assert not stream.feed(event)
    counts = {"tokens_predicted": predicted or len(tokens), "tokens_evaluated": 9, "timings": {"cache_n": 4}}
    assert stream.feed(native("", stop_type, tokens=[], stop=True, stopping_word=word) | counts)
    return stream


def test_a_stream_of_llama_cpp_contains_the_tokens_of_the_stop_string() -> None:
    rule = step_rule("separator")
    stream = natively((5, "a = 1", "a = 1"), (6, "", "\n\n"), stop_type="word", word="\n\n")
    read = read_reply(LLAMA, stream.body, rule, 64, 5)
    assert (read.step.text, read.step.stop, read.step.ids, read.step.tokens) == ("a = 1\n\n", Stop.STEP, (5, 6), 2)
    assert read.step.logprob == pytest.approx(-0.5)
    assert (read.prefilled, read.cached) == (5, 4)
    alone = read_reply(LLAMA, natively((6, "", "\n\n"), stop_type="word", word="\n\n").body, rule, 64, 5).step
    assert (alone.text, alone.ids, alone.logprob) == ("\n\n", (6,), -0.25)
    assert confidence(alone) == pytest.approx(confidence(read.step))
    ended = read_reply(LLAMA, natively((5, "done", "done"), (1, "", "<end>"), stop_type="eos").body, rule, 64, 5).step
    assert (ended.text, ended.stop, ended.ids, ended.tokens) == ("done", Stop.END, (5,), 2)


def test_a_stream_of_llama_cpp_without_all_tokens_gives_no_ids() -> None:
    stream = natively((7, "√", "√"), (8, "2", "2"), stop_type="limit", predicted=3)  # two tokens make the root
    step = read_reply(LLAMA, stream.body, step_rule("separator"), 3, 5).step
    assert (step.text, step.ids, step.tokens, step.stop) == ("√2", (), 3, Stop.LENGTH)


def test_a_stream_of_llama_cpp_that_breaks_off_is_no_reply() -> None:
    stream = NativeStream()
    assert not stream.feed({"content": "a", "tokens": [5], "stop": False})
    with pytest.raises(BrokenReplyError, match="before the completion did"):
        _ = stream.body
    for event in ({"error": {"message": "overloaded"}}, ["overloaded"]):
        with pytest.raises(BrokenReplyError, match="overloaded"):
            stream.feed(event)


def test_every_sampling_parameter_is_sent_under_the_names_of_the_kind() -> None:
    sampling = Sampling(temperature=0.7, top_p=0.9)
    vllm = completion_body(VLLM, [1, 2], sampling, 64, 11, BLANK)
    assert vllm["prompt"] == [1, 2]
    assert (vllm["temperature"], vllm["top_p"], vllm["seed"], vllm["max_tokens"]) == (0.7, 0.9, 11, 64)
    assert (vllm["top_k"], vllm["min_p"], vllm["repetition_penalty"]) == (-1, 0.0, 1.0)
    assert (vllm["presence_penalty"], vllm["frequency_penalty"]) == (0.0, 0.0)
    assert vllm["include_stop_str_in_output"] is True
    assert vllm["add_special_tokens"] is False
    assert vllm["stop"] == ["\n\n"]
    assert "stream" not in vllm
    assert completion_body(SGLANG, "a", sampling, 64, 11, BLANK)["no_stop_trim"] is True
    llama = completion_body(LLAMA, "a", sampling, 64, 11, BLANK)
    assert (llama["n_predict"], llama["top_k"], llama["min_p"], llama["repeat_penalty"]) == (64, 0, 0.0, 1.0)
    assert llama["samplers"] == ["temperature", "top_p"]
    assert "max_tokens" not in llama
    python = completion_body(PYTHON, "a", sampling, 64, 11, BLANK)
    assert (python["repeat_penalty"], python["min_p"], python["stream"]) == (1.0, 0.0, True)
    assert "stop" not in python
    strict = {"model", "prompt", "temperature", "top_p", "seed", "max_tokens", "logprobs", "stop"}
    transformers = completion_body(TRANSFORMERS, "a", sampling, 64, 1, BLANK)
    assert set(transformers) - strict <= {"presence_penalty", "frequency_penalty", "generation_config"}
    config = json.loads(transformers["generation_config"])
    assert (config["do_sample"], config["top_k"], config["min_p"], config["typical_p"]) == (True, 0, 0.0, 1.0)
    greedy = completion_body(TRANSFORMERS, "a", Sampling(temperature=0), 64, 1)["generation_config"]
    assert json.loads(greedy)["do_sample"] is False
    refusing = Server("http://a", "vllm", "m", stopping="field", refused=frozenset({"top_k", "logprobs"}))
    assert not {"top_k", "logprobs"} & set(completion_body(refusing, "a", sampling, 64, 1, BLANK))


def test_addresses() -> None:
    first, second = addresses("http://a:8000/v1/, https://b/llm/v1#big")
    assert (first.url, first.model) == ("http://a:8000", None)
    assert (second.url, second.model) == ("https://b/llm", "big")
    assert is_url("https://b")
    assert not any(map(is_url, ("trained", None, 3, "ftp://a")))
    for wrong in ("a:8000", "http://", "http://a,b", "http://a,http://a/v1"):
        with pytest.raises(InputError):
            addresses(wrong)
    for secret in ("http://user:secret@a", "http://a?api_key=secret"):
        with pytest.raises(InputError, match="ROLLWISE_API_KEY") as raised:
            addresses(secret)
        assert "secret" not in str(raised.value)


def test_step_rules() -> None:
    assert step_rule("separator", "###").ends == ("###",)
    assert step_rule("separator(\\n)").ends == ("\n",)
    assert step_rule("sentence").ends == SENTENCE_ENDS
    assert len(SENTENCE_ENDS) <= 4
    rule = step_rule("tokens(64)")
    assert (rule.ends, rule.tokens, rule.limit(256), rule.limit(10)) == ((), 64, 64, 10)
    for wrong in ("", "words", "tokens", "tokens(0)", "tokens(x)", "sentence(3)", "separator()", "tokens(9999999999)"):
        with pytest.raises(InputError, match="step rule"):
            step_rule(wrong)


def test_the_instruction_goes_to_the_given_place() -> None:
    from rollwise.core import Problem

    plain, instructed = Problem("a", "1 + 1?"), Problem("a", "1 + 1?", instruction="Box it.")
    user = {"role": "user", "content": "1 + 1?"}
    assert messages(plain) == [user]
    assert messages(instructed) == [{"role": "system", "content": "Box it."}, user]
    assert messages(instructed, "user") == [{"role": "user", "content": "Box it.\n\n1 + 1?"}]
    assert messages(instructed, "none") == [user]
    with pytest.raises(InputError, match="system, user, none"):
        messages(instructed, "above")


@pytest.mark.parametrize(
    ("text", "opens"),
    [("<answer><think>\n", True), ("<answer><think>\n\n</think>\n\n", False), ("<answer>", False), ("<think>a", False)],
)
def test_a_prompt_that_opens_a_thought(text: str, opens: bool) -> None:
    assert opens_thought(text) is opens


def test_prompts_in_replies() -> None:
    assert read_prompt("tokenize", {"tokens": [1, 2], "count": 2}) == (1, 2)
    assert read_prompt("apply-template", {"prompt": "<q>a"}) == "<q>a"
    assert read_prompt("chat", {"prompt_token_ids": [3], "choices": []}) == (3,)
    assert read_prompt("chat", {"choices": [{"prompt_token_ids": [3]}]}) == (3,)
    wrong: list[tuple[str, Any]] = [
        ("tokenize", {"tokens": []}),
        ("tokenize", {}),
        ("apply-template", {"prompt": ""}),
        ("chat", {"choices": [{}]}),
        ("chat", None),
    ]
    for route, reply in wrong:
        with pytest.raises(BrokenReplyError):
            read_prompt(route, reply)
    with pytest.raises(BrokenReplyError):
        token_ids({"tokens": ["a"]})


def test_a_complete_server_has_no_weakness_and_each_missing_feature_is_reported() -> None:
    full = Server(
        "http://a",
        "vllm",
        "m",
        takes_ids=True,
        gives_ids=True,
        stopping="field",
        stop_key="stop_reason",
        logprobs=5,
        counts=True,
        cached=True,
        template="tokenize",
    )
    rule = step_rule("separator")
    assert weaknesses(full, rule) == []
    notes = " ".join(weaknesses(Server("http://a", "openai", "m"), rule))
    for lack in ("chat template", "as text", "streamed", "no prompt tokens", "log-probabilities"):
        assert lack in notes
    assert json.dumps(weaknesses(full, rule)) == "[]"
