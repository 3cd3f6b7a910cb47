"""A causal language model in this process: one worker thread batches all that has to grow, whoever asked for it."""

from __future__ import annotations

import atexit
import queue
import threading
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from rollwise.core import FloatArray, IntArray
from rollwise.engines.local.cache import Arena, Node, feed
from rollwise.engines.local.rows import Rows
from rollwise.engines.local.sampling import sample
from rollwise.engines.local.stops import ENDS, MAY_CLOSE, StopRule, StopTable
from rollwise.errors import InputError


class Job(Protocol):
    """What a decoder grows: a prefix, by `limit` tokens at most, until its rule says that it is over.

    Jobs of an equal `place` have an equal prefix, which is read once. `heat` is temperature and top_p; `shown` how many
    of the likeliest tokens to show at each place, or -1 where nobody looks on. `keeps_end` asks for the cache of what
    came before a token that ended the row. Everything but the making of a job happens in the worker's thread.
    """

    parent: Node | None

    @property
    def place(self) -> Hashable: ...  # noqa: D102
    @property
    def limit(self) -> int: ...  # noqa: D102
    @property
    def heat(self) -> tuple[float, float]: ...  # noqa: D102
    @property
    def rule(self) -> StopRule: ...  # noqa: D102
    @property
    def shown(self) -> int: ...  # noqa: D102
    @property
    def keeps_end(self) -> bool: ...  # noqa: D102
    @property
    def closed(self) -> bool:
        """Whether nobody waits for it any more."""
        ...

    def kept(self) -> tuple[Node | None, bool]:
        """The longest kept part of its prefix, and whether that is the whole of it."""
        ...

    def unread(self) -> Sequence[int]:
        """The tokens of its prefix after `parent`."""
        ...

    def keep_prefix(self, node: Node) -> None:
        """Keep the cache of its whole prefix, which was read for it."""
        ...

    def begin(self, read: int, cached: int) -> None:
        """Its prefix lies ready: so many tokens of it were read now, so many were kept."""
        ...

    def uniforms(self) -> FloatArray:
        """`limit` uniform numbers in [0, 1), one for each token."""
        ...

    def show(self, token: int, logprob: float, likeliest: Sequence[tuple[int, float]]) -> None:
        """One more token, and the likeliest ones at its place with their log-probabilities."""
        ...

    def finish(self, tokens: list[int], logprobs: FloatArray, node: Node | None) -> None:
        """It is over, with these tokens; `node` is the cache of what can go on."""
        ...

    def full(self) -> None:
        """Its prefix is read and its limit leaves no room for a token."""
        ...

    def fail(self, reason: str) -> None:
        """It is lost."""
        ...


