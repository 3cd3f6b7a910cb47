"""What the rows of a decoding arena are at: one entry a row, in arrays, so that a token costs no loop over rows."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

from rollwise.core import BoolArray, FloatArray, IntArray

Job = TypeVar("Job")


class Rows(Generic[Job]):
    """The leading `count` rows are busy once `settle` has run; a row that is left makes a gap until then.

    Of each row: `begun` tokens of prefix, `counts` tokens sampled since, at most `limits`; the `slots` of their stop
    rules; how many of the likeliest tokens are wanted at each place, `shown`, -1 where nobody looks on; the `sampled`
    tokens (rows, width) and their log-probabilities.
    """

    def __init__(self, rows: int) -> None:
        self.jobs: list[Job | None] = [None] * rows
        self.count = 0
        self.begun, self.counts, self.limits, self.slots, self.shown = np.zeros((5, rows), dtype=np.int64)
        self.temperature, self.top_p = np.zeros((2, rows))
        self.sampled = np.zeros((rows, 0), dtype=np.int64)
        self.uniforms, self.logprobs = np.zeros((2, rows, 0))

    @property
    def free(self) -> int:
        """How many rows no job holds."""
        return self.jobs.count(None)

    @property
    def lengths(self) -> IntArray:
        """Tokens (count,) of each busy row, prefix and sampled."""
        return (self.begun + self.counts)[: self.count]

    def put(
        self, row: int, job: Job, begun: int, uniforms: FloatArray, heat: tuple[float, float], slot: int, shown: int
    ) -> None:
        """A job into a row, which samples one token for each of its uniform numbers at most, at a temperature and
        top_p.
        """
        if len(uniforms) > self.uniforms.shape[1]:
            wider = ((0, 0), (0, len(uniforms) - self.uniforms.shape[1]))
            self.sampled, self.uniforms = np.pad(self.sampled, wider), np.pad(self.uniforms, wider)
            self.logprobs = np.pad(self.logprobs, wider)
        self.jobs[row], self.begun[row], self.counts[row], self.limits[row] = job, begun, 0, len(uniforms)
        self.uniforms[row, : len(uniforms)] = uniforms
        self.temperature[row], self.top_p[row] = heat
        self.slots[row], self.shown[row] = slot, shown

    def leave(self, row: int) -> None:
        """Let go of a row's job."""
        self.jobs[row] = None

    def move(self, source: int, target: int) -> None:
        """A job into another row."""
        for each in (self.begun, self.counts, self.limits, self.slots, self.shown, self.temperature, self.top_p):
            each[target] = each[source]
        for matrix in (self.sampled, self.uniforms, self.logprobs):
            matrix[target] = matrix[source]
        self.jobs[target], self.jobs[source] = self.jobs[source], None

    def gaps(self, fresh: int) -> tuple[list[int], list[int]]:
        """Where so many fresh jobs make room: the idle rows among those that will lead, and the busy rows beyond them,
        which have to move there.
        """
        busy = [row for row in range(self.count) if self.jobs[row] is not None]
        self.count = len(busy) + fresh
        idle = sorted(set(range(self.count)) - set(busy))
        return idle, [row for row in busy if row >= self.count]

    def next_uniforms(self) -> FloatArray:
        """The uniform number (count,) that each busy row is at."""
        return self.uniforms[np.arange(self.count), self.counts[: self.count]]

    def append(self, tokens: IntArray, logprobs: FloatArray) -> None:
        """One more sampled token (count,) in every busy row."""
        places = np.arange(self.count), self.counts[: self.count]
        self.sampled[places], self.logprobs[places] = tokens, logprobs
        self.counts[: self.count] += 1

    def tokens(self, row: int) -> list[int]:
        """What a row has sampled."""
        return self.sampled[row, : self.counts[row]].tolist()

    def last(self) -> IntArray:
        """The token (count,) that each busy row sampled last."""
        return self.sampled[np.arange(self.count), self.counts[: self.count] - 1]

    def at_limit(self) -> BoolArray:
        """Which busy rows (count,) may sample no more."""
        return self.counts[: self.count] >= self.limits[: self.count]

    def clear(self) -> list[Job]:
        """Empty all rows; the jobs that were in them."""
        held = [job for job in self.jobs if job is not None]
        self.jobs, self.count = [None] * len(self.jobs), 0
        return held
