"""A causal language model in this process: one worker thread batches everything that has to grow, for all callers."""

from __future__ import annotations

import atexit
import queue
import threading
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rollwise.core import FloatArray, IntArray
from rollwise.engines.local.cache import Arena, Node, feed, prefix_length
from rollwise.engines.local.job import Job
from rollwise.engines.local.linear import pack_linears
from rollwise.engines.local.rows import Rows
from rollwise.engines.local.sampling import sample
from rollwise.engines.local.stops import ENDS, MAY_COMPLETE, StopTable
from rollwise.errors import InputError


class Decoder:
    """A causal language model of transformers, sampled on kept caches.

    The decoder computes `rows` jobs at once; when a job is done, a waiting job takes its row.
    """

    def __init__(self, model: Any, tokenizer: Any, rows: int = 128) -> None:
        config = model.config.get_text_config()
        self.model, self.tokenizer = model, tokenizer
        self.parameters: int = model.num_parameters()
        self.context: int = config.max_position_embeddings
        self.end_tokens = _end_tokens(model, tokenizer)
        self.stops = StopTable(tokenizer, config.vocab_size)
        self._head = model.get_output_embeddings()
        pack_linears(self._head)
        self._decoding = Arena(model.base_model, rows)
        self._reading = Arena(model.base_model, min(rows, 16))
        self._rows = Rows[Job](rows)
        self._hidden = self._decoding.states.new_zeros(rows, config.hidden_size)
        self._waiting: list[Job] = []
        self._admitting: list[Job] = []
        self._inbox: queue.SimpleQueue[Sequence[Job] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._check_architecture()

    def _check_architecture(self) -> None:
        """Raise InputError if the model computes more than the caches and the head reproduce."""
        config = self.model.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        kinds = getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"]
        if set(kinds) != {"full_attention"} and (window is None or window < self.context):
            raise InputError("this model attends within a window only, which the local engine cannot; serve it")
        tokens = [*sorted(self.end_tokens), *sorted(self.end_tokens)]
        with torch.inference_mode():
            expected = self.model(input_ids=torch.tensor([tokens], device=self.model.device)).logits[0, -1]
            ours = self.logits(feed(self._reading, [None], [tokens])[0])
        if not torch.allclose(expected.float(), ours.float(), rtol=0.05, atol=0.05):
            raise InputError("the local engine does not reproduce the logits of this architecture; serve it")

    def logits(self, node: Node) -> torch.Tensor:
        """Next-token logits (vocabulary) after a kept prefix."""
        return self._head(node.hidden)

    @property
    def job_counts(self) -> tuple[int, int]:
        """How many jobs run, and how many wait. Other threads may read it; the worker may be ahead."""
        return len(self._rows.jobs) - self._rows.free, len(self._waiting)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Pass jobs to the worker thread."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="rollwise-policy", daemon=True)
                self._thread.start()
                atexit.register(self._stop, self._thread)
        self._inbox.put(jobs)

    def _stop(self, thread: threading.Thread) -> None:
        """End the worker before the interpreter exits: a thread that dies in a computation aborts the process."""
        self._inbox.put(None)
        thread.join(timeout=10)

    def _work(self) -> None:
        with torch.inference_mode():
            while self._receive():
                try:
                    self._drop_abandoned()
                    self._admit()
                    self._advance()
                except Exception as error:  # the callers have to hear of any error
                    self._fail_all(error)

    def _receive(self) -> bool:
        """Take new jobs from the inbox, and wait for some if there is nothing to do. False if the worker has to end."""
        idle = not self._rows.count and not self._waiting
        while idle or not self._inbox.empty():
            jobs = self._inbox.get()
            if jobs is None:
                return False
            self._waiting.extend(jobs)
            idle = False
        return True

    def _fail_all(self, error: Exception) -> None:
        jobs = dict.fromkeys([*self._admitting, *self._rows.clear(), *self._waiting])
        self._admitting, self._waiting = [], []
        for job in jobs:
            job.fail(f"{type(error).__name__}: {error}")

    def _drop_abandoned(self) -> None:
        """Fail the jobs that nobody waits for any more. Their rows are gaps until `_fill_rows`."""
        waiting, self._waiting = self._waiting, []
        dropped: list[Job] = []
        for job in waiting:
            (dropped if job.abandoned else self._waiting).append(job)
        for row, running in enumerate(self._rows.jobs):
            if running is not None and running.abandoned:
                self._rows.remove(row)
                dropped.append(running)
        for job in dropped:
            job.fail("the session is closed")

    def _admit(self) -> None:
        """Move waiting jobs into free rows."""
        free = self._rows.free
        self._admitting, self._waiting = self._waiting[:free], self._waiting[free:]
        self._read_prefixes(self._admitting)
        self._fill_rows([job for job in self._admitting if job.limit > 0])
        unsampled = [job for job in self._admitting if job.limit < 1]
        self._admitting = []
        for job in unsampled:
            job.finish_unsampled()

    def _read_prefixes(self, jobs: Sequence[Job]) -> None:
        """Set each job's `parent` to the cache of its whole prefix. Prefixes that are not kept are read once each."""
        readers: dict[Hashable, Job] = {}
        for job in jobs:
            job.parent, whole = job.kept_prefix()
            if not whole:
                readers.setdefault(job.prefix_key, job)
        nodes = self._read(readers)
        for job in jobs:
            kept = job.parent
            job.parent = nodes.get(job.prefix_key, kept)
            length = prefix_length(job.parent)
            read = length - prefix_length(kept) if readers.get(job.prefix_key) is job else 0
            job.count_prefix(read, length - read)

    def _read(self, readers: Mapping[Hashable, Job]) -> dict[Hashable, Node]:
        """Read the unread tokens of some jobs' prefixes and keep the caches: key → cache of the whole prefix."""
        parents = [job.parent for job in readers.values()]
        texts = [job.unread_tokens() for job in readers.values()]
        nodes = dict(zip(readers, feed(self._reading, parents, texts), strict=True))
        for key, job in readers.items():
            job.keep_prefix(nodes[key])
        return nodes

    def _fill_rows(self, fresh: Sequence[Job] = ()) -> None:
        """Put fresh jobs into rows, and move jobs into the gaps that are left: the busy rows lead."""
        idle, movers = self._rows.make_room(len(fresh))
        places = self._rows_for(fresh, idle)
        for row, job in places.items():
            self._start(row, job)
        gaps = [row for row in idle if row not in places]
        for source, target in zip(movers, gaps, strict=True):
            self._move(source, target)

    def _rows_for(self, jobs: Sequence[Job], idle: Sequence[int]) -> dict[int, Job]:
        """Idle row → job. A job gets the row that still holds its prefix, if there is such a row."""
        row_of_chain = {self._decoding.held[row]: row for row in idle}
        places: dict[int, Job] = {}
        others: list[Job] = []
        for job in jobs:
            assert job.parent is not None
            row = row_of_chain.pop(job.parent.chain, None)
            if row is None:
                others.append(job)
            else:
                places[row] = job
        free = [row for row in idle if row not in places]
        return places | dict(zip(free, others, strict=False))

    def _start(self, row: int, job: Job) -> None:
        assert job.parent is not None
        self._decoding.load(row, job.parent)
        self._hidden[row] = job.parent.hidden
        slot = self.stops.slot(job.stop_rule, self._rows.slots)
        uniforms = job.uniforms()
        self._rows.put(row, job, job.parent.length, uniforms, job.temperature, job.top_p, slot, job.top_count)

    def _move(self, source: int, target: int) -> None:
        self._decoding.move(source, target, int(self._rows.starts[source] + self._rows.counts[source]))
        self._hidden[target] = self._hidden[source]
        self._rows.move(source, target)

    def _advance(self) -> None:
        """Grow every busy row by one token, and finish the jobs that are done."""
        if not self._rows.count:
            return
        self._sample()
        self._finish_ended()
        if self._rows.count:
            self._feed_last()
            self._finish_fed()

    def _sample(self) -> None:
        """Append a token to every busy row, sampled with the row's next uniform number."""
        rows, device = self._rows, self._decoding.device
        settings = np.stack([rows.temperature[: rows.count], rows.top_p[: rows.count], rows.next_uniforms()])
        temperature, top_p, uniforms = torch.from_numpy(settings).to(device)
        logits = self._head(self._hidden[: rows.count])
        nucleus, greedy = top_p if settings[1].min() < 1 else None, bool(settings[0].min() == 0)
        drawn, drawn_logprobs = sample(logits, temperature, uniforms, nucleus, greedy)
        pair = torch.stack([drawn.double(), drawn_logprobs]).cpu().numpy()  # one wait for the device, not two
        tokens, logprobs = pair[0].astype(np.int64), pair[1]
        rows.append(tokens, logprobs)
        watched = np.flatnonzero(rows.top_counts[: rows.count] >= 0)
        if len(watched):
            self._report(watched, logits, tokens, logprobs)

    def _report(self, watched: IntArray, logits: torch.Tensor, tokens: IntArray, logprobs: FloatArray) -> None:
        """Report to the jobs of the watched rows (k,) the token that each sampled, and the likeliest tokens."""
        top_counts = self._rows.top_counts[watched]
        likeliest: list[list[tuple[int, float]]] = [[] for _ in watched]
        if top_counts.max() > 0:
            table = torch.log_softmax(logits[torch.from_numpy(watched).to(logits.device)].double(), -1)
            values, ids = table.topk(min(int(top_counts.max()), table.shape[1]))
            likeliest = [list(zip(*row, strict=True)) for row in zip(ids.tolist(), values.tolist(), strict=True)]
        for row, top_count, tops in zip(watched.tolist(), top_counts.tolist(), likeliest, strict=True):
            job = self._rows.jobs[row]
            assert job is not None
            job.report(int(tokens[row]), float(logprobs[row]), tops[:top_count])

    def _finish_ended(self) -> None:
        """Finish the jobs that a stop token ended: that token is not fed to the model."""
        rows = self._rows
        ended = np.flatnonzero(self.stops.effects(rows.slots[: rows.count], rows.last_tokens()) == ENDS)
        if len(ended):
            self._finish(ended, fed=False)
            self._fill_rows()

    def _feed_last(self) -> None:
        """Feed the last token of every busy row to the model."""
        rows = self._rows
        last, starts = torch.from_numpy(np.stack([rows.last_tokens(), rows.lengths - 1])).to(self._decoding.device)
        hidden = self._decoding.forward(last[:, None], starts, int(rows.lengths.max()))
        self._hidden[: rows.count] = hidden[:, 0]

    def _finish_fed(self) -> None:
        """Finish the jobs that are at their limit or have completed a stop string."""
        rows = self._rows
        done = rows.at_limit()
        effects = self.stops.effects(rows.slots[: rows.count], rows.last_tokens())
        undecided = np.flatnonzero(effects == MAY_COMPLETE).tolist()
        done[[row for row in undecided if self._completes_stop(row)]] = True
        self._finish(np.flatnonzero(done), fed=True)

    def _completes_stop(self, row: int) -> bool:
        job = self._rows.jobs[row]
        assert job is not None
        return self.stops.completes(job.stop_rule, self._rows.tokens(row))

    def _finish(self, rows: IntArray, fed: bool) -> None:
        """Finish the jobs in some rows (k,), with the cache of the tokens that were fed: all tokens, or all but the
        last. The rows are gaps until `_fill_rows`.
        """
        for row in map(int, rows):
            job, tokens = self._rows.jobs[row], self._rows.tokens(row)
            assert job is not None
            assert job.parent is not None
            node, count = None, len(tokens) if fed else len(tokens) - 1
            if count > 0 and (fed or job.keeps_ended) and not job.abandoned:
                hidden = self._hidden[row].clone()
                node = self._decoding.store(row, job.parent, job.parent.length + count, hidden)
            job.finish(tokens, self._rows.logprobs[row, : len(tokens)].copy(), node)
            self._rows.remove(row)


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a text. Raises InputError if there are none."""
    configured = model.generation_config.eos_token_id
    ends = {*(configured if isinstance(configured, list) else [configured]), tokenizer.eos_token_id} - {None}
    if not ends:
        raise InputError("the policy has no end-of-text token, so no path could finish; set eos_token_id in its config")
    return frozenset(ends)
