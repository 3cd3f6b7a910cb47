"""From what a request says to tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rollwise.model_server.errors import bad_request

MOST_PROMPTS = 1024


def token_lists(
    tokenizer: Any, given: str | Sequence[Any], vocabulary: int, add_special_tokens: bool, name: str
) -> list[tuple[int, ...]]:
    """A prompt or several, as text or tokens, as lists of tokens. Raises RequestError for what is none."""
    whole = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
    several = [given] if whole else list(given)
    if not 1 <= len(several) <= MOST_PROMPTS:
        raise bad_request(f"{name!r} holds {len(several)} texts: send 1 to {MOST_PROMPTS}", name)
    lists = [
        tuple(tokenizer(each, add_special_tokens=add_special_tokens)["input_ids"] if isinstance(each, str) else each)
        for each in several
    ]
    for tokens in lists:
        if not tokens:
            raise bad_request(f"{name!r} holds a text of no tokens: send at least one", name)
        wrong = next((token for token in tokens if not 0 <= token < vocabulary), None)
        if wrong is not None:
            raise bad_request(f"{name!r} holds the token {wrong}: tokens are 0 to {vocabulary - 1}", name)
    return lists


def render(tokenizer: Any, messages: Sequence[Mapping[str, str]], generation: bool, go_on: bool) -> str:
    """A chat as the model's template writes it. Raises RequestError where the template refuses it."""
    if not getattr(tokenizer, "chat_template", None):
        raise bad_request("this model has no chat template: send a prompt to /v1/completions", "messages")
    try:
        return tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=generation, continue_final_message=go_on
        )
    except Exception as error:  # a template raises whatever its author thought of
        raise bad_request(f"the chat template refuses these messages: {error}", "messages") from error
