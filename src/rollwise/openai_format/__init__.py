"""OpenAI's interface as every server of rollwise speaks it: bodies, errors, limits, and the shell of an application."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.openai_format.bodies import (
        HOW_TO_CONTINUE,
        Body,
        ChatBody,
        CompletionBody,
        Message,
        Prompt,
        SamplingBody,
        StreamOptions,
        Token,
    )
    from rollwise.openai_format.errors import RequestError, bad_request, error_body, validation_message
    from rollwise.openai_format.listening import listen, running_app
    from rollwise.openai_format.shell import BodyLimit, add_error_replies, bearer_token, unless_gone
    from rollwise.openai_format.unsupported import CHAT, MESSAGE, SAMPLING, STREAM, Fields, Neutral, refusal

_HOMES = {
    "bodies": (
        *("HOW_TO_CONTINUE", "Body", "ChatBody", "CompletionBody", "Message", "Prompt", "SamplingBody"),
        *("StreamOptions", "Token"),
    ),
    "errors": ("RequestError", "bad_request", "error_body", "validation_message"),
    "listening": ("listen", "running_app"),
    "shell": ("BodyLimit", "add_error_replies", "bearer_token", "unless_gone"),
    "unsupported": ("CHAT", "MESSAGE", "SAMPLING", "STREAM", "Fields", "Neutral", "refusal"),
}

__all__ = [
    "CHAT",
    "HOW_TO_CONTINUE",
    "MESSAGE",
    "SAMPLING",
    "STREAM",
    "Body",
    "BodyLimit",
    "ChatBody",
    "CompletionBody",
    "Fields",
    "Message",
    "Neutral",
    "Prompt",
    "RequestError",
    "SamplingBody",
    "StreamOptions",
    "Token",
    "add_error_replies",
    "bad_request",
    "bearer_token",
    "error_body",
    "listen",
    "refusal",
    "running_app",
    "unless_gone",
    "validation_message",
]

__getattr__ = exports(__name__, {name: home for home, names in _HOMES.items() for name in names})
