"""Fields of other servers that this server does not support. It accepts them at values that do not change the reply."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

Neutral = dict[str, tuple[Any, ...]]
"""Fields → the values that do not change the reply. A message proposes the first of them."""

SAMPLING: Neutral = {
    "echo": (False,),
    "suffix": ("",),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "use_beam_search": (False,),
    "top_k": (-1, 0),
    "min_p": (0,),
    "min_tokens": (0,),
    "ignore_eos": (False,),
    "bad_words": ([],),
    "allowed_token_ids": (),
    "spaces_between_special_tokens": (True,),
    "truncate_prompt_tokens": (),
    "prompt_logprobs": (),
    "priority": (0,),
    "response_format": ({"type": "text"},),
    "structured_outputs": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
}
"""Fields of OpenAI and vLLM for both kinds of completions."""

CHAT: Neutral = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "moderation": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "web_search_options": (),
    "chat_template": (),
    "chat_template_kwargs": ({},),
    "documents": ([],),
    "include_reasoning": (True, False),
}
"""Fields for chats alone."""

MESSAGE: Neutral = {
    "refusal": (),
    "tool_calls": ([],),
    "function_call": (),
    "tool_call_id": (),
    "audio": (),
    "annotations": ([],),
    "reasoning": ("",),
    "reasoning_content": ("",),
}
"""Fields of a message. Replies hold some of them, and clients send replies back."""

STREAM: Neutral = {"include_obfuscation": (False,), "continuous_usage_stats": (False,)}
"""Fields of `stream_options`."""


def refusal(message: str, field: str | None = None) -> PydanticCustomError:
    """The error that a validator raises for a wrong field, given by its name in the object that is validated."""
    return PydanticCustomError("refused", "{message}", {"message": message, "field": field})


class Fields(BaseModel):
    """An object of a request. A null counts as a field that is left out, unknown fields are refused, and so are
    unsupported fields, unless their value does not change the reply.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @classmethod
    def unsupported(cls) -> Neutral:
        """The fields that the server does not support."""
        return {}

    @model_validator(mode="before")
    @classmethod
    def _left_out(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        unsupported, kept = cls.unsupported(), {}
        for name, value in given.items():
            if name in unsupported:
                _check_neutral(name, value, unsupported[name])
            elif value is not None:
                kept[name] = value
        return kept


def _check_neutral(name: str, value: Any, neutral: tuple[Any, ...]) -> None:
    """Raise the error of an unsupported field, unless its value does not change the reply."""
    without_bias = name == "logit_bias" and isinstance(value, dict) and not any(value.values())
    if value is None or value in neutral or without_bias:
        return
    alternative = f", or send {json.dumps(neutral[0])}" if neutral else ""
    raise refusal(f"this server does not support {name!r}: leave it out{alternative}", name)
