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

from rollwise.core import Failure, FloatArray, Path, PathKey, Problem, Sampling, Step, Stop, Usage
from rollwise.engines.cache import Arena, Node, feed
from rollwise.engines.checkpoint import load_checkpoint
from rollwise.errors import EngineError, InputError
from rollwise.numerics import keyed_generator


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
    """One path that grows by one step: where it starts, its uniform random numbers, what it has sampled so far."""

    session: LocalSession
    path: Path
    ticket: _Ticket
    limit: int = 0
    parent: Node | None = None
    uniforms: FloatArray = field(default_factory=lambda: np.empty(0))
    tokens: list[int] = field(default_factory=list)
    tail: str = ""
    logprob: float = 0.0
    result: Step | Failure = field(default_factory=lambda: Failure("not run"))

    def finish(self, result: Step | Failure) -> None:
        self.result = result
        self.ticket.close_one()


class LocalPolicy:
    """A causal language model of transformers, sampled step by step with kept caches.

    `rows` paths are computed at once; a path that ends its step leaves its row to one that waits. A step ends with the
    token that completes `separator`, a path with an end-of-text token.
    """

    def __init__(self, model: Any, tokenizer: Any, separator: str = "\n\n", rows: int = 128) -> None:
        self.model, self.tokenizer, self.separator = model, tokenizer, separator
        self.parameters: int = model.num_parameters()
        self.context: int = model.config.get_text_config().max_position_embeddings
        self.ends = _end_tokens(model, tokenizer)
        self.pieces = [tokenizer.decode([index]) for index in range(model.config.get_text_config().vocab_size)]
        self._head = model.get_output_embeddings()
        self._rows = rows
        self._decoding = Arena(model.base_model, rows)
        self._reading = Arena(model.base_model, min(rows, 16))
        self._active: list[_Job] = []
        self._logits = torch.empty(0)
        self._waiting: list[_Job] = []
        self._admitting: list[_Job] = []
        self._inbox: queue.SimpleQueue[_Ticket | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._check_architecture()

    @classmethod
    def load(cls, folder: FilePath, separator: str = "\n\n", dtype: str | None = None, rows: int = 128) -> LocalPolicy:
        """The policy that lies in a folder. Raises InputError where there is none."""
        return cls(*load_checkpoint(folder, "AutoModelForCausalLM", dtype), separator=separator, rows=rows)

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
        messages = [{"role": "user", "content": problem.question}]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(prompt) >= self.context:
            raise InputError(f"the question takes {len(prompt)} tokens and the model reads {self.context} at most")
        return LocalSession(self, problem, sampling, prompt)

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
                    self._admit()
                    self._advance()
                except Exception as error:  # whatever broke, the callers have to hear of it
                    self._abandon(error)

    def _receive(self) -> bool:
        """Take in what has come, waiting where there is nothing to do; False where the worker has to end."""
        block = not self._active and not self._waiting
        while block or not self._inbox.empty():
            ticket = self._inbox.get()
            if ticket is None:
                return False
            self._waiting.extend(ticket.jobs)
            block = False
        return True

    def _abandon(self, error: Exception) -> None:
        jobs = dict.fromkeys([*self._admitting, *self._active, *self._waiting])
        self._admitting, self._active, self._waiting, self._logits = [], [], [], self._logits[:0]
        for job in jobs:
            job.finish(Failure(f"{type(error).__name__}: {error}"))

    def _admit(self) -> None:
        """Waiting jobs into free rows."""
        free = self._rows - len(self._active)
        fresh, self._waiting = self._waiting[:free], self._waiting[free:]
        if not fresh:
            return
        self._admitting = fresh
        self._find_parents(fresh)
        logits = []
        for job in fresh:
            if job.limit < 1:
                continue
            assert job.parent is not None
            self._decoding.load(len(self._active), job.parent)
            self._active.append(job)
            logits.append(self.logits(job.parent))
        if logits:
            self._logits = torch.cat([self._logits.reshape(-1, logits[0].shape[-1]).to(logits[0]), torch.stack(logits)])
        self._admitting = []
        for job in fresh:
            if job.limit < 1:
                job.finish(Failure("the model's context is full"))

    def _find_parents(self, jobs: Sequence[_Job]) -> None:
        """Each job's kept prefix; what is not kept (a question's first round, a resumed search) is read once."""
        readers: dict[tuple[int, PathKey], _Job] = {}
        for job in jobs:
            if job.path.key[:-1] not in job.session.nodes:
                readers.setdefault((id(job.session), job.path.key[:-1]), job)
        if readers:
            texts = [job.session.prefix_tokens(job.path) for job in readers.values()]
            nodes = feed(self._reading, [None] * len(texts), texts)
            for job, node in zip(readers.values(), nodes, strict=True):
                job.session.nodes[job.path.key[:-1]] = node
        for job in jobs:
            sampling, usage = job.session.sampling, job.session.usage
            job.parent = job.session.nodes[job.path.key[:-1]]
            job.limit = min(sampling.max_step_tokens, job.session.room - job.path.tokens)
            key = (sampling.seed, job.session.problem.id, job.path.key, len(job.path.steps), "sample")
            job.uniforms = keyed_generator(*key).random(max(job.limit, 1))
            if readers.get((id(job.session), job.path.key[:-1])) is job:
                usage.prefilled += job.parent.length
            else:
                usage.cached += job.parent.length

    def _advance(self) -> None:
        """Sample one token in every row, let ended rows go, feed the others."""
        if not self._active:
            return
        ended = self._sample()
        self._release([row for row, end in enumerate(ended) if end])
        if not self._active:
            return
        tokens = torch.tensor([[job.tokens[-1]] for job in self._active], device=self._decoding.device)
        lengths = [job.parent.length + len(job.tokens) for job in self._active if job.parent]
        starts = torch.tensor(lengths, device=self._decoding.device) - 1
        hidden = self._decoding.forward(tokens, starts)[:, 0]
        self._logits = self._head(hidden)
        self._release([row for row, job in enumerate(self._active) if self._step_is_over(job)], hidden)

    def _sample(self) -> list[bool]:
        """Append a token to every active job; True where it ended the text.

        The token is the inverse of the cumulative distribution, in vocabulary order, at the path's next uniform.
        """
        samplings = [job.session.sampling for job in self._active]
        logits = self._logits.double().cpu()
        heat = torch.tensor([one.temperature for one in samplings], dtype=torch.float64)[:, None]
        probabilities = torch.softmax(logits / torch.where(heat > 0, heat, 1.0), dim=-1)
        if any(one.top_p < 1 for one in samplings):
            probabilities = _nucleus(
                probabilities, torch.tensor([one.top_p for one in samplings], dtype=torch.float64)[:, None]
            )
        cumulative = probabilities.cumsum(-1)
        uniforms = torch.tensor([float(job.uniforms[len(job.tokens)]) for job in self._active], dtype=torch.float64)
        drawn = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)
        drawn = torch.where(heat > 0, drawn.clamp(max=logits.shape[1] - 1), logits.argmax(-1, keepdim=True))
        logprobs = torch.log_softmax(logits, dim=-1).gather(1, drawn)[:, 0].tolist()
        ended = []
        for job, token, logprob in zip(self._active, drawn[:, 0].tolist(), logprobs, strict=True):
            job.tokens.append(token)
            job.logprob += logprob
            job.tail = (job.tail + self.pieces[token])[-len(self.separator) - len(self.pieces[token]) :]
            ended.append(token in self.ends)
        return ended

    def _step_is_over(self, job: _Job) -> bool:
        return self.separator in job.tail or len(job.tokens) >= job.limit

    def _release(self, rows: Sequence[int], hidden: torch.Tensor | None = None) -> None:
        """Let jobs leave their rows; the last rows move into the gaps. With `hidden` their caches are kept."""
        for row in sorted(rows, reverse=True):
            job, last = self._active[row], len(self._active) - 1
            if hidden is not None:
                assert job.parent is not None
                length = job.parent.length + len(job.tokens)
                node = self._decoding.store(row, job.parent, length, hidden[row].clone())
                job.session.nodes[job.path.key] = node
            if row != last:
                mover = self._active[last]
                assert mover.parent is not None
                self._decoding.move(last, row, mover.parent.length + len(mover.tokens))
                self._active[row], self._logits[row] = mover, self._logits[last]
            self._active.pop()
            self._logits = self._logits[:last]
            job.session.usage.generated += len(job.tokens)
            job.finish(self._step(job))

    def _step(self, job: _Job) -> Step:
        ended = job.tokens[-1] in self.ends
        ids = job.tokens[:-1] if ended else job.tokens
        stop = Stop.END if ended else Stop.STEP if self.separator in job.tail else Stop.LENGTH
        return Step(self.tokenizer.decode(ids), len(job.tokens), stop, job.logprob, tuple(ids))


class LocalSession:
    """One question's caches in a local policy. Paths whose prefix is no longer kept are read anew."""

    def __init__(self, policy: LocalPolicy, problem: Problem, sampling: Sampling, prompt: list[int]) -> None:
        self.policy, self.problem, self.sampling, self.prompt = policy, problem, sampling, prompt
        self.usage = Usage()
        self.nodes: dict[PathKey, Node] = {}
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
        """Drop all caches."""
        self.nodes = {}


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    named = model.generation_config.eos_token_id
    ends = {*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id} - {None}
    if not ends:
        raise InputError("the policy has no end-of-text token, so no path could finish; set eos_token_id in its config")
    return frozenset(ends)


def _nucleus(probabilities: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Zero what lies outside the smallest set of tokens whose probability reaches top_p (rows, 1)."""
    ordered, order = probabilities.sort(dim=-1, descending=True)
    outside = ordered.cumsum(-1) - ordered >= top_p
    return probabilities.masked_fill(torch.zeros_like(outside).scatter(1, order, outside), 0.0)
