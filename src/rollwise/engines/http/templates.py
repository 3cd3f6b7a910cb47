"""A chat as the prompt that the server's own template makes of it: which request to send, what its reply says. Pure."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from rollwise.engines.http.replies import BrokenReplyError
from rollwise.errors import InputError, MissingExtraError

Messages = Sequence[dict[str, str]]
Prompt = str | tuple[int, ...]
Request = tuple[str, dict[str, Any]]

ROUTES = ("tokenize", "apply-template", "chat")
"""How a server tells the prompt of a chat: vLLM's /tokenize, llama.cpp's /apply-template, or the prompt's ids in the
reply to a chat completion of one token.
"""


def chat_request(route: str, model: str, messages: Messages, quiet: bool) -> Request:
    """The path and body that ask for a chat's prompt; `quiet` tells the template not to let the model think first."""
    body: dict[str, Any] = {"messages": list(messages)}
    if quiet:
        body["chat_template_kwargs"] = {"enable_thinking": False}
    if route == "apply-template":
        return "/apply-template", body
    body["model"] = model
    if route == "tokenize":
        return "/tokenize", body | {"add_generation_prompt": True, "add_special_tokens": False}
    return "/v1/chat/completions", body | {"max_tokens": 1, "return_token_ids": True}


def read_prompt(route: str, reply: Any) -> Prompt:
    """The prompt in the reply to `chat_request`. Raises BrokenReplyError where there is none."""
    if not isinstance(reply, dict):
        raise BrokenReplyError(f"the server replied {repr(reply)[:80]} for a chat's prompt")
    if route == "apply-template":
        text = reply.get("prompt")
        if isinstance(text, str) and text:
            return text
    elif route == "tokenize":
        return read_ids(reply.get("tokens"))
    else:
        choices = reply.get("choices") or [{}]
        return read_ids(reply.get("prompt_token_ids") or choices[0].get("prompt_token_ids"))
    raise BrokenReplyError("the server replied without a prompt")


def read_ids(given: Any) -> tuple[int, ...]:
    """Token ids as a tuple. Raises BrokenReplyError where they are none."""
    if not isinstance(given, list) or not given or not all(isinstance(one, int) for one in given):
        raise BrokenReplyError("the server replied without token ids")
    return tuple(given)


def encode_request(native: bool, model: str, text: str, whole: bool) -> Request:
    """The path and body that ask for a text's ids. Of a `whole` prompt llama.cpp adds the start token that its
    templates leave out; vLLM's templates hold it.
    """
    if native:
        return "/tokenize", {"content": text, "add_special": whole, "parse_special": True}
    return "/tokenize", {"model": model, "prompt": text, "add_special_tokens": False}


def plain_prompt(messages: Messages) -> str:
    """A chat as plain text, for a server that has no template."""
    return "".join(f"{message['content']}\n\n" for message in messages)


def opens_thought(text: str) -> bool:
    """Whether a prompt ends within a thought that the model has to close."""
    return text.rfind("<think>") > text.rfind("</think>") and text.rstrip().endswith("<think>")


@functools.cache
def load_tokenizer(folder: str) -> Any:
    """The tokenizer in a folder. Raises InputError where there is none, or none with a chat template."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("--tokenizer", "local") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--tokenizer {folder}: no tokenizer lies there: {' '.join(str(error).split())[:120]}"
        ) from None
    if not tokenizer.chat_template:
        raise InputError(f"--tokenizer {folder}: this tokenizer has no chat template")
    return tokenizer


def local_prompt(folder: str, messages: Messages, quiet: bool) -> str:
    """A chat as the template of a folder's tokenizer renders it."""
    settings = {"enable_thinking": False} if quiet else {}
    text: str = load_tokenizer(folder).apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=True, **settings
    )
    return text


def local_ids(folder: str, text: str) -> tuple[int, ...]:
    """A text's ids by the tokenizer of a folder, nothing added."""
    return tuple(load_tokenizer(folder)(text, add_special_tokens=False)["input_ids"])


def unopened(folder: str, text: str) -> str:
    """A prompt without the start token at its beginning, where the folder's tokenizer puts one before every text: a
    server that is sent text would read it twice.
    """
    tokenizer = load_tokenizer(folder)
    bare = text.removeprefix(tokenizer.bos_token or "")
    return bare if tuple(tokenizer(bare)["input_ids"]) == local_ids(folder, text) else text


def length_as_read(folder: str, text: str) -> int:
    """How many tokens a server reads that is sent a text, by the tokenizer of a folder."""
    return len(load_tokenizer(folder)(text)["input_ids"])
