"""What a decoder grows: the protocol of its jobs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from rollwise.core import FloatArray
from rollwise.engines.local.cache import Node
from rollwise.engines.local.stops import StopRule


class Job(Protocol):
    """A prefix that a decoder grows by up to `limit` tokens, until `stop_rule` ends it.

    A job is made in any thread; the decoder's worker thread calls everything else.
    """

    parent: Node | None
    """The cache that the job grows from; the decoder sets it."""

    @property
    def prefix_key(self) -> Hashable:
        """Jobs with an equal key have an equal prefix, which the decoder reads once."""
        ...

    @property
    def limit(self) -> int:
        """The most tokens to sample; below 1, the decoder only reads the prefix."""
        ...

    @property
    def temperature(self) -> float:
        """0 takes the likeliest token."""
        ...

    @property
    def top_p(self) -> float:
        """Sample from the smallest set of tokens that reaches this probability."""
        ...

    @property
    def stop_rule(self) -> StopRule:
        """What ends the job before its limit."""
        ...

    @property
    def top_count(self) -> int:
        """How many of the likeliest tokens to report at each position; -1 for no report at all."""
        ...

    @property
    def keeps_ended(self) -> bool:
        """Whether a job that a stop token ended wants the cache of the tokens before that token."""
        ...

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the job any more."""
        ...

    def kept_prefix(self) -> tuple[Node | None, bool]:
        """The longest kept part of the prefix, and whether that is the whole prefix."""
        ...

    def unread_tokens(self) -> Sequence[int]:
        """The tokens of the prefix after `parent`."""
        ...

    def keep_prefix(self, node: Node) -> None:
        """Keep the cache of the whole prefix, which the decoder read for this job."""
        ...

    def count_prefix(self, read: int, cached: int) -> None:
        """The prefix is ready: the decoder read `read` tokens of it for this job, `cached` tokens it had."""
        ...

    def uniforms(self) -> FloatArray:
        """`limit` uniform numbers in [0, 1), one for each token."""
        ...

    def report(self, token: int, logprob: float, likeliest: Sequence[tuple[int, float]]) -> None:
        """The next token and its log-probability, and the likeliest tokens at its position with theirs."""
        ...

    def finish(self, tokens: list[int], logprobs: FloatArray, node: Node | None) -> None:
        """The job is done: its tokens, their log-probabilities, and the cache to go on from, if there is one."""
        ...

    def finish_unsampled(self) -> None:
        """The prefix is read, and the limit leaves no room for a token."""
        ...

    def fail(self, reason: str) -> None:
        """The job is lost."""
        ...
