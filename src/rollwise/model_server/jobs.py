"""A completion as the decoder's job: its prefix is found among all that was ever read, by its tokens."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

import numpy as np
import torch

from rollwise.core import FloatArray
from rollwise.engines.local import Node, Prefixes, StopRule
from rollwise.errors import EngineError
from rollwise.numerics import keyed_generator

Likeliest = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Token:
    """A sampled token, its log-probability at temperature 1, and the likeliest ones at its place with theirs."""

    id: int
    logprob: float
    likeliest: Likeliest = ()


@dataclass(frozen=True)
class Grown:
    """What became of a completion: its tokens, how many tokens of its prompt were kept from before, and the hidden
    state (dim) after the prompt where nothing was to be sampled.
    """

    tokens: tuple[Token, ...]
    cached: int
    hidden: torch.Tensor | None = None


@dataclass(frozen=True)
class Wish:
    """How a completion is sampled: so many tokens at most, by this rule; `shown` of the likeliest at each place, or -1
    where they are not told.
    """

    limit: int
    rule: StopRule = field(default_factory=StopRule)
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    shown: int = -1


@dataclass(eq=False)
class CompletionJob:
    """One completion of a prompt. Its randomness is keyed by seed and prompt; cancelling `future` ends it."""

    prompt: tuple[int, ...]
    wish: Wish
    prefixes: Prefixes
    hear: Callable[[Token], None] | None = None
    parent: Node | None = None
    future: Future[Grown] = field(default_factory=Future)
    keeps_end = True

    def __post_init__(self) -> None:
        self._cached = 0
        self._seen: list[Token] = []

    @property
    def place(self) -> Hashable:
        """See Job."""
        return self.prompt

    @property
    def limit(self) -> int:
        """See Job."""
        return self.wish.limit

    @property
    def heat(self) -> tuple[float, float]:
        """See Job."""
        return self.wish.temperature, self.wish.top_p

    @property
    def rule(self) -> StopRule:
        """See Job."""
        return self.wish.rule

    @property
    def shown(self) -> int:
        """See Job."""
        return max(self.wish.shown, 0) if self.hear else self.wish.shown

    @property
    def closed(self) -> bool:
        """Whether whoever asked is gone."""
        return self.future.cancelled()

    def kept(self) -> tuple[Node | None, bool]:
        """See Job."""
        node = self.prefixes.find(self.prompt)
        return node, node is not None and node.length == len(self.prompt)

    def unread(self) -> Sequence[int]:
        """See Job."""
        return self.prompt[self.parent.length if self.parent else 0 :]

    def keep_prefix(self, node: Node) -> None:
        """See Job."""
        self.prefixes.insert(self.prompt, node)

    def begin(self, read: int, cached: int) -> None:
        """See Job."""
        self._cached = cached

    def uniforms(self) -> FloatArray:
        """See Job."""
        digest = hashlib.blake2b(np.asarray(self.prompt, dtype=np.int64).tobytes(), digest_size=16).hexdigest()
        return keyed_generator(self.wish.seed, digest, "completion").random(self.limit)

    def show(self, token: int, logprob: float, likeliest: Sequence[tuple[int, float]]) -> None:
        """See Job."""
        self._seen.append(Token(token, logprob, tuple(likeliest)))
        if self.hear:
            self.hear(self._seen[-1])

    def finish(self, tokens: list[int], logprobs: FloatArray, node: Node | None) -> None:
        """See Job."""
        if node is not None:
            self.prefixes.insert((*self.prompt, *tokens)[: node.length], node)
        seen = self._seen or [Token(*each) for each in zip(tokens, logprobs.tolist(), strict=True)]
        self._resolve(Grown(tuple(seen), self._cached))

    def full(self) -> None:
        """See Job."""
        assert self.parent is not None
        self._resolve(Grown((), self._cached, self.parent.hidden))

    def fail(self, reason: str) -> None:
        """See Job."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(EngineError(reason))

    def _resolve(self, grown: Grown) -> None:
        with contextlib.suppress(InvalidStateError):  # cancelled meanwhile
            self.future.set_result(grown)
