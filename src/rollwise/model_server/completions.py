"""Completions: from a request to the decoder's jobs, and from what they grew to a response."""

from __future__ import annotations

import itertools
import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rollwise.model_server.errors import bad_request
from rollwise.model_server.inputs import render, token_lists
from rollwise.model_server.jobs import CompletionJob, Grown, Token, Wish
from rollwise.model_server.models import Models
from rollwise.model_server.schemas import ChatBody, CompletionBody, SamplingBody
from rollwise.model_server.text import Ending, Reader

Hear = Callable[[int, Token], None]
MOST_COMPLETIONS = 4096


@dataclass(frozen=True)
class Request:
    """A request that can be served: its prompts' tokens, `n` completions of each, how they are sampled and read."""

    model: str
    prompts: tuple[tuple[int, ...], ...]
    wish: Wish
    n: int
    reader: Reader
    shape: Shape
    ids: bool
    usage_at_end: bool = False

    def jobs(self, models: Models, hear: Hear | None = None) -> list[CompletionJob]:
        """Its jobs, submitted: the completions of the first prompt, of the second, ... Child i is seeded with seed + i.
        `hear` is told each token and which completion it is of.
        """

        def listener(index: int) -> Callable[[Token], None] | None:
            return None if hear is None else lambda token: hear(index, token)

        wishes = [replace(self.wish, seed=self.wish.seed + child) for child in range(self.n)]
        jobs = [
            CompletionJob(prompt, wish, models.prefixes, listener(index))
            for index, (prompt, wish) in enumerate(itertools.product(self.prompts, wishes))
        ]
        models.policy.submit(jobs)
        return jobs

    def usage(self, grown: Sequence[Grown]) -> dict[str, Any]:
        """Tokens of the prompts, once each, how many of them were kept from before, and tokens sampled."""
        read = sum(map(len, self.prompts))
        written = sum(len(each.tokens) for each in grown)
        firsts = [grown[first : first + self.n] for first in range(0, len(grown), self.n)]
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "prompt_tokens_details": {"cached_tokens": sum(min(each.cached for each in group) for group in firsts)},
        }

    def response(self, grown: Sequence[Grown]) -> dict[str, Any]:
        """The whole response."""
        choices = [
            self.shape.choice(self, index, each.tokens, self.reader.ending([token.id for token in each.tokens]))
            for index, each in enumerate(grown)
        ]
        more = {"prompt_token_ids": list(self.prompts[0])} if self.ids and isinstance(self.shape, ChatShape) else {}
        return head(self, self.shape.kind) | {"choices": choices, "usage": self.usage(grown)} | more


def head(request: Request, kind: str) -> dict[str, Any]:
    """What every response and chunk begins with."""
    return {
        "id": f"{request.shape.prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": request.model,
    }


class Shape(Protocol):
    """How completions are written: as text, or as a message of a chat."""

    prefix: str
    kind: str
    chunk: str

    def choice(self, request: Request, index: int, tokens: Sequence[Token], ending: Ending) -> dict[str, Any]:
        """A whole completion."""
        ...

    def delta(
        self, request: Request, index: int, text: str, tokens: Sequence[Token], offset: int, ending: Ending | None
    ) -> dict[str, Any]:
        """A piece of a completion: its text, its tokens, of which the first begins at `offset`, why it ended if so."""
        ...


