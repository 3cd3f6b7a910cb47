"""The state of each row of a decoding arena, in arrays over the rows, so that a token costs no loop over rows."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

from rollwise.core import BoolArray, FloatArray, IntArray

Job = TypeVar("Job")


class Rows(Generic[Job]):
    """The jobs in the rows, and arrays (rows,) of what each row has done and may still do.

    `starts`: tokens of the prefix. `counts`: tokens sampled since; `limits`: the most that may be sampled. `slots`: the
    slot of the stop rule. `top_counts`: how many of the likeliest tokens to report at each position, -1 for no report.
    `sampled` (rows, width): the sampled tokens; `logprobs`: their log-probabilities. The leading `count` rows are
    counted as busy; a row that its job leaves is a gap until the decoder fills the gaps.
    """

    def __init__(self, rows: int) -> None:
        self.jobs: list[Job | None] = [None] * rows
        self.count = 0
        self.starts, self.counts, self.limits, self.slots, self.top_counts = np.zeros((5, rows), dtype=np.int64)
        self.temperature, self.top_p = np.zeros((2, rows))
        self.sampled = np.zeros((rows, 0), dtype=np.int64)
        self.uniforms, self.logprobs = np.zeros((2, rows, 0))

    @property
    def free(self) -> int:
        """How many rows hold no job."""
        return self.jobs.count(None)

    @property
    def lengths(self) -> IntArray:
        """Tokens (count,) of each busy row: prefix and sampled."""
        return (self.starts + self.counts)[: self.count]

    def put(
        self,
        row: int,
        job: Job,
        start: int,
        uniforms: FloatArray,
        temperature: float,
        top_p: float,
        slot: int,
        top_count: int,
    ) -> None:
        """Put a job into a row. It samples at most one token for each of the `uniforms` (limit,)."""
        if len(uniforms) > self.uniforms.shape[1]:
            self._widen(len(uniforms))
        self.jobs[row], self.starts[row], self.counts[row], self.limits[row] = job, start, 0, len(uniforms)
        self.uniforms[row, : len(uniforms)] = uniforms
        self.temperature[row], self.top_p[row] = temperature, top_p
        self.slots[row], self.top_counts[row] = slot, top_count

    def _widen(self, width: int) -> None:
        """Make room for `width` sampled tokens in every row."""
        padding = ((0, 0), (0, width - self.uniforms.shape[1]))
        self.sampled, self.uniforms = np.pad(self.sampled, padding), np.pad(self.uniforms, padding)
        self.logprobs = np.pad(self.logprobs, padding)

    def remove(self, row: int) -> None:
        """Take the job out of a row."""
        self.jobs[row] = None

    def move(self, source: int, target: int) -> None:
        """Move a job to another row."""
        for values in (
            *(self.starts, self.counts, self.limits, self.slots, self.top_counts),
            *(self.temperature, self.top_p, self.sampled, self.uniforms, self.logprobs),
        ):
            values[target] = values[source]
        self.jobs[target], self.jobs[source] = self.jobs[source], None

    def make_room(self, fresh: int) -> tuple[list[int], list[int]]:
        """Count `fresh` more busy rows. Return the idle rows among the leading rows, and the busy rows behind the
        leading rows, which have to move into idle rows.
        """
        busy = [row for row in range(self.count) if self.jobs[row] is not None]
        self.count = len(busy) + fresh
        idle = sorted(set(range(self.count)) - set(busy))
        return idle, [row for row in busy if row >= self.count]

    def next_uniforms(self) -> FloatArray:
        """The uniform number (count,) that each busy row uses next."""
        return self.uniforms[np.arange(self.count), self.counts[: self.count]]

    def append(self, tokens: IntArray, logprobs: FloatArray) -> None:
        """Append one sampled token (count,) to every busy row."""
        places = np.arange(self.count), self.counts[: self.count]
        self.sampled[places], self.logprobs[places] = tokens, logprobs
        self.counts[: self.count] += 1

    def tokens(self, row: int) -> list[int]:
        """The tokens sampled in a row."""
        return self.sampled[row, : self.counts[row]].tolist()

    def last_tokens(self) -> IntArray:
        """The token (count,) that each busy row sampled last."""
        return self.sampled[np.arange(self.count), self.counts[: self.count] - 1]

    def at_limit(self) -> BoolArray:
        """Which busy rows (count,) have reached their limit."""
        return self.counts[: self.count] >= self.limits[: self.count]

    def clear(self) -> list[Job]:
        """Empty all rows; return the jobs that were in them."""
        jobs = [job for job in self.jobs if job is not None]
        self.jobs, self.count = [None] * len(self.jobs), 0
        return jobs
