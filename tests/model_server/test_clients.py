"""Requests as public clients send them: values that change nothing are accepted, all else is refused by its name."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, get_type_hints

import httpx
import openai
import pytest
from openai.types import completion_create_params as text_params
from openai.types.chat import completion_create_params as chat_params

from rollwise.model_server import Choice, load_models, running
from rollwise.openai_format import ChatBody, CompletionBody

QUESTION = "Use 3, 4, 5 to make 17"
USER: Any = {"role": "user", "content": QUESTION}
CHAT = {"messages": [USER], "max_tokens": 4, "temperature": 0}
TEXT = {"prompt": f"<|user|>{QUESTION}<|assistant|>", "max_tokens": 4, "temperature": 0}
ROUTES = {"/v1/chat/completions": CHAT, "/v1/completions": TEXT}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(load_models(Choice(dtype="float64", rows=4, reward="none"))) as address:
        yield address


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=300) as client:
        yield client


def said(http: httpx.Client, route: str, **fields: Any) -> Any:
    """The text of the reply to the route's plain request with other fields."""
    reply = http.post(route, json=ROUTES[route] | fields)
    assert reply.status_code == HTTPStatus.OK, reply.text
    (choice,) = reply.json()["choices"]
    return choice["message"]["content"] if "message" in choice else choice["text"]


NEUTRAL: list[dict[str, Any]] = [
    {"logit_bias": {}},
    {"logit_bias": {"5": 0}},
    {"frequency_penalty": 0, "presence_penalty": 0.0, "n": 1},
    {"response_format": {"type": "text"}, "service_tier": "auto", "store": False, "user": "me"},
    {"metadata": {"run": "1"}, "safety_identifier": "a", "prompt_cache_key": "b", "prompt_cache_retention": "24h"},
    {"service_tier": "default", "best_of": 1, "echo": False, "suffix": ""},
]
NEUTRAL_IN_CHATS: list[dict[str, Any]] = [
    {"tools": [], "tool_choice": "none", "parallel_tool_calls": True},
    {"tool_choice": "auto", "parallel_tool_calls": False, "functions": [], "function_call": "none"},
    {"modalities": ["text"], "reasoning_effort": "none", "verbosity": "medium", "chat_template_kwargs": {}},
    {"logprobs": False, "top_logprobs": 0},
    {"max_completion_tokens": 4},
    {"messages": [USER | {"name": "ann"}]},
    {"messages": [USER | {"content": [{"type": "text", "text": QUESTION}]}]},
    {
        "messages": [
            USER | {"content": [{"type": "text", "text": QUESTION[:5]}, {"type": "text", "text": QUESTION[5:]}]}
        ]
    },
    {"messages": [USER | {"content": [{"type": "text", "text": QUESTION, "cache_control": {"type": "ephemeral"}}]}]},
    {"messages": [USER | {"refusal": None, "tool_calls": None, "function_call": None, "audio": None}]},
]


@pytest.mark.parametrize(
    ("route", "fields"),
    [
        *[(route, fields) for route in ROUTES for fields in NEUTRAL],
        *[("/v1/chat/completions", fields) for fields in NEUTRAL_IN_CHATS],
        ("/v1/completions", {"logprobs": False}),
    ],
)
def test_values_that_change_nothing_change_nothing(http: httpx.Client, route: str, fields: dict[str, Any]) -> None:
    assert said(http, route, **fields) == said(http, route)


