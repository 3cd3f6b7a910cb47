"""A completion as a job of the decoder. The job finds its prefix by its tokens, among all that was read before."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

import numpy as np
import torch

from rollwise.core import FloatArray
from rollwise.engines.local import Node, Prefixes, StopRule, prefix_length
from rollwise.errors import EngineError
from rollwise.numerics import keyed_generator

Likeliest = tuple[tuple[int, float], ...]
"""The likeliest tokens at a position, with their log-probabilities."""


@dataclass(frozen=True, slots=True)
class Token:
    """A sampled token, its log-probability at temperature 1, and the likeliest tokens at its position."""

    id: int
    logprob: float
    likeliest: Likeliest = ()


@dataclass(frozen=True)
class Completion:
    """A finished completion: its tokens, how many tokens of its prompt were cached, and, if nothing was to be sampled,
    the hidden state (dim) after the prompt.
    """

    tokens: tuple[Token, ...]
    cached: int
    hidden: torch.Tensor | None = None


@dataclass(frozen=True)
class CompletionOptions:
    """How a completion is sampled: up to `limit` tokens, until `stop_rule` ends it. `top_count` of the likeliest tokens
    are reported at each position; -1 reports none and no log-probability either.
    """

    limit: int
    stop_rule: StopRule = field(default_factory=StopRule)
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    top_count: int = -1


@dataclass(eq=False)
class CompletionJob:
    """One completion of a prompt. Its randomness is keyed by seed and prompt. Cancelling `future` ends it.

    If `on_token` is given, the worker thread calls it with each token.
    """

    prompt: tuple[int, ...]
    options: CompletionOptions
    prefixes: Prefixes
    on_token: Callable[[Token], None] | None = None
    parent: Node | None = None
    future: Future[Completion] = field(default_factory=Future)
    keeps_ended = True

    def __post_init__(self) -> None:
        self._cached = 0
        self._reported: list[Token] = []

    @property
    def prefix_key(self) -> Hashable:
        """See Job."""
        return self.prompt

    @property
    def limit(self) -> int:
        """See Job."""
        return self.options.limit

    @property
    def temperature(self) -> float:
        """See Job."""
        return self.options.temperature

    @property
    def top_p(self) -> float:
        """See Job."""
        return self.options.top_p

    @property
    def stop_rule(self) -> StopRule:
        """See Job."""
        return self.options.stop_rule

    @property
    def top_count(self) -> int:
        """See Job."""
        return max(self.options.top_count, 0) if self.on_token else self.options.top_count

    @property
    def abandoned(self) -> bool:
        """See Job."""
        return self.future.cancelled()

    def kept_prefix(self) -> tuple[Node | None, bool]:
        """See Job."""
        node = self.prefixes.find(self.prompt)
        return node, prefix_length(node) == len(self.prompt)

    def unread_tokens(self) -> Sequence[int]:
        """See Job."""
        return self.prompt[prefix_length(self.parent) :]

    def keep_prefix(self, node: Node) -> None:
        """See Job."""
        self.prefixes.insert(self.prompt, node)

    def count_prefix(self, read: int, cached: int) -> None:
        """See Job."""
        self._cached = cached

    def uniforms(self) -> FloatArray:
        """See Job."""
        digest = hashlib.blake2b(np.asarray(self.prompt, dtype=np.int64).tobytes(), digest_size=16).hexdigest()
        return keyed_generator(self.options.seed, digest, "completion").random(self.limit)

    def report(self, token: int, logprob: float, likeliest: Sequence[tuple[int, float]]) -> None:
        """See Job."""
        self._reported.append(Token(token, logprob, tuple(likeliest)))
        if self.on_token:
            self.on_token(self._reported[-1])

    def finish(self, tokens: list[int], logprobs: FloatArray, node: Node | None) -> None:
        """See Job."""
        if node is not None:
            self.prefixes.insert((*self.prompt, *tokens)[: node.length], node)
        reported = self._reported or [Token(*pair) for pair in zip(tokens, logprobs.tolist(), strict=True)]
        self._resolve(Completion(tuple(reported), self._cached))

    def finish_unsampled(self) -> None:
        """See Job."""
        assert self.parent is not None
        self._resolve(Completion((), self._cached, self.parent.hidden))

    def fail(self, reason: str) -> None:
        """See Job."""
        with contextlib.suppress(InvalidStateError):  # the client cancelled it
            self.future.set_exception(EngineError(reason))

    def _resolve(self, completion: Completion) -> None:
        with contextlib.suppress(InvalidStateError):  # the client cancelled it
            self.future.set_result(completion)
