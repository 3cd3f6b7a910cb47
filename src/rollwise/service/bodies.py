"""The bodies of a search's requests, and what of a request no search can answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError, model_validator

from rollwise.allocation import STRATEGIES
from rollwise.answers import VOTES, find_stop_rule
from rollwise.errors import InputError
from rollwise.openai_format import (
    ChatBody,
    CompletionBody,
    Fields,
    Neutral,
    bad_request,
    refusal,
    validation_message,
)

Checked = TypeVar("Checked", bound=Fields)
OURS = "rollwise"
"""The field of a request and of a reply that is about the search."""
MOST_CHOICES = 16
LARGEST_SEED = 2**53
"""The largest whole number that every reader of JSON keeps exactly."""

_NOT_SEARCHED: Neutral = {
    "stop_token_ids": ([],),
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "return_token_ids": (False,),
    "add_special_tokens": (False, True),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
}
"""Fields that a search does not support, with the values that change nothing."""


class SearchFields(Fields):
    """What a request may say about its search. Names stand for rollwise's own parts only, never for files."""

    strategy: str | None = None
    budget: Annotated[int, Field(ge=1, strict=True)] | None = None
    deadline: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED, strict=True)] | None = None
    vote: str | None = None
    search: bool = True
    session: Annotated[str, Field(max_length=256)] | None = None
    stop_early: str | None = None

    @model_validator(mode="after")
    def _names_are_known(self) -> SearchFields:
        if self.strategy not in (None, "auto", *STRATEGIES):
            raise refusal(f"no strategy is called {self.strategy!r}; there are: {', '.join(STRATEGIES)}", "strategy")
        if self.vote not in (None, "auto", "verified", *VOTES):
            raise refusal(f"no vote is called {self.vote!r}; there are: auto, verified, {', '.join(VOTES)}", "vote")
        if self.stop_early is not None:
            try:
                find_stop_rule(self.stop_early)
            except InputError as error:
                raise refusal(str(error), "stop_early") from None
        return self


class SearchChat(ChatBody):
    """`POST /v1/chat/completions` of a service."""

    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] = 1
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None = None
    rollwise: SearchFields = SearchFields()

    @classmethod
    def unsupported(cls) -> Neutral:
        """See Fields."""
        return super().unsupported() | _NOT_SEARCHED

    @model_validator(mode="after")
    def _ends_with_a_question(self) -> SearchChat:
        if self.messages[-1].role != "user":
            raise refusal("the last message has to be the user's question: send one of the role 'user'", "messages")
        if not self.messages[-1].plain["content"].strip():
            raise refusal("the last message is empty: send a question", "messages")
        return self


class SearchText(CompletionBody):
    """`POST /v1/completions` of a service: one prompt of text."""

    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] = 1
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None = None
    rollwise: SearchFields = SearchFields()

    @classmethod
    def unsupported(cls) -> Neutral:
        """See Fields."""
        return super().unsupported() | _NOT_SEARCHED

    @model_validator(mode="after")
    def _is_one_text(self) -> SearchText:
        if not self.prompt or isinstance(self.text, list):
            raise refusal("a search answers one prompt of text: send a string", "prompt")
        if not self.text.strip():
            raise refusal("the prompt is empty: send a question", "prompt")
        return self

    @property
    def text(self) -> Any:
        """The prompt, given as a string or as a list of one string."""
        single = isinstance(self.prompt, list) and len(self.prompt) == 1 and isinstance(self.prompt[0], str)
        return self.prompt[0] if single else self.prompt


def parsed_body(raw: bytes) -> dict[str, Any]:
    """The JSON object of a request. Raises RequestError for anything else."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        body = json.loads(raw, parse_constant=refuse)
    except RecursionError:
        raise bad_request("the body is nested too deeply: send a flatter JSON object") from None
    except ValueError as error:
        raise bad_request(f"the body is not JSON: {str(error)[:120]}; send one JSON object") from None
    if not isinstance(body, dict):
        raise bad_request("the body is not a JSON object: send one")
    if (b"\\u" in raw or b"\0" in raw or not raw.isascii()) and not _is_unicode(body):
        raise bad_request("the body holds half of a surrogate pair, which is no character: send whole characters")
    return body


def _is_unicode(body: Any) -> bool:
    """Whether all texts of a value can be encoded."""
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def validated_body(model: type[Checked], body: Mapping[str, Any]) -> Checked:
    """A checked request. Raises RequestError, which names the field, for the first thing that is wrong."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise bad_request(*validation_message(error.errors(), body)) from None
    except RecursionError:
        raise bad_request("the body is nested too deeply: send a flatter JSON object") from None


def search_fields(given: Any) -> SearchFields:
    """The field `rollwise` of a request, before anything else of it is checked. Raises RequestError."""
    if given is None:
        return SearchFields()
    try:
        return SearchFields.model_validate(given)
    except ValidationError as error:
        message, field = validation_message(error.errors(), given)
        raise bad_request(message, f"{OURS}.{field}" if field else OURS) from None


_MEANS_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none",),
    "response_format": ({"type": "text"},),
    "structured_outputs": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "audio": (),
    "modalities": (["text"],),
    "suffix": ("",),
    "echo": (False,),
    "web_search_options": (),
}


def unsearchable(body: Mapping[str, Any]) -> str | None:
    """The field for which a request cannot be searched, such as `tools`; None if nothing speaks against a search."""
    for name, neutral in _MEANS_NOTHING.items():
        value = body.get(name)
        if value is None or value in neutral or (name == "tool_choice" and value == "auto" and not body.get("tools")):
            continue
        return name
    messages = body.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if not isinstance(message, dict):
            continue
        if message.get("role") in ("tool", "function") or message.get("tool_calls"):
            return f"messages[{index}]"
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") not in (None, "text", "refusal"):
                return f"messages[{index}].content"
    return None