@pytest.mark.parametrize(
    ("route", "params", "body"),
    [
        ("/v1/chat/completions", chat_params.CompletionCreateParamsStreaming, ChatBody),
        ("/v1/completions", text_params.CompletionCreateParamsStreaming, CompletionBody),
    ],
)
def test_every_optional_field_of_the_openai_client_may_be_null(
    http: httpx.Client, route: str, params: type, body: type[ChatBody]
) -> None:
    names = {*get_type_hints(params), *body.model_fields, *body.unsupported()} - {"messages", "prompt"}
    assert len(names) > 15
    reply = http.post(route, json=dict.fromkeys(names) | ROUTES[route])
    assert reply.status_code == HTTPStatus.OK, reply.text
    known = {*body.model_fields, *body.unsupported()}
    assert set(get_type_hints(params)) <= known, "a field of the client that the server knows nothing of"


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("chat/", {"tools": [TOOL]}, "tools", "leave it out, or send []"),
    ("chat/", {"tools": [TOOL], "tool_choice": "auto"}, "tools", "leave it out"),
    ("chat/", {"tool_choice": "required"}, "tool_choice", 'send "none"'),
    ("chat/", {"functions": [{"name": "a"}]}, "functions", "leave it out"),
    ("chat/", {"response_format": SCHEMA}, "response_format", 'send {"type": "text"}'),
    ("chat/", {"response_format": {"type": "json_object"}}, "response_format", 'send {"type": "text"}'),
    ("chat/", {"n": 100_000}, "n", "less than or equal to 1024"),
    ("chat/", {"logit_bias": {"5": -100}}, "logit_bias", "leave it out, or send {}"),
    ("chat/", {"frequency_penalty": 0.5}, "frequency_penalty", "send 0"),
    ("chat/", {"presence_penalty": -1}, "presence_penalty", "send 0"),
    ("chat/", {"store": True}, "store", "send false"),
    ("chat/", {"service_tier": "flex"}, "service_tier", 'send "auto"'),
    ("chat/", {"modalities": ["text", "audio"]}, "modalities", 'send ["text"]'),
    ("chat/", {"audio": {"voice": "a", "format": "wav"}}, "audio", "leave it out"),
    ("chat/", {"reasoning_effort": "high"}, "reasoning_effort", 'send "none"'),
    ("chat/", {"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0].type", "text only"),
    (
        "chat/",
        {"messages": [USER, {"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}]},
        "messages[1].content[1].type",
        "leave out the part of type 'image_url'",
    ),
    ("chat/", {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}]}, "messages[1].tool_calls", "send []"),
    ("chat/", {"messages": [USER | {"content": None}]}, "messages[0].content", "missing"),
    ("chat/", {"messages": [USER | {"content": 5}]}, "messages[0].content", "send a string"),
    ("chat/", {"messages": [USER | {"colour": "red"}]}, "messages[0].colour", "leave it out"),
    ("chat/", {"messages": [{"content": "a"}]}, "messages[0].role", "missing"),
    (
        "chat/",
        {"stream": True, "stream_options": {"include_obfuscation": True}},
        "stream_options.include_obfuscation",
        "",
    ),
    ("chat/", {"stream_options": {"include_usage": True}}, "stream_options", "send 'stream': true"),
    ("chat/", {"logprobs": 5}, "logprobs", "'top_logprobs'"),
    ("chat/", {"top_logprobs": 2}, "top_logprobs", "needs 'logprobs': true"),
    (
        "chat/",
        {"max_tokens": None, "max_completion_tokens": 10**6},
        "max_completion_tokens",
        "'max_completion_tokens': ",
    ),
    ("chat/", {"max_completion_tokens": 5}, "max_tokens", "only one of the two"),
    ("chat/", {"messages": [USER | {"content": "3 " * 2000}]}, "messages", "send a shorter prompt"),
    ("chat/", {"continue_final_message": True}, "add_generation_prompt", "'add_generation_prompt': false"),
    ("chat/", {"stop": ["a", 5]}, "stop[1]", "string"),
    ("chat/", {"stop": ""}, "stop", "leave the empty string out"),
    ("", {"stop": 5}, "stop", "a list of strings"),
    ("", {"prompt": {"a": 1}}, "prompt", "a list of tokens"),
    ("", {"prompt": ["a", 3]}, "prompt[1]", "string"),
    ("", {"prompt": [3, "a"]}, "prompt[1]", "integer"),
    ("", {"prompt": None}, "prompt", "is missing"),
    ("", {"logprobs": True}, "logprobs", "such as 1"),
    ("", {"best_of": 3}, "best_of", "the value of 'n'"),
    ("", {"suffix": "end"}, "suffix", "leave it out"),
    ("", {"max_tokens": 10**6}, "max_tokens", "'max_tokens': "),
]


@pytest.mark.parametrize(("kind", "fields", "param", "words"), REFUSED)
def test_a_refusal_names_the_very_field_and_says_what_to_do(
    http: httpx.Client, kind: str, fields: dict[str, Any], param: str, words: str
) -> None:
    route = f"/v1/{kind}completions"
    reply = http.post(route, json=ROUTES[route] | fields)
    assert reply.status_code == HTTPStatus.BAD_REQUEST, reply.text
    error = reply.json()["error"]
    assert error["param"] == param
    assert words in error["message"]


def test_the_openai_client_reads_the_field_of_a_refusal(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="countdown-policy", messages=[USER], tools=[TOOL])  # type: ignore[list-item]
    assert caught.value.param == "tools"


def test_a_conversation_of_the_openai_client_goes_on_with_its_own_messages(client: openai.OpenAI) -> None:
    messages = [USER]
    for _ in range(2):
        reply = client.chat.completions.create(
            model="countdown-policy",
            messages=messages,
            max_tokens=6,
            temperature=0,
            stop=None,
            response_format={"type": "text"},
        )
        message = reply.choices[0].message
        assert message.content
        messages = [*messages, {**message.model_dump(), "annotations": []}, USER]
    assert "refusal" in messages[1]


def test_streams_of_the_openai_client_say_what_plain_replies_say(client: openai.OpenAI) -> None:
    options: Any = {"model": "countdown-policy", "messages": [USER], "max_tokens": 6, "temperature": 0}
    plain = client.chat.completions.create(**options).choices[0].message.content
    chunks = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == plain
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 6
    assert plain is not None
    with client.chat.completions.stream(**options, stop=" ") as stream:
        assert stream.get_final_completion().choices[0].message.content == plain.partition(" ")[0]


def test_embeddings_of_the_openai_client(client: openai.OpenAI, http: httpx.Client) -> None:
    name = "countdown-policy-hidden"
    width = len(client.embeddings.create(model=name, input=QUESTION).data[0].embedding)
    assert len(client.embeddings.create(model=name, input=[QUESTION], dimensions=width).data[0].embedding) == width
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=name, input=QUESTION, dimensions=width - 1)
    assert caught.value.param == "dimensions"
    nulls = {"user": None, "dimensions": None, "encoding_format": None}
    assert http.post("/v1/embeddings", json={"input": QUESTION, **nulls}).status_code == HTTPStatus.OK
