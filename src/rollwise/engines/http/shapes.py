"""The shapes of the replies that rollwise reads from servers, checked in one place.

A server may answer 200 with any JSON. `checked` returns a reply as plain values whose types are those of a shape, or
raises BrokenReplyError. Fields that a search needs are strict: a wrong type breaks the reply. Fields that only show a
feature, such as counts or log-probabilities, are lenient: a wrong type counts as a missing feature. Fields that no
shape names are kept as they are.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any, Required, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, WrapValidator
from typing_extensions import TypedDict

from rollwise.engines.http.keys import redacted
from rollwise.errors import EngineError

Value = TypeVar("Value")


class BrokenReplyError(EngineError):
    """A reply that rollwise cannot use: cut off, garbled, of another shape, or broken off by the server."""


def _or_none(value: Any, validate: Any) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return None


def _without_surrogates(text: str) -> str:
    """The text with pairs of surrogates joined and lone ones replaced, so that it can be printed and sent."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


Lenient = Annotated[Value | None, WrapValidator(_or_none)]
"""A value that only shows a feature: None if its type is wrong."""
Text = Annotated[str, AfterValidator(_without_surrogates)]
Count = Annotated[int, Field(strict=True, ge=0, le=2**48)]
"""A number of tokens or of parameters. No server has that many; a database cannot hold a larger sum."""
Number = Annotated[float, Field(allow_inf_nan=False)]
Id = Annotated[int, Field(strict=True, ge=0)]
Name = Annotated[Text, Field(min_length=1)]

_LOOSE = ConfigDict(extra="allow")


class _Meta(TypedDict, total=False):
    n_params: Lenient[Count]


class _Card(TypedDict, total=False):
    """A listed model."""

    __pydantic_config__ = _LOOSE  # type: ignore[misc]
    id: Required[Name]
    owned_by: Lenient[str]
    task: Lenient[str]
    max_model_len: Lenient[Annotated[int, Field(strict=True, gt=0)]]
    meta: Lenient[_Meta]


class _Settings(TypedDict, total=False):
    n_ctx: Lenient[Annotated[int, Field(strict=True, gt=0)]]


class _Facts(TypedDict, total=False):
    """The facts that /version, /props and /model_info state."""

    version: Lenient[Text | int | float]
    build_info: Lenient[Text]
    default_generation_settings: Lenient[_Settings]
    tokenizer_path: Lenient[str]
    model_path: Lenient[str]
    paths: Lenient[dict[str, Any]]


class _Logprobs(TypedDict, total=False):
    tokens: list[Text] | None
    token_logprobs: list[float | None] | None
    top_logprobs: list[dict[str, float | None] | None] | None


class _TextlessChoice(TypedDict, total=False):
    __pydantic_config__ = _LOOSE  # type: ignore[misc]
    index: Count | None
    finish_reason: str | None
    token_ids: Lenient[list[Id]]
    logprobs: Lenient[_Logprobs]


class _PartialChoice(_TextlessChoice, total=False):
    """A choice in an event of a stream."""

    text: Text | None


class _Choice(_TextlessChoice, total=False):
    text: Required[Text]


class _Details(TypedDict, total=False):
    cached_tokens: Lenient[Count]
    reasoning_tokens: Lenient[Count]


class _Usage(TypedDict, total=False):
    prompt_tokens: Lenient[Count]
    completion_tokens: Lenient[Count]
    prompt_tokens_details: Lenient[_Details]
    completion_tokens_details: Lenient[_Details]


class _Timings(TypedDict, total=False):
    cache_n: Lenient[Count]


class _Counts(TypedDict, total=False):
    usage: Lenient[_Usage]
    timings: Lenient[_Timings]
    tokens_evaluated: Lenient[Count]
    tokens_predicted: Lenient[Count]
    pieces: Lenient[Count]


class _Completion(TypedDict, total=False):
    choices: Required[Annotated[list[_Choice], Field(min_length=1)]]


class _Event(TypedDict, total=False):
    choices: list[_PartialChoice] | None
    usage: Lenient[dict[str, Any]]


class _Top(TypedDict, total=False):
    id: int | None
    logprob: float | None


class _Place(TypedDict, total=False):
    token: Text
    logprob: float | None
    top_logprobs: list[_Top] | None


class _NativeFields(TypedDict, total=False):
    __pydantic_config__ = _LOOSE  # type: ignore[misc]
    tokens: Lenient[list[Id]]
    completion_probabilities: Lenient[list[_Place]]
    stop: bool | None
    stop_type: str | None
    stopping_word: Text | None
    truncated: bool | None
    tokens_predicted: Lenient[Count]


class _NativeEvent(_NativeFields, total=False):
    """An event of llama.cpp's own route."""

    content: Text | None


class _NativeCompletion(_NativeFields, total=False):
    content: Required[Text]