@dataclass(frozen=True)
class TextShape:
    """As `POST /v1/completions` writes them."""

    pieces: Sequence[str]
    prefix = "cmpl"
    kind = chunk = "text_completion"

    def choice(self, request: Request, index: int, tokens: Sequence[Token], ending: Ending) -> dict[str, Any]:
        """See Shape."""
        prompt = {"prompt_token_ids": list(request.prompts[index // request.n])} if request.ids else {}
        return self.delta(request, index, ending.text, tokens, 0, ending) | prompt

    def delta(
        self, request: Request, index: int, text: str, tokens: Sequence[Token], offset: int, ending: Ending | None
    ) -> dict[str, Any]:
        """See Shape."""
        return {
            "index": index,
            "text": text,
            "logprobs": self._logprobs(tokens, offset) if request.wish.shown >= 0 else None,
            "finish_reason": ending.finish_reason if ending else None,
            "stop_reason": ending.stop_reason if ending else None,
        } | ({"token_ids": [token.id for token in tokens]} if request.ids else {})

    def _logprobs(self, tokens: Sequence[Token], offset: int) -> dict[str, Any]:
        offsets = []
        for token in tokens:
            offsets.append(offset)
            offset += len(self.pieces[token.id])
        return {
            "text_offset": offsets,
            "tokens": [self.pieces[token.id] for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [
                {self.pieces[one]: value for one, value in ((token.id, token.logprob), *token.likeliest)}
                for token in tokens
            ],
        }


@dataclass(frozen=True)
class ChatShape:
    """As `POST /v1/chat/completions` writes them."""

    pieces: Sequence[str]
    prefix = "chatcmpl"
    kind, chunk = "chat.completion", "chat.completion.chunk"

    def choice(self, request: Request, index: int, tokens: Sequence[Token], ending: Ending) -> dict[str, Any]:
        """See Shape."""
        written = self.delta(request, index, ending.text, tokens, 0, ending)
        del written["delta"]
        return written | {"message": {"role": "assistant", "content": ending.text}}

    def delta(
        self, request: Request, index: int, text: str, tokens: Sequence[Token], offset: int, ending: Ending | None
    ) -> dict[str, Any]:
        """See Shape."""
        return {
            "index": index,
            "delta": {"role": "assistant", "content": text},
            "logprobs": {"content": [self._logprob(token) for token in tokens]} if request.wish.shown >= 0 else None,
            "finish_reason": ending.finish_reason if ending else None,
            "stop_reason": ending.stop_reason if ending else None,
        } | ({"token_ids": [token.id for token in tokens]} if request.ids else {})

    def _logprob(self, token: Token) -> dict[str, Any]:
        own = self._piece(token.id, token.logprob)
        return own | {"top_logprobs": [self._piece(*each) for each in token.likeliest]}

    def _piece(self, token: int, logprob: float) -> dict[str, Any]:
        piece = self.pieces[token]
        return {"token": piece, "logprob": logprob, "bytes": list(piece.encode())}


def text_request(models: Models, body: CompletionBody) -> Request:
    """The request that a body of `POST /v1/completions` is. Raises RequestError where it cannot be served."""
    name = models.check(body.model, "generate", "/v1/completions")
    policy = models.policy
    pieces = policy.stops.pieces
    prompts = token_lists(policy.tokenizer, body.prompt, len(pieces), body.add_special_tokens, "prompt")
    return _request(models, name, body, prompts, body.max_tokens, TextShape(pieces))


def chat_request(models: Models, body: ChatBody) -> Request:
    """The request that a body of `POST /v1/chat/completions` is. Raises RequestError where it cannot be served."""
    name = models.check(body.model, "generate", "/v1/chat/completions")
    policy = models.policy
    messages = [message.plain for message in body.messages]
    text = render(policy.tokenizer, messages, body.add_generation_prompt, body.continue_final_message)
    pieces = policy.stops.pieces
    prompts = token_lists(policy.tokenizer, text, len(pieces), body.add_special_tokens, "messages")
    limit = body.max_completion_tokens or body.max_tokens or max(1, policy.context - len(prompts[0]))
    return _request(models, name, body, prompts, limit, ChatShape(pieces))


def _request(
    models: Models, name: str, body: SamplingBody, prompts: Sequence[tuple[int, ...]], limit: int, shape: Shape
) -> Request:
    longest, context = max(map(len, prompts)), models.policy.context
    if longest + limit > context:
        raise bad_request(
            f"the prompt takes {longest} tokens and the completion up to {limit}, and {name} reads {context} at most: "
            + (f"send 'max_tokens': {context - longest} or less" if longest < context else "send a shorter prompt"),
            "max_tokens" if longest < context else "prompt",
        )
    if len(prompts) * body.n > MOST_COMPLETIONS:
        raise bad_request(f"{len(prompts)} prompts of {body.n} completions: send {MOST_COMPLETIONS} at a time", "n")
    reader = Reader.of(
        models.policy,
        body.stop_strings,
        body.stop_token_ids or (),
        body.include_stop_str_in_output,
        body.skip_special_tokens,
    )
    seed = random.SystemRandom().getrandbits(32) if body.seed is None else body.seed
    shown = -1 if body.likeliest is None else body.likeliest
    wish = Wish(limit, reader.rule, body.temperature, body.top_p, seed, shown)
    at_end = body.stream_options is not None and body.stream_options.include_usage
    return Request(name, tuple(prompts), wish, body.n, reader, shape, body.return_token_ids, at_end)
