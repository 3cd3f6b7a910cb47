"""Completions: from a request to the decoder's jobs, and from finished completions to a response."""

from __future__ import annotations

import itertools
import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rollwise.model_server.inputs import render, token_lists
from rollwise.model_server.jobs import Completion, CompletionJob, CompletionOptions, Token
from rollwise.model_server.models import Models
from rollwise.model_server.text import Detokenizer, Ending
from rollwise.openai_format import ChatBody, CompletionBody, SamplingBody, bad_request

OnToken = Callable[[int, Token], None]
"""(index of the completion, its new token)."""

MOST_COMPLETIONS = 4096


@dataclass(frozen=True)
class CompletionRequest:
    """A checked request: the prompts' tokens, `n` completions of each, how they are sampled, and how they are written.

    `with_token_ids` adds token ids to the response; `usage_at_end` adds a last chunk with the usage to a stream.
    """

    model: str
    prompts: tuple[tuple[int, ...], ...]
    options: CompletionOptions
    n: int
    detokenizer: Detokenizer
    format: ResponseFormat
    with_token_ids: bool
    usage_at_end: bool = False

    def submit(self, models: Models, on_token: OnToken | None = None) -> list[CompletionJob]:
        """Submit the request's jobs and return them: the completions of the first prompt, of the second, and so on.

        Completion i of a prompt has the seed `seed` + i. `on_token` receives each token with its completion's index.
        """

        def listener(index: int) -> Callable[[Token], None] | None:
            return None if on_token is None else lambda token: on_token(index, token)

        seeded = [replace(self.options, seed=self.options.seed + child) for child in range(self.n)]
        jobs = [
            CompletionJob(prompt, options, models.prefixes, listener(index))
            for index, (prompt, options) in enumerate(itertools.product(self.prompts, seeded))
        ]
        models.policy.submit(jobs)
        return jobs

    def usage(self, completions: Sequence[Completion]) -> dict[str, Any]:
        """Tokens of the prompts, each prompt counted once; how many of them were cached; and tokens sampled."""
        read = sum(map(len, self.prompts))
        sampled = sum(len(completion.tokens) for completion in completions)
        by_prompt = [completions[first : first + self.n] for first in range(0, len(completions), self.n)]
        cached = sum(min(completion.cached for completion in group) for group in by_prompt)
        return {
            "prompt_tokens": read,
            "completion_tokens": sampled,
            "total_tokens": read + sampled,
            "prompt_tokens_details": {"cached_tokens": cached},
        }

    def response(self, completions: Sequence[Completion]) -> dict[str, Any]:
        """The whole response."""
        choices = []
        for index, completion in enumerate(completions):
            ending = self.detokenizer.ending([token.id for token in completion.tokens])
            choices.append(self.format.choice(self, Piece(index, ending.text, completion.tokens, ending=ending)))
        body = head(self, self.format.object_name) | {"choices": choices, "usage": self.usage(completions)}
        if self.with_token_ids and isinstance(self.format, ChatFormat):
            body["prompt_token_ids"] = list(self.prompts[0])
        return body


def head(request: CompletionRequest, object_name: str) -> dict[str, Any]:
    """The first fields of a response or of a chunk."""
    return {
        "id": f"{request.format.id_prefix}-{uuid.uuid4().hex}",
        "object": object_name,
        "created": int(time.time()),
        "model": request.model,
    }


@dataclass(frozen=True)
class Piece:
    """A completion or a piece of it: its text, its tokens, where its text begins, and why it ended, if it did."""

    index: int
    text: str
    tokens: Sequence[Token]
    offset: int = 0
    ending: Ending | None = None


class ResponseFormat(Protocol):
    """How completions are written: as text, or as messages of a chat."""

    id_prefix: str
    object_name: str
    chunk_name: str

    def choice(self, request: CompletionRequest, whole: Piece) -> dict[str, Any]:
        """The fields of a whole completion."""
        ...

    def delta(self, request: CompletionRequest, piece: Piece) -> dict[str, Any]:
        """The fields of a piece of a completion."""
        ...


def _end_fields(request: CompletionRequest, piece: Piece) -> dict[str, Any]:
    """The last fields of a completion or of a piece: why it ended, and its tokens if the request wants them."""
    fields = {
        "finish_reason": piece.ending.finish_reason if piece.ending else None,
        "stop_reason": piece.ending.stop_reason if piece.ending else None,
    }
    return fields | ({"token_ids": [token.id for token in piece.tokens]} if request.with_token_ids else {})