class _Tokens(TypedDict):
    tokens: Annotated[list[Id], Field(min_length=1)]


class _Prompt(TypedDict):
    prompt: Name


class _PromptIds(TypedDict):
    prompt_token_ids: Annotated[list[Id], Field(min_length=1)]


class _ChoicesWithIds(TypedDict):
    choices: Annotated[list[_PromptIds], Field(min_length=1)]


class _Embedding(TypedDict):
    index: Count
    embedding: Annotated[list[Number], Field(min_length=1)]


class _Embeddings(TypedDict):
    data: list[_Embedding]


class _PooledRows(TypedDict):
    data: Annotated[list[Annotated[list[Number], Field(min_length=2)]], Field(min_length=1)]


class _Pooled(TypedDict):
    data: Annotated[list[_PooledRows], Field(min_length=1)]


class _WordLogprobs(TypedDict):
    top_logprobs: Annotated[list[dict[str, float | None]], Field(min_length=1)]


class _WordChoice(TypedDict):
    logprobs: _WordLogprobs


class _Words(TypedDict):
    choices: Annotated[list[_WordChoice], Field(min_length=1)]


class _Score(TypedDict):
    score: Annotated[Number, Field(ge=0.0, le=1.0)]


class _Scores(TypedDict):
    data: Annotated[list[_Score], Field(min_length=1)]


class _Message(TypedDict, total=False):
    content: Text | None
    reasoning_content: Lenient[Text]
    reasoning: Lenient[Text]


class _LikelyToken(TypedDict):
    token: Text
    logprob: float


class _ChatToken(TypedDict):
    token: Text
    top_logprobs: list[_LikelyToken]


class _ChatLogprobs(TypedDict):
    content: list[_ChatToken]


class _ChatChoice(TypedDict, total=False):
    message: Required[_Message]
    finish_reason: str | None
    logprobs: Lenient[_ChatLogprobs]


class _Chat(TypedDict):
    choices: Annotated[list[_ChatChoice], Field(min_length=1)]


SHAPES: dict[str, Any] = {
    "a listed model": _Card,
    "facts about the server": _Facts,
    "a completion": _Completion,
    "a choice": _Choice,
    "a piece of a completion": _Event,
    "a piece of llama.cpp's completion": _NativeEvent,
    "llama.cpp's completion": _NativeCompletion,
    "counts": _Counts,
    "token ids": _Tokens,
    "a prompt": _Prompt,
    "a prompt's ids": _PromptIds,
    "choices with a prompt's ids": _ChoicesWithIds,
    "embeddings": _Embeddings,
    "label probabilities": _Pooled,
    "log-probabilities of two words": _Words,
    "scores": _Scores,
    "a chat completion": _Chat,
}
"""The shapes by the name that an error message gives them."""


@functools.cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(SHAPES[name])


def checked(name: str, reply: Any) -> dict[str, Any]:
    """The values of a reply that has the shape called `name`.

    Raises BrokenReplyError, with the first place of the reply that differs, if it has another shape.
    """
    try:
        values: dict[str, Any] = _adapter(name).validate_python(reply)
    except ValidationError as error:
        if isinstance(reply, dict) and reply.get("error"):
            raise BrokenReplyError(f"the server replied an error: {error_in(reply)}") from None
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole reply"
        raise BrokenReplyError(
            f"the server replied {shown(reply)} instead of {name} ({place}: {first['msg']})"
        ) from None
    return values


def possible(name: str, reply: Any) -> dict[str, Any]:
    """The values of a reply that has the shape called `name`; none if it has another shape."""
    try:
        return checked(name, reply)
    except BrokenReplyError:
        return {}


def listed_cards(reply: Any) -> list[dict[str, Any]]:
    """The models in a reply of /v1/models: in the envelope `data`, or as a list without one; as objects or as names.

    Entries of another shape are left out.
    """
    entries = reply.get("data") if isinstance(reply, dict) else reply
    if not isinstance(entries, list):
        return []
    cards = (possible("a listed model", {"id": entry} if isinstance(entry, str) else entry) for entry in entries)
    return [card for card in cards if card]


def token_ids(reply: Any) -> tuple[int, ...]:
    """The ids in a reply of /tokenize. Raises BrokenReplyError if it holds none."""
    return tuple(checked("token ids", reply)["tokens"])


def error_in(error: Any) -> str:
    """The message in an error reply, in the shape of OpenAI, of FastAPI or of neither, without keys."""
    if isinstance(error, dict):
        error = error.get("error", error.get("detail", error.get("message", error)))
    if isinstance(error, dict):
        error = error.get("message", error)
    return redacted(error if isinstance(error, str) else shown(error, 300))


def shown(reply: Any, most: int = 80) -> str:
    """A reply in a message: without keys, at most `most` characters."""
    try:
        return redacted(repr(reply))[:most]
    except RecursionError:
        return "a deeply nested reply"
