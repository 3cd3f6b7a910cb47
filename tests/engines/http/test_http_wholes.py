"""Whole rollouts in one request: the steps that a rollout has if it is asked for step by step."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import FAST, PROBLEM, emulated

from rollwise.core import Failure, Path, Sampling, Step, Stop, Usage
from rollwise.engines import step_rule
from rollwise.engines.http.policy import HttpPolicy
from rollwise.engines.http.servers import Server
from rollwise.engines.http.shapes import BrokenReplyError
from rollwise.engines.http.wholes import read_whole

VLLM = Server("http://x", "vllm", "tiny", gives_ids=True, stopping="field", stop_key="stop_reason", logprobs=5)


async def finished(policy: HttpPolicy, sampling: Sampling) -> tuple[list[Step] | Failure, Usage]:
    """The steps of one rollout and what it used, in a new session."""
    session = policy.open(PROBLEM, sampling)
    try:
        await session.prepare()
        return await session.finish(Path((0,))), session.usage
    finally:
        await session.close()


async def step_by_step(policy: HttpPolicy, sampling: Sampling) -> list[Step]:
    """The steps of the same rollout, each asked for by itself, up to the sampling's tokens."""
    session, path = policy.open(PROBLEM, sampling), Path((0,))
    try:
        await session.prepare()
        while not path.ended and path.tokens < sampling.max_tokens:
            (step,) = await session.extend([path.copy(0) if path.steps else path])
            assert isinstance(step, Step), step
            path = path.grown(step)
        return list(path.steps)
    finally:
        await session.close()


@pytest.mark.parametrize(
    ("kind", "rule", "sampling", "stops"),
    [
        ("vllm", None, Sampling(), ()),
        ("rollwise", None, Sampling(max_step_tokens=11), ()),
        ("vllm", None, Sampling(max_tokens=50), ("left: 24",)),
        ("rollwise", "tokens(9)", Sampling(), ("left: 24",)),
        ("vllm", "sentence", Sampling(), ()),
    ],
)
def test_one_request_gives_the_steps_of_many(
    kind: str, rule: str | None, sampling: Sampling, stops: Sequence[str]
) -> None:
    with emulated(kind) as server:
        policy = HttpPolicy(server.url, rule, patience=FAST, stops=stops)
        wanted = asyncio.run(step_by_step(policy, sampling))
        before = len(server.bodies("/v1/completions"))
        steps, usage = asyncio.run(finished(policy, sampling))
        (body,) = server.bodies("/v1/completions")[before:]
    assert isinstance(steps, list)
    assert [(step.text, step.tokens, step.ids) for step in steps] == [
        (step.text, step.tokens, step.ids) for step in wanted
    ]
    assert [step.stop for step in steps[:-1]] == [step.stop for step in wanted[:-1]]
    assert steps[-1].stop in (wanted[-1].stop, Stop.LENGTH)
    assert [step.logprob for step in steps] == pytest.approx([step.logprob for step in wanted])
    assert [step.certainty for step in steps] == pytest.approx([step.certainty for step in wanted])
    assert body.get("stop", []) == list(stops)
    assert usage.calls == 1
    assert usage.generated >= sum(step.tokens for step in steps)
    assert usage.prefilled + usage.cached == len(body["prompt"])


@pytest.mark.parametrize("kind", ["sglang", "llamacpp", "llama-cpp-python", "transformers", "openai"])
def test_other_servers_are_asked_step_by_step(kind: str) -> None:
    with emulated(kind) as server:
        session = HttpPolicy(server.url, patience=FAST).open(PROBLEM, Sampling())
    assert not session.grows_whole


def test_a_request_that_fails_costs_its_rollout() -> None:
    with emulated("vllm") as server:
        policy = HttpPolicy(server.url, patience=FAST)
        server.failures += [(400, {})]
        steps, _ = asyncio.run(finished(policy, Sampling()))
        assert isinstance(steps, Failure)
        assert isinstance(asyncio.run(finished(policy, Sampling()))[0], list)


def reply(pieces: Sequence[str], text: str | None = None, reason: str = "length") -> dict[str, Any]:
    logprobs = {"tokens": list(pieces), "token_logprobs": [-0.5] * len(pieces), "top_logprobs": None}
    choice = {"text": "".join(pieces) if text is None else text, "finish_reason": reason, "stop_reason": None}
    return {"choices": [choice | {"token_ids": list(range(len(pieces))), "logprobs": logprobs}]}


@given(st.lists(st.sampled_from(["a", "b\n", "\n", "\n\n", "c\n\nd", "\n\n\n"]), min_size=1), st.integers(1, 6))
def test_nothing_is_lost_and_a_step_ends_with_the_token_that_completes_the_separator(
    pieces: list[str], limit: int
) -> None:
    whole = read_whole(VLLM, reply(pieces), step_rule("separator"), limit)
    steps = whole.steps
    assert "".join(step.text for step in steps) == "".join(pieces)
    assert [number for step in steps for number in step.ids] == list(range(len(pieces)))
    assert whole.generated == sum(step.tokens for step in steps) == len(pieces)
    place = 0
    for step in steps[:-1]:
        place += step.tokens
        assert step.tokens <= limit
        assert ("\n\n" in step.text) == (step.stop is Stop.STEP)
        assert step.stop is Stop.STEP or step.tokens == limit
        assert "\n\n" not in step.text[: len(step.text) - len(pieces[place - 1])]


def test_a_character_split_over_tokens_leaves_the_text_as_it_is() -> None:
    pieces = ["x ", "\ufffd", "\ufffd", "\n\n", "y", "\ufffd", "\ufffd\n\n", "z"]
    whole = read_whole(VLLM, reply(pieces, "x 漢\n\ny字\n\nz"), step_rule("separator"), 99)
    assert [step.text for step in whole.steps] == ["x 漢\n\n", "y字\n\n", "z"]
    assert [step.tokens for step in whole.steps] == [4, 3, 1]


def test_a_reply_that_lists_no_tokens_is_broken() -> None:
    body = reply(["a", "b"])
    del body["choices"][0]["logprobs"]
    with pytest.raises(BrokenReplyError, match="without the tokens"):
        read_whole(VLLM, body, step_rule("separator"), 99)
