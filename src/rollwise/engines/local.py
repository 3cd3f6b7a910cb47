"""A policy in this process: one worker thread batches the active paths of all questions, and keeps their caches."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import queue
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch

from rollwise.core import Failure, FloatArray, IntArray, Path, PathKey, Problem, Sampling, Step, Stop, Usage
from rollwise.engines.cache import Arena, Node, feed
from rollwise.engines.checkpoint import load_checkpoint
from rollwise.engines.rows import Rows
from rollwise.engines.sampling import sample
from rollwise.errors import EngineError, InputError
from rollwise.numerics import keyed_generator
from rollwise.prompts import messages


@dataclass(eq=False)
class _Ticket:
    """One call of `extend`: resolved when its last job is."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[list[Step | Failure]]
    jobs: list[_Job] = field(default_factory=list)
    open: int = 0

    def close_one(self) -> None:
        self.open -= 1
        if self.open == 0:
            with contextlib.suppress(RuntimeError):  # the caller's event loop may be closed by now
                self.loop.call_soon_threadsafe(self._resolve, [job.result for job in self.jobs])

    def _resolve(self, results: list[Step | Failure]) -> None:
        if not self.future.done():
            self.future.set_result(results)


@dataclass(eq=False)
class _Job:
    """One path that grows by one step, and where it starts."""

    session: LocalSession
    path: Path
    ticket: _Ticket
    parent: Node | None = None
    result: Step | Failure = field(default_factory=lambda: Failure("not run"))

    @property
    def limit(self) -> int:
        """How many tokens the step may have."""
        return min(self.session.sampling.max_step_tokens, self.session.room - self.path.tokens)

    def finish(self, result: Step | Failure) -> None:
        self.result = result
        self.ticket.close_one()


