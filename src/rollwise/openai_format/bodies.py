"""The bodies of completions and chats. A server ignores no field: it refuses any field that does not stand here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from rollwise.openai_format.unsupported import CHAT, MESSAGE, SAMPLING, STREAM, Fields, Neutral, refusal


def _kind(value: Any) -> str | None:
    """Which member of a union a value is meant to be, so that errors are about that member. None for none of them."""
    if isinstance(value, str):
        return "text"
    if not isinstance(value, list):
        return None
    first = value[0] if value else ""
    return "lists" if isinstance(first, list) else "texts" if isinstance(first, str) else "tokens"


def _kind_of_content(value: Any) -> str | None:
    return "text" if isinstance(value, str) else "parts" if isinstance(value, list) else None


Token = Annotated[int, Field(strict=True)]

Prompt = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[Token], Tag("tokens")]
    | Annotated[list[str], Tag("texts")]
    | Annotated[list[list[Token]], Tag("lists")],
    Discriminator(
        _kind,
        custom_error_type="refused",
        custom_error_message="send a string, a list of strings, a list of tokens, or a list of lists of tokens",
    ),
]

Stop = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[str], Tag("texts")],
    Discriminator(
        lambda value: "texts" if isinstance(value, list) else _kind(value),
        custom_error_type="refused",
        custom_error_message="send a string or a list of strings",
    ),
]

HOW_TO_CONTINUE = "to continue the final message, send 'add_generation_prompt': false too"


class Body(Fields):
    """The fields of every request: the model, and the user, which changes nothing."""

    model: str | None = None
    user: str | None = None


class StreamOptions(Fields):
    """Whether a stream ends with a chunk that holds the usage."""

    include_usage: bool = False

    @classmethod
    def unsupported(cls) -> Neutral:
        """See Fields."""
        return STREAM


class SamplingBody(Body):
    """How completions are sampled. The last five fields are labels and hints of clients, which change nothing."""

    n: Annotated[int, Field(ge=1, le=1024)] = 1
    best_of: int | None = None
    seed: int | None = None
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    stop: Stop | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    stream: bool = False
    stream_options: StreamOptions | None = None
    return_token_ids: bool = False
    metadata: dict[str, Any] | None = None
    request_id: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None

    @classmethod
    def unsupported(cls) -> Neutral:
        """See Fields."""
        return SAMPLING

    @model_validator(mode="after")
    def _sampling_is_usable(self) -> SamplingBody:
        if "" in self.stop_strings:
            raise refusal("a stop string has at least one character: leave the empty string out", "stop")
        if self.stream_options is not None and not self.stream:
            raise refusal("'stream_options' is for streams: send 'stream': true, or leave it out", "stream_options")
        if self.best_of is not None and self.best_of != self.n:
            raise refusal("this server does not support 'best_of': leave it out, or send the value of 'n'", "best_of")
        return self

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The stop strings, given as one string or as a list."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def top_count(self) -> int | None:
        """How many of the likeliest tokens to return at each position; None for no log-probabilities at all."""
        raise NotImplementedError

    @property
    def size_fields(self) -> tuple[str, str]:
        """The fields that set how long a completion and its prompt may be."""
        return "max_tokens", "prompt"


class CompletionBody(SamplingBody):
    """`POST /v1/completions`."""

    prompt: Prompt
    max_tokens: Annotated[int, Field(ge=1)] = 16
    logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    add_special_tokens: bool = True

    @field_validator("logprobs", mode="before")
    @classmethod
    def _is_a_count(cls, value: Any) -> Any:
        if value is True:
            raise refusal("send how many of the likeliest tokens to return, such as 1")
        return None if value is False else value

    @property
    def top_count(self) -> int | None:
        """See SamplingBody."""
        return self.logprobs


class Part(Fields):
    """A part of a message's content: text only. The last two fields are hints, which change nothing."""

    type: str
    text: str
    cache_control: dict[str, Any] | None = None
    prompt_cache_breakpoint: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, given: Any) -> Any:
        kind = given.get("type") if isinstance(given, dict) else None
        if kind not in (None, "text"):
            raise refusal(f"this server reads text only: leave out the part of type {kind!r}", "type")
        return given


Content = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[Part], Tag("parts")],
    Discriminator(
        _kind_of_content,
        custom_error_type="refused",
        custom_error_message="send a string, or a list of parts of the type 'text'",
    ),
]


class Message(Fields):
    """One message of a chat. An assistant's message may lack a content, as clients send an empty reply back."""

    role: str
    content: Content | None = None
    name: str | None = None

    @classmethod
    def unsupported(cls) -> Neutral:
        """See Fields."""
        return MESSAGE

    @model_validator(mode="after")
    def _has_content(self) -> Message:
        if self.content is None and self.role != "assistant":
            raise refusal("'content' is missing: send it", "content")
        return self

    @property
    def plain(self) -> dict[str, str]:
        """The message as a chat template reads it."""
        content = self.content or ""
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return {"role": self.role, "content": text} | ({} if self.name is None else {"name": self.name})


class TemplateBody(Body):
    """How a chat is rendered."""

    messages: Annotated[list[Message], Field(min_length=1)]
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = False

    @model_validator(mode="after")
    def _has_one_continuation(self) -> TemplateBody:
        if self.add_generation_prompt and self.continue_final_message:
            raise refusal(HOW_TO_CONTINUE, "add_generation_prompt")
        return self


class ChatBody(SamplingBody, TemplateBody):
    """`POST /v1/chat/completions`."""

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    parallel_tool_calls: bool | None = None

    @classmethod
    def unsupported(cls) -> Neutral:
        """See Fields."""
        return SAMPLING | CHAT

    @field_validator("logprobs", mode="before")
    @classmethod
    def _is_a_switch(cls, value: Any) -> Any:
        if not isinstance(value, bool):
            raise refusal("send true or false, and the number of likeliest tokens as 'top_logprobs'")
        return value

    @model_validator(mode="after")
    def _fields_agree(self) -> ChatBody:
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise refusal(
                "'max_tokens' is the older name of 'max_completion_tokens': send only one of the two", "max_tokens"
            )
        if self.top_logprobs and not self.logprobs:
            raise refusal("'top_logprobs' needs 'logprobs': true", "top_logprobs")
        return self

    @property
    def top_count(self) -> int | None:
        """See SamplingBody."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def size_fields(self) -> tuple[str, str]:
        """See SamplingBody."""
        return "max_completion_tokens" if self.max_completion_tokens else "max_tokens", "messages"
