"""The bodies of requests. The server ignores no field: it refuses any field that does not stand here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Prompt = str | list[int] | list[str] | list[list[int]]

_HOW_TO_CONTINUE = "to continue the final message, send 'add_generation_prompt': false too"

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "echo": (False,),
    "best_of": (1,),
    "suffix": ("",),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "top_k": (-1, 0),
    "min_p": (0,),
    "min_tokens": (0,),
    "ignore_eos": (False,),
    "priority": (0,),
    "prompt_logprobs": (),
}
"""Fields that the server does not support → the values that change nothing, which it accepts as it does null."""


class Body(BaseModel):
    """The fields of every request: the model, and the user, which changes nothing."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str | None = None
    user: str | None = None


class StreamOptions(BaseModel):
    """Whether a stream ends with a chunk that holds the usage."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False


class SamplingBody(Body):
    """How completions are sampled. The server accepts other servers' fields only at a value that changes nothing."""

    n: Annotated[int, Field(ge=1, le=1024)] = 1
    seed: int | None = None
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    stream: bool = False
    stream_options: StreamOptions | None = None
    return_token_ids: bool = False
    echo: Any = None
    best_of: Any = None
    suffix: Any = None
    logit_bias: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    repetition_penalty: Any = None
    top_k: Any = None
    min_p: Any = None
    min_tokens: Any = None
    ignore_eos: Any = None
    priority: Any = None
    prompt_logprobs: Any = None

    @field_validator(*_NEUTRAL)
    @classmethod
    def _changes_nothing(cls, value: Any, info: ValidationInfo) -> Any:
        neutral = _NEUTRAL[info.field_name or ""]
        if value is not None and value not in neutral:
            alternative = f", or send {neutral[0]!r}" if neutral else ""
            raise ValueError(f"this server does not support {info.field_name!r}: leave it out{alternative}")
        return value

    @model_validator(mode="after")
    def _stops_are_usable(self) -> SamplingBody:
        if "" in self.stop_strings:
            raise ValueError("a stop string has at least one character: leave the empty string out")
        if self.stream_options is not None and not self.stream:
            raise ValueError("'stream_options' is for streams: send 'stream': true, or leave it out")
        return self

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The stop strings, given as one string or as a list."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def top_count(self) -> int | None:
        """How many of the likeliest tokens to return at each position; None for no log-probabilities at all."""
        raise NotImplementedError


class CompletionBody(SamplingBody):
    """`POST /v1/completions`."""

    prompt: Prompt
    max_tokens: Annotated[int, Field(ge=1)] = 16
    logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    add_special_tokens: bool = True

    @property
    def top_count(self) -> int | None:
        """See SamplingBody."""
        return self.logprobs


class Part(BaseModel):
    """A part of a message's content; the server reads text only."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of a chat."""

    model_config = ConfigDict(extra="forbid")

    role: str
    content: str | list[Part]

    @property
    def plain(self) -> dict[str, str]:
        """The message as a chat template reads it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": self.role, "content": text}


class TemplateBody(Body):
    """How a chat is rendered."""

    messages: Annotated[list[Message], Field(min_length=1)]
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = False

    @model_validator(mode="after")
    def _has_one_continuation(self) -> TemplateBody:
        if self.add_generation_prompt and self.continue_final_message:
            raise ValueError(_HOW_TO_CONTINUE)
        return self


class ChatBody(SamplingBody, TemplateBody):
    """`POST /v1/chat/completions`."""

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=100)] | None = None

    @model_validator(mode="after")
    def _fields_agree(self) -> ChatBody:
        if self.max_tokens and self.max_completion_tokens:
            raise ValueError("'max_tokens' is the older name of 'max_completion_tokens': send only one of the two")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("'top_logprobs' needs 'logprobs': true")
        return self

    @property
    def top_count(self) -> int | None:
        """See SamplingBody."""
        return (self.top_logprobs or 0) if self.logprobs else None


class TokenizeBody(Body):
    """`POST /tokenize`: a prompt or a chat."""

    prompt: str | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    return_token_strs: bool = False

    @model_validator(mode="after")
    def _has_one_text(self) -> TokenizeBody:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("send either 'prompt' or 'messages'")
        if self.messages and self.add_generation_prompt and self.continue_final_message:
            raise ValueError(_HOW_TO_CONTINUE)
        return self


class DetokenizeBody(Body):
    """`POST /detokenize`."""

    tokens: list[int]


class PoolingBody(Body):
    """`POST /pooling`: texts whose steps the reward model scores."""

    input: Prompt
    task: Literal["token_classify"] = "token_classify"
    use_activation: Literal[True] = True
    add_special_tokens: bool = True


class EmbeddingBody(Body):
    """`POST /v1/embeddings`."""

    input: Prompt
    encoding_format: Literal["float", "base64"] = "float"
    add_special_tokens: bool = True