class LocalPolicy:
    """A causal language model of transformers, sampled step by step with kept caches.

    `rows` paths are computed at once; a path that ends its step leaves its row to one that waits. A step ends with the
    token that completes `separator`, a path with an end-of-text token. `place` is where a problem's instruction stands.
    """

    def __init__(
        self, model: Any, tokenizer: Any, separator: str = "\n\n", rows: int = 128, place: str = "system"
    ) -> None:
        self.model, self.tokenizer, self.separator, self.place = model, tokenizer, separator, place
        self.parameters: int = model.num_parameters()
        self.context: int = model.config.get_text_config().max_position_embeddings
        self.ends = _end_tokens(model, tokenizer)
        self.pieces = [tokenizer.decode([index]) for index in range(model.config.get_text_config().vocab_size)]
        self._closers = np.array([separator[-1:] in piece for piece in self.pieces])
        self._head = model.get_output_embeddings()
        self._decoding = Arena(model.base_model, rows)
        self._reading = Arena(model.base_model, min(rows, 16))
        self._rows = Rows[_Job](rows)
        self._hidden = self._decoding.states.new_zeros(rows, model.config.get_text_config().hidden_size)
        self._waiting: list[_Job] = []
        self._admitting: list[_Job] = []
        self._inbox: queue.SimpleQueue[_Ticket | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._check_architecture()

    @classmethod
    def load(
        cls,
        folder: FilePath,
        separator: str = "\n\n",
        dtype: str | None = None,
        rows: int = 128,
        place: str = "system",
    ) -> LocalPolicy:
        """The policy that lies in a folder. Raises InputError where there is none."""
        return cls(*load_checkpoint(folder, "AutoModelForCausalLM", dtype), separator=separator, rows=rows, place=place)

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

    def open(self, problem: Problem, sampling: Sampling) -> LocalSession:
        """A session for one question. Raises InputError where the question does not fit the model's context."""
        prompt = self.prompt_tokens(problem)
        if len(prompt) >= self.context:
            raise InputError(f"the question takes {len(prompt)} tokens and the model reads {self.context} at most")
        return LocalSession(self, problem, sampling, prompt)

    def prompt_tokens(self, problem: Problem) -> list[int]:
        """The question in the model's chat template, as tokens."""
        chat = messages(problem, self.place)
        text = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def logits(self, node: Node) -> torch.Tensor:
        """Next-token logits (vocabulary) after a kept prefix."""
        return self._head(node.hidden)

    def submit(self, ticket: _Ticket) -> None:
        """Hand work to the worker thread."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="rollwise-policy", daemon=True)
                self._thread.start()
                atexit.register(self._stop, self._thread)
        self._inbox.put(ticket)

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
            ticket = self._inbox.get()
            if ticket is None:
                return False
            self._waiting.extend(ticket.jobs)
            block = False
        return True

    def _abandon(self, error: Exception) -> None:
        jobs = dict.fromkeys([*self._admitting, *self._rows.clear(), *self._waiting])
        self._admitting, self._waiting = [], []
        for job in jobs:
            job.finish(Failure(f"{type(error).__name__}: {error}"))

    def _drop(self) -> None:
        """Fail what waits or runs for sessions that are closed. The gaps wait for `_settle`."""
        waiting, self._waiting = self._waiting, []
        dropped: list[_Job] = []
        for job in waiting:
            (dropped if job.session.closed else self._waiting).append(job)
        for row, running in enumerate(self._rows.jobs):
            if running is not None and running.session.closed:
                self._rows.leave(row)
                dropped.append(running)
        for job in dropped:
            job.finish(Failure("the session is closed"))

    def _admit(self) -> None:
        """Waiting jobs into the rows that others have left."""
        free = self._rows.free
        self._admitting, self._waiting = self._waiting[:free], self._waiting[free:]
        self._find_parents(self._admitting)
        self._settle([job for job in self._admitting if job.limit > 0])
        full = [job for job in self._admitting if job.limit < 1]
        self._admitting = []
        for job in full:
            job.finish(Failure("the model's context is full"))

    def _find_parents(self, jobs: Sequence[_Job]) -> None:
        """Each job's kept prefix; what is not kept (a question's first round, a resumed search) is read once."""
        readers: dict[tuple[int, PathKey], _Job] = {}
        for job in jobs:
            job.parent = job.session.nodes.get(job.path.key[:-1])
            if job.parent is None:
                readers.setdefault((id(job.session), job.path.key[:-1]), job)
        texts = [job.session.prefix_tokens(job.path) for job in readers.values()]
        nodes = dict(zip(readers, feed(self._reading, [None] * len(texts), texts), strict=True))
        for place, reader in readers.items():
            reader.session.keep(reader.path.key[:-1], nodes[place])
        for job in jobs:
            place = (id(job.session), job.path.key[:-1])
            job.parent = job.parent or nodes[place]
            if readers.get(place) is job:
                job.session.usage.prefilled += job.parent.length
            else:
                job.session.usage.cached += job.parent.length

    def _settle(self, fresh: Sequence[_Job] = ()) -> None:
        """Fresh jobs into rows, and rows into gaps, so that the leading rows are the busy ones. A job goes where its
        prefix still lies, if it can.
        """
        idle, movers = self._rows.gaps(len(fresh))
        lying = {self._decoding.held[row]: row for row in idle}
        places: dict[int, _Job] = {}
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

    def _start(self, row: int, job: _Job) -> None:
        assert job.parent is not None
        sampling = job.session.sampling
        key = (sampling.seed, job.session.problem.id, job.path.key, len(job.path.steps), "sample")
        self._decoding.load(row, job.parent)
        self._hidden[row] = job.parent.hidden
        self._rows.put(row, job, job.parent.length, keyed_generator(*key).random(job.limit), sampling)

    def _advance(self) -> None:
        """Sample one token in every row, let ended rows go, feed the others, let go those whose step is over."""
        rows = self._rows
        if not rows.count:
            return
        self._sample()
        ended = np.flatnonzero(np.isin(rows.last(), list(self.ends)))
        if len(ended):
            self._release(ended)
            self._settle()
        if not rows.count:
            return
        last, starts = torch.from_numpy(np.stack([rows.last(), rows.lengths - 1])).to(self._decoding.device)
        hidden = self._decoding.forward(last[:, None], starts, int(rows.lengths.max()))[:, 0]
        self._hidden[: rows.count] = hidden
        closing = np.flatnonzero(self._closers[rows.last()]).tolist()
        over = rows.at_limit()
        over[[row for row in closing if self._closes(rows.tokens(row))]] = True
        self._release(np.flatnonzero(over), keep=True)

    def _sample(self) -> None:
        """Append a token to every busy row, at its next uniform number."""
        rows, device = self._rows, self._decoding.device
        numbers = np.stack([rows.temperature[: rows.count], rows.top_p[: rows.count], rows.next_uniforms()])
        temperature, top_p, uniforms = torch.from_numpy(numbers).to(device)
        logits = self._head(self._hidden[: rows.count])
        nucleus, greedy = top_p if numbers[1].min() < 1 else None, bool(numbers[0].min() == 0)
        drawn, logprobs = sample(logits, temperature, uniforms, nucleus, greedy)
        tokens, sums = torch.stack([drawn.double(), logprobs]).cpu().numpy()  # one wait for the device, not two
        rows.append(tokens.astype(np.int64), sums)

    def _closes(self, tokens: Sequence[int]) -> bool:
        """Whether the last token completes the separator, looking back no further than it can begin."""
        text, enough = "", len(self.pieces[tokens[-1]]) + len(self.separator) - 1
        for token in reversed(tokens):
            text = self.pieces[token] + text
            if len(text) >= enough:
                break
        return self.separator in text

    def _release(self, leaving: IntArray, keep: bool = False) -> None:
        """Let jobs leave their rows, their caches kept or not. The gaps wait for `_settle`."""
        for row in map(int, leaving):
            job, tokens = self._rows.jobs[row], self._rows.tokens(row)
            assert job is not None
            if keep and not job.session.closed:
                assert job.parent is not None
                length = job.parent.length + len(tokens)
                node = self._decoding.store(row, job.parent, length, self._hidden[row].clone())
                job.session.keep(job.path.key, node)
            step = self._step(tokens, float(self._rows.logprobs[row]))
            self._rows.leave(row)
            job.session.usage.generated += len(tokens)
            job.finish(step)

    def _step(self, tokens: list[int], logprob: float) -> Step:
        ended = tokens[-1] in self.ends
        ids = tokens[:-1] if ended else tokens
        stop = Stop.END if ended else Stop.STEP if self._closes(tokens) else Stop.LENGTH
        return Step(self.tokenizer.decode(ids), len(tokens), stop, logprob, tuple(ids))


class LocalSession:
    """One question's caches in a local policy. Paths whose prefix is no longer kept are read anew."""

    def __init__(self, policy: LocalPolicy, problem: Problem, sampling: Sampling, prompt: list[int]) -> None:
        self.policy, self.problem, self.sampling, self.prompt = policy, problem, sampling, prompt
        self.usage = Usage()
        self.nodes: dict[PathKey, Node] = {}
        self.closed = False
        self.room = min(sampling.max_tokens, policy.context - len(prompt))

    def prefix_tokens(self, path: Path) -> list[int]:
        """The prompt and the path as tokens: those that were sampled where they are known, else its text's."""
        encode = self.policy.tokenizer
        steps = [step.ids or encode(step.text, add_special_tokens=False)["input_ids"] for step in path.steps]
        return [*self.prompt, *itertools.chain.from_iterable(steps)]

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        """Grow each path by one step; results in the order given."""
        if not paths:
            return []
        loop = asyncio.get_running_loop()
        ticket = _Ticket(loop, loop.create_future(), open=len(paths))
        ticket.jobs = [_Job(self, path, ticket) for path in paths]
        self.usage.calls += 1
        self.policy.submit(ticket)
        return await ticket.future

    def keep(self, key: PathKey, node: Node) -> None:
        """Keep a cache, unless the session is closed."""
        nodes = self.nodes  # before the question: whoever closes in between has dropped these
        if not self.closed:
            nodes[key] = node

    def hidden(self, key: PathKey) -> FloatArray:
        """The last hidden state (d,) of a grown path. Raises EngineError where its cache is gone."""
        node = self.nodes.get(key)
        if node is None:
            raise EngineError(f"no cache is kept for path {key}")
        return node.hidden.double().cpu().numpy()

    def retain(self, keys: Collection[PathKey]) -> None:
        """Keep the caches of these grown paths; all others may go."""
        self.nodes = {key: node for key in keys if (node := self.nodes.get(key)) is not None}

    async def close(self) -> None:
        """Drop all caches, and what is still to be grown."""
        self.closed = True
        self.nodes = {}


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    named = model.generation_config.eos_token_id
    ends = {*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id} - {None}
    if not ends:
        raise InputError("the policy has no end-of-text token, so no path could finish; set eos_token_id in its config")
    return frozenset(ends)