class Decoder:
    """A causal language model of transformers, sampled with kept caches.

    `rows` jobs are computed at once; one that is over leaves its row to one that waits.
    """

    def __init__(self, model: Any, tokenizer: Any, rows: int = 128) -> None:
        config = model.config.get_text_config()
        self.model, self.tokenizer = model, tokenizer
        self.parameters: int = model.num_parameters()
        self.context: int = config.max_position_embeddings
        self.ends = _end_tokens(model, tokenizer)
        self.stops = StopTable(tokenizer, config.vocab_size)
        self._head = model.get_output_embeddings()
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
        """Raise InputError for a model that computes more than the caches and the head reproduce."""
        config = self.model.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        kinds = getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"]
        if set(kinds) != {"full_attention"} and (window is None or window < self.context):
            raise InputError("this model attends within a window only, which the local engine cannot; serve it")
        tokens = [*sorted(self.ends), *sorted(self.ends)]
        with torch.inference_mode():
            known = self.model(input_ids=torch.tensor([tokens], device=self.model.device)).logits[0, -1]
            ours = self.logits(feed(self._reading, [None], [tokens])[0])
        if not torch.allclose(known.float(), ours.float(), rtol=0.05, atol=0.05):
            raise InputError("the local engine does not reproduce the logits of this architecture; serve it")

    def logits(self, node: Node) -> torch.Tensor:
        """Next-token logits (vocabulary) after a kept prefix."""
        return self._head(node.hidden)

    @property
    def busy(self) -> tuple[int, int]:
        """How many jobs are in rows, and how many wait for one, about now."""
        return len(self._rows.jobs) - self._rows.free, len(self._waiting)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand work to the worker thread."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="rollwise-policy", daemon=True)
                self._thread.start()
                atexit.register(self._stop, self._thread)
        self._inbox.put(jobs)

    def _stop(self, thread: threading.Thread) -> None:
        """End the worker before the interpreter goes: a thread that dies within a computation aborts the process."""
        self._inbox.put(None)
        thread.join(timeout=10)

    def _work(self) -> None:
        with torch.inference_mode():
            while self._receive():
                try:
                    self._drop()
                    self._admit()
                    self._advance()
                except Exception as error:  # whatever broke, the callers have to hear of it
                    self._abandon(error)

    def _receive(self) -> bool:
        """Take in what has come, waiting where there is nothing to do; False where the worker has to end."""
        block = not self._rows.count and not self._waiting
        while block or not self._inbox.empty():
            jobs = self._inbox.get()
            if jobs is None:
                return False
            self._waiting.extend(jobs)
            block = False
        return True

    def _abandon(self, error: Exception) -> None:
        jobs = dict.fromkeys([*self._admitting, *self._rows.clear(), *self._waiting])
        self._admitting, self._waiting = [], []
        for job in jobs:
            job.fail(f"{type(error).__name__}: {error}")

    def _drop(self) -> None:
        """Fail what waits or runs and nobody waits for. The gaps wait for `_settle`."""
        waiting, self._waiting = self._waiting, []
        dropped: list[Job] = []
        for job in waiting:
            (dropped if job.closed else self._waiting).append(job)
        for row, running in enumerate(self._rows.jobs):
            if running is not None and running.closed:
                self._rows.leave(row)
                dropped.append(running)
        for job in dropped:
            job.fail("the session is closed")

    def _admit(self) -> None:
        """Waiting jobs into the rows that others have left."""
        free = self._rows.free
        self._admitting, self._waiting = self._waiting[:free], self._waiting[free:]
        self._find_parents(self._admitting)
        self._settle([job for job in self._admitting if job.limit > 0])
        full = [job for job in self._admitting if job.limit < 1]
        self._admitting = []
        for job in full:
            job.full()

    def _find_parents(self, jobs: Sequence[Job]) -> None:
        """Each job's kept prefix; what is not kept is read once."""
        readers: dict[Hashable, Job] = {}
        for job in jobs:
            job.parent, whole = job.kept()
            if not whole:
                readers.setdefault(job.place, job)
        bases = [reader.parent for reader in readers.values()]
        texts = [reader.unread() for reader in readers.values()]
        nodes = dict(zip(readers, feed(self._reading, bases, texts), strict=True))
        for place, reader in readers.items():
            reader.keep_prefix(nodes[place])
        for job in jobs:
            node = nodes.get(job.place, job.parent)
            assert node is not None
            known = node.length if readers.get(job.place) is not job else job.parent.length if job.parent else 0
            job.parent = node
            job.begin(node.length - known, known)

    def _settle(self, fresh: Sequence[Job] = ()) -> None:
        """Fresh jobs into rows, and rows into gaps, so that the leading rows are the busy ones. A job goes where its
        prefix still lies, if it can.
        """
        idle, movers = self._rows.gaps(len(fresh))
        lying = {self._decoding.held[row]: row for row in idle}
        places: dict[int, Job] = {}
        homeless = []
        for job in fresh:
            assert job.parent is not None
            row = lying.pop(job.parent.chain, None)
            if row is None:
                homeless.append(job)
            else:
                places[row] = job
        left = [row for row in idle if row not in places]
        places |= dict(zip(left, homeless, strict=False))
        for row, job in places.items():
            self._start(row, job)
        for source, target in zip(movers, left[len(homeless) :], strict=True):
            self._decoding.move(source, target, int(self._rows.begun[source] + self._rows.counts[source]))
            self._hidden[target] = self._hidden[source]
            self._rows.move(source, target)

    def _start(self, row: int, job: Job) -> None:
        assert job.parent is not None
        self._decoding.load(row, job.parent)
        self._hidden[row] = job.parent.hidden
        slot = self.stops.slot(job.rule, self._rows.slots)
        self._rows.put(row, job, job.parent.length, job.uniforms(), job.heat, slot, job.shown)

    def _advance(self) -> None:
        """Sample one token in every row, let ended rows go, feed the others, let go those that are over."""
        rows = self._rows
        if not rows.count:
            return
        self._sample()
        ended = np.flatnonzero(self.stops.kinds(rows.slots[: rows.count], rows.last()) == ENDS)
        if len(ended):
            self._release(ended, fed=False)
            self._settle()
        if not rows.count:
            return
        last, starts = torch.from_numpy(np.stack([rows.last(), rows.lengths - 1])).to(self._decoding.device)
        hidden = self._decoding.forward(last[:, None], starts, int(rows.lengths.max()))[:, 0]
        self._hidden[: rows.count] = hidden
        over = rows.at_limit()
        kinds = self.stops.kinds(rows.slots[: rows.count], rows.last())
        over[[row for row in np.flatnonzero(kinds == MAY_CLOSE).tolist() if self._closes(row)]] = True
        self._release(np.flatnonzero(over), fed=True)

    def _closes(self, row: int) -> bool:
        job = self._rows.jobs[row]
        assert job is not None
        return self.stops.closes(job.rule, self._rows.tokens(row))

    def _sample(self) -> None:
        """Append a token to every busy row, at its next uniform number."""
        rows, device = self._rows, self._decoding.device
        numbers = np.stack([rows.temperature[: rows.count], rows.top_p[: rows.count], rows.next_uniforms()])
        temperature, top_p, uniforms = torch.from_numpy(numbers).to(device)
        logits = self._head(self._hidden[: rows.count])
        nucleus, greedy = top_p if numbers[1].min() < 1 else None, bool(numbers[0].min() == 0)
        drawn, logprobs = sample(logits, temperature, uniforms, nucleus, greedy)
        tokens, each = torch.stack([drawn.double(), logprobs]).cpu().numpy()  # one wait for the device, not two
        rows.append(tokens.astype(np.int64), each)
        watched = np.flatnonzero(rows.shown[: rows.count] >= 0)
        if len(watched):
            self._show(watched, logits, tokens, each)

    def _show(self, watched: IntArray, logits: torch.Tensor, tokens: FloatArray, logprobs: FloatArray) -> None:
        """Tell those who look on which token their row sampled, and which were likeliest."""
        wanted = self._rows.shown[watched]
        likeliest: list[list[tuple[int, float]]] = [[] for _ in watched]
        if wanted.max() > 0:
            table = torch.log_softmax(logits[torch.from_numpy(watched).to(logits.device)].double(), -1)
            values, indices = table.topk(min(int(wanted.max()), table.shape[1]))
            likeliest = [
                list(zip(ids, each, strict=True))[:count]
                for ids, each, count in zip(indices.tolist(), values.tolist(), wanted.tolist(), strict=True)
            ]
        for row, shown in zip(watched.tolist(), likeliest, strict=True):
            job = self._rows.jobs[row]
            assert job is not None
            job.show(int(tokens[row]), float(logprobs[row]), shown)

    def _release(self, leaving: IntArray, fed: bool) -> None:
        """Let jobs leave their rows, with the cache of the tokens that were fed: all, or all but the one that ended the
        row. The gaps wait for `_settle`.
        """
        for row in map(int, leaving):
            job, tokens = self._rows.jobs[row], self._rows.tokens(row)
            assert job is not None
            assert job.parent is not None
            node, count = None, len(tokens) - (not fed)
            if count > 0 and (fed or job.keeps_end) and not job.closed:
                hidden = self._hidden[row].clone()
                node = self._decoding.store(row, job.parent, job.parent.length + count, hidden)
            job.finish(tokens, self._rows.logprobs[row, : len(tokens)].copy(), node)
            self._rows.leave(row)


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    named = model.generation_config.eos_token_id
    ends = {*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id} - {None}
    if not ends:
        raise InputError("the policy has no end-of-text token, so no path could finish; set eos_token_id in its config")
    return frozenset(ends)
