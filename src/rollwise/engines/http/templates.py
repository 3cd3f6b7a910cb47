"""Chats as prompts, rendered with the model's own template: which request to send and how to read its reply. Pure."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from rollwise.engines.http.shapes import checked, possible, token_ids
from rollwise.errors import InputError, MissingExtraError

Messages = Sequence[dict[str, str]]
Prompt = str | tuple[int, ...]
"""A prompt as text or as token ids."""
Request = tuple[str, dict[str, Any]]
"""The path and the body of a POST request."""

ROUTES = ("tokenize", "apply-template", "chat")
"""The routes that render a chat: vLLM's /tokenize, llama.cpp's /apply-template, or a chat completion of one token whose
reply contains the ids of the prompt.
"""


def chat_request(route: str, model: str, messages: Messages, quiet: bool) -> Request:
    """The request that renders a chat. If `quiet`, the template is to keep the model from thinking first."""
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
    """The prompt in the reply to `chat_request`. Raises BrokenReplyError if the reply holds none."""
    if route == "tokenize":
        return token_ids(reply)
    if route == "chat":
        holder = possible("a prompt's ids", reply) or checked("choices with a prompt's ids", reply)["choices"][0]
        return tuple(holder["prompt_token_ids"])
    text: str = checked("a prompt", reply)["prompt"]
    return text


def encode_request(native: bool, model: str, text: str, whole: bool, plain: bool = False) -> Request:
    """The request for the ids of a text.

    If the text is a `whole` prompt, llama.cpp (`native`) adds the start token that its templates leave out. vLLM's
    templates contain the start token; it is added to a prompt that no template of the model rendered (`plain`).
    """
    if native:
        return "/tokenize", {"content": text, "add_special": whole, "parse_special": True}
    return "/tokenize", {"model": model, "prompt": text, "add_special_tokens": plain}


def plain_prompt(messages: Messages) -> str:
    """A chat as plain text, for a server that gives no template."""
    return "".join(f"{message['content']}\n\n" for message in messages)


def opens_thought(text: str) -> bool:
    """Whether a prompt ends inside a thought that the model has to close."""
    return text.rfind("<think>") > text.rfind("</think>") and text.rstrip().endswith("<think>")


@functools.cache
def load_tokenizer(folder: str) -> Any:
    """The tokenizer in a folder. Raises InputError if the folder has none, or if it has no chat template."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("--tokenizer", "local") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"--tokenizer {folder}: this folder has no tokenizer ({reason}); give the folder of the served model"
        ) from None
    if not tokenizer.chat_template:
        raise InputError(
            f"--tokenizer {folder}: this tokenizer has no chat template; give the folder of a chat model, or leave "
            "--tokenizer out and give --template none for a base model"
        )
    return tokenizer


def local_prompt(folder: str, messages: Messages, quiet: bool) -> str:
    """A chat as text, rendered with the template of the tokenizer in a folder."""
    settings = {"enable_thinking": False} if quiet else {}
    text: str = load_tokenizer(folder).apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=True, **settings
    )
    return text


def local_ids(folder: str, text: str) -> tuple[int, ...]:
    """The ids of a text by the tokenizer in a folder, without special tokens added."""
    return tuple(load_tokenizer(folder)(text, add_special_tokens=False)["input_ids"])


def plain_ids(folder: str, text: str) -> tuple[int, ...]:
    """The ids of a prompt that no chat template rendered, with the start token that the tokenizer adds to a text."""
    return tuple(load_tokenizer(folder)(text)["input_ids"])


def without_start_token(folder: str, text: str) -> str:
    """A prompt without its start token, if the tokenizer in the folder adds one to every text.

    A server that receives the prompt as text would otherwise read the start token twice.
    """
    tokenizer = load_tokenizer(folder)
    bare = text.removeprefix(tokenizer.bos_token or "")
    return bare if tuple(tokenizer(bare)["input_ids"]) == local_ids(folder, text) else text


def length_as_read(folder: str, text: str) -> int:
    """How many tokens a server reads of a text that it receives as text, by the tokenizer in a folder."""
    return len(load_tokenizer(folder)(text)["input_ids"])