@dataclass(frozen=True)
class TextFormat:
    """The format of `POST /v1/completions`."""

    pieces: Sequence[str]
    id_prefix = "cmpl"
    object_name = chunk_name = "text_completion"

    def choice(self, request: CompletionRequest, whole: Piece) -> dict[str, Any]:
        """The fields of a whole completion."""
        prompt = {"prompt_token_ids": list(request.prompts[whole.index // request.n])} if request.with_token_ids else {}
        return self.delta(request, whole) | prompt

    def delta(self, request: CompletionRequest, piece: Piece) -> dict[str, Any]:
        """The fields of a piece of a completion."""
        logprobs = self._logprobs(piece.tokens, piece.offset) if request.options.top_count >= 0 else None
        return {"index": piece.index, "text": piece.text, "logprobs": logprobs} | _end_fields(request, piece)

    def _logprobs(self, tokens: Sequence[Token], offset: int) -> dict[str, Any]:
        offsets = []
        for token in tokens:
            offsets.append(offset)
            offset += len(self.pieces[token.id])
        return {
            "text_offset": offsets,
            "tokens": [self.pieces[token.id] for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [self._top_logprobs(token) for token in tokens],
        }

    def _top_logprobs(self, token: Token) -> dict[str, float]:
        """The sampled token, then the likeliest tokens: text → log-probability."""
        return {self.pieces[id_]: logprob for id_, logprob in ((token.id, token.logprob), *token.likeliest)}


@dataclass(frozen=True)
class ChatFormat:
    """The format of `POST /v1/chat/completions`."""

    pieces: Sequence[str]
    id_prefix = "chatcmpl"
    object_name, chunk_name = "chat.completion", "chat.completion.chunk"

    def choice(self, request: CompletionRequest, whole: Piece) -> dict[str, Any]:
        """The fields of a whole completion."""
        fields = self.delta(request, whole)
        message = fields.pop("delta")
        return fields | {"message": message}

    def delta(self, request: CompletionRequest, piece: Piece) -> dict[str, Any]:
        """The fields of a piece of a completion."""
        reported = request.options.top_count >= 0
        fields = {
            "index": piece.index,
            "delta": {"role": "assistant", "content": piece.text},
            "logprobs": {"content": [self._logprob(token) for token in piece.tokens]} if reported else None,
        }
        return fields | _end_fields(request, piece)

    def _logprob(self, token: Token) -> dict[str, Any]:
        sampled = self._entry(token.id, token.logprob)
        return sampled | {"top_logprobs": [self._entry(*likely) for likely in token.likeliest]}

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        piece = self.pieces[token]
        return {"token": piece, "logprob": logprob, "bytes": list(piece.encode())}


def text_request(models: Models, body: CompletionBody) -> CompletionRequest:
    """The request of a body of `POST /v1/completions`. Raises RequestError if it cannot be served."""
    name = models.model_for("generate", body.model, "/v1/completions")
    policy = models.policy
    pieces = policy.stops.pieces
    prompts = token_lists(policy.tokenizer, body.prompt, len(pieces), body.add_special_tokens, "prompt")
    return _request(models, name, body, prompts, body.max_tokens, TextFormat(pieces))


def chat_request(models: Models, body: ChatBody) -> CompletionRequest:
    """The request of a body of `POST /v1/chat/completions`. Raises RequestError if it cannot be served."""
    name = models.model_for("generate", body.model, "/v1/chat/completions")
    policy = models.policy
    messages = [message.plain for message in body.messages]
    text = render(policy.tokenizer, messages, body.add_generation_prompt, body.continue_final_message)
    pieces = policy.stops.pieces
    prompts = token_lists(policy.tokenizer, text, len(pieces), body.add_special_tokens, "messages")
    limit = body.max_completion_tokens or body.max_tokens or max(1, policy.context - len(prompts[0]))
    return _request(models, name, body, prompts, limit, ChatFormat(pieces))


def _request(
    models: Models,
    name: str,
    body: SamplingBody,
    prompts: Sequence[tuple[int, ...]],
    limit: int,
    response_format: ResponseFormat,
) -> CompletionRequest:
    _check_size(models, name, body, prompts, limit)
    detokenizer = Detokenizer.of(
        models.policy,
        strings=body.stop_strings,
        tokens=body.stop_token_ids or (),
        include_stop=body.include_stop_str_in_output,
        skip_special=body.skip_special_tokens,
    )
    options = CompletionOptions(
        limit,
        detokenizer.stop_rule,
        body.temperature,
        body.top_p,
        seed=random.SystemRandom().getrandbits(32) if body.seed is None else body.seed,
        top_count=-1 if body.top_count is None else body.top_count,
    )
    usage_at_end = body.stream_options is not None and body.stream_options.include_usage
    return CompletionRequest(
        name, tuple(prompts), options, body.n, detokenizer, response_format, body.return_token_ids, usage_at_end
    )


def _check_size(models: Models, name: str, body: SamplingBody, prompts: Sequence[tuple[int, ...]], limit: int) -> None:
    """Raise RequestError if a completion may exceed the context, or if the request asks for too many completions."""
    longest, context = max(map(len, prompts)), models.policy.context
    if longest + limit > context:
        fits = longest < context
        limit_field, prompt_field = body.size_fields
        advice = f"send {limit_field!r}: {context - longest} or less" if fits else "send a shorter prompt"
        raise bad_request(
            f"the prompt takes {longest} tokens and the completion up to {limit}, and {name} reads {context} at most: "
            f"{advice}",
            limit_field if fits else prompt_field,
        )
    if len(prompts) * body.n > MOST_COMPLETIONS:
        raise bad_request(f"{len(prompts)} prompts of {body.n} completions: send {MOST_COMPLETIONS} at a time", "n")
