"""The requests that the server takes. A field that is not here is refused, since none is ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Prompt = str | list[int] | list[str] | list[list[int]]

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


class Body(BaseModel):
    """What every request may say: the model, and who asks, which changes nothing."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str | None = None
    user: str | None = None


class StreamOptions(BaseModel):
    """Whether a last chunk says what was used."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False


class SamplingBody(Body):
    """How completions are sampled. Other servers' options are taken at the value that changes nothing only."""

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
            say = f", or send {neutral[0]!r}" if neutral else ""
            raise ValueError(f"this server does not do {info.field_name!r}: leave it out{say}")
        return value

    @model_validator(mode="after")
    def _stops_say_something(self) -> SamplingBody:
        if "" in self.stop_strings:
            raise ValueError("a stop string has at least one character: leave the empty one out")
        if self.stream_options is not None and not self.stream:
            raise ValueError("'stream_options' is for streams: send 'stream': true or leave it out")
        return self

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The stop strings, however they were given."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def likeliest(self) -> int | None:
        """How many of the likeliest tokens are wanted at each place; None where no log-probabilities are."""
        raise NotImplementedError


class CompletionBody(SamplingBody):
    """`POST /v1/completions`."""

    prompt: Prompt
    max_tokens: Annotated[int, Field(ge=1)] = 16
    logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    add_special_tokens: bool = True

    @property
    def likeliest(self) -> int | None:
        """See SamplingBody."""
        return self.logprobs


class Part(BaseModel):
    """A piece of a message's content; only text is read."""

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
        """As a chat template reads it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": self.role, "content": text}


class TemplateBody(Body):
    """How a chat is rendered."""

    messages: Annotated[list[Message], Field(min_length=1)]
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = False

    @model_validator(mode="after")
    def _one_way_on(self) -> TemplateBody:
        if self.add_generation_prompt and self.continue_final_message:
            raise ValueError("to continue the final message, send 'add_generation_prompt': false too")
        return self


class ChatBody(SamplingBody, TemplateBody):
    """`POST /v1/chat/completions`."""

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=100)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> ChatBody:
        if self.max_tokens and self.max_completion_tokens:
            raise ValueError("'max_tokens' is the older name of 'max_completion_tokens': send one of them")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("'top_logprobs' needs 'logprobs': true")
        return self

    @property
    def likeliest(self) -> int | None:
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
    def _one_text(self) -> TokenizeBody:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("send either 'prompt' or 'messages'")
        if self.messages and self.add_generation_prompt and self.continue_final_message:
            raise ValueError("to continue the final message, send 'add_generation_prompt': false too")
        return self


class DetokenizeBody(Body):
    """`POST /detokenize`."""

    tokens: list[int]


class PoolingBody(Body):
    """`POST /pooling`: texts whose steps are judged."""

    input: Prompt
    task: Literal["token_classify"] = "token_classify"
    use_activation: Literal[True] = True
    add_special_tokens: bool = True


class EmbeddingBody(Body):
    """`POST /v1/embeddings`."""

    input: Prompt
    encoding_format: Literal["float", "base64"] = "float"
    add_special_tokens: bool = True
