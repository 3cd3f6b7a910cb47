"""From the texts and messages of a request to tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rollwise.openai_format import bad_request

MOST_PROMPTS = 1024


def token_lists(
    tokenizer: Any, given: str | Sequence[Any], vocabulary: int, add_special_tokens: bool, field: str
) -> list[tuple[int, ...]]:
    """The tokens of one or several prompts, given as text or tokens in a request's `field`. Raises RequestError for an
    empty prompt, for a token outside the vocabulary, and for more than MOST_PROMPTS prompts.
    """
    is_single = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
    prompts = [given] if is_single else list(given)
    if not 1 <= len(prompts) <= MOST_PROMPTS:
        raise bad_request(f"{field!r} holds {len(prompts)} texts: send 1 to {MOST_PROMPTS}", field)
    lists = [
        tuple(tokenizer(prompt, add_special_tokens=add_special_tokens)["input_ids"])
        if isinstance(prompt, str)
        else tuple(prompt)
        for prompt in prompts
    ]
    for tokens in lists:
        _check_tokens(tokens, vocabulary, field)
    return lists


def _check_tokens(tokens: tuple[int, ...], vocabulary: int, field: str) -> None:
    if not tokens:
        raise bad_request(f"{field!r} holds a text of no tokens: send at least one token", field)
    wrong = next((token for token in tokens if not 0 <= token < vocabulary), None)
    if wrong is not None:
        raise bad_request(f"{field!r} holds the token {wrong}: send tokens from 0 to {vocabulary - 1}", field)


def render(
    tokenizer: Any, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool, continue_final_message: bool
) -> str:
    """A chat in the model's template. Raises RequestError if there is no template or it refuses the messages."""
    if not getattr(tokenizer, "chat_template", None):
        raise bad_request("this model has no chat template: send a prompt to /v1/completions", "messages")
    try:
        return tokenizer.apply_chat_template(
            list(messages),
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
        )
    except Exception as error:  # a template may raise anything
        message = f"the chat template refuses these messages: {error}; change the messages"
        raise bad_request(message, "messages") from error
