"""A policy in this process: a decoder grows the active paths of all questions step by step, on kept caches."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Collection, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from rollwise.core import Failure, FloatArray, Path, PathKey, Problem, Sampling, Step, Stop, Usage
from rollwise.engines import StepRule, messages
from rollwise.engines.local.cache import Node
from rollwise.engines.local.checkpoint import load_checkpoint
from rollwise.engines.local.decoder import Decoder
from rollwise.engines.local.stops import StopRule
from rollwise.errors import EngineError, InputError
from rollwise.numerics import keyed_generator


@dataclass(eq=False)
class _Ticket:
    """One call for some paths. Their results come to it each as soon as it is there, or all when the last is."""

    each: bool
    open: int
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    arrived: asyncio.Queue[list[_Job]] = field(default_factory=asyncio.Queue)
    over: list[_Job] = field(default_factory=list)

    def close_one(self, job: _Job) -> None:
        self.open -= 1
        self.over.append(job)
        if self.each or self.open == 0:
            jobs, self.over = self.over, []
            with contextlib.suppress(RuntimeError):  # the caller's event loop may be closed by now
                self.loop.call_soon_threadsafe(self.arrived.put_nowait, jobs)


@dataclass(eq=False)
class _Job:
    """One path that grows by one step, and where it starts."""

    session: LocalSession
    path: Path
    ticket: _Ticket
    parent: Node | None = None
    result: Step | Failure = field(default_factory=lambda: Failure("not run"))
    shown = -1
    keeps_end = False

    @property
    def place(self) -> Hashable:
        return id(self.session), self.path.key[:-1]

    @property
    def limit(self) -> int:
        most = min(self.session.sampling.max_step_tokens, self.session.room - self.path.tokens)
        return self.session.policy.step_rule.limit(most)

    @property
    def heat(self) -> tuple[float, float]:
        return self.session.sampling.temperature, self.session.sampling.top_p

    @property
    def rule(self) -> StopRule:
        return self.session.policy.rule

    @property
    def closed(self) -> bool:
        return self.session.closed

    def kept(self) -> tuple[Node | None, bool]:
        node = self.session.nodes.get(self.path.key[:-1])
        return node, node is not None

    def unread(self) -> Sequence[int]:
        return self.session.prefix_tokens(self.path)

    def keep_prefix(self, node: Node) -> None:
        self.session.keep(self.path.key[:-1], node)

    def begin(self, read: int, cached: int) -> None:
        self.session.usage.prefilled += read
        self.session.usage.cached += cached

    def uniforms(self) -> FloatArray:
        key = (self.session.sampling.seed, self.session.problem.id, self.path.key, len(self.path.steps), "sample")
        return keyed_generator(*key).random(self.limit)

    def show(self, token: int, logprob: float, likeliest: Sequence[tuple[int, float]]) -> None:
        raise NotImplementedError

    def finish(self, tokens: list[int], logprobs: FloatArray, node: Node | None) -> None:
        step = self.session.policy.step(tokens, float(logprobs.sum()))
        if node is not None:
            self.session.keep(self.path.key, node)
        self.session.usage.generated += len(tokens)
        self.resolve(step)

    def full(self) -> None:
        self.fail("the model's context is full")

    def fail(self, reason: str) -> None:
        self.resolve(Failure(reason))

    def resolve(self, result: Step | Failure) -> None:
        self.result = result
        self.ticket.close_one(self)


class LocalPolicy(Decoder):
    """A causal language model of transformers, sampled step by step with kept caches.

    `rows` paths are computed at once; a path that ends its step leaves its row to one that waits. A step ends with the
    token that completes `separator`, or as `step_rule` says, a path with an end-of-text token. `place` is where a
    problem's instruction stands.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        separator: str = "\n\n",
        rows: int = 128,
        place: str = "system",
        step_rule: StepRule | None = None,
    ) -> None:
        super().__init__(model, tokenizer, rows)
        self.separator, self.place = separator, place
        self.step_rule = step_rule or StepRule("separator", (separator,))
        self.rule = StopRule(self.step_rule.ends, self.ends)

    @classmethod
    def load(
        cls,
        folder: FilePath,
        separator: str = "\n\n",
        dtype: str | None = None,
        rows: int = 128,
        place: str = "system",
        step_rule: StepRule | None = None,
    ) -> LocalPolicy:
        """The policy that lies in a folder. Raises InputError where there is none."""
        loaded = load_checkpoint(folder, "AutoModelForCausalLM", dtype)
        return cls(*loaded, separator=separator, rows=rows, place=place, step_rule=step_rule)

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

    def step(self, tokens: list[int], logprob: float) -> Step:
        """The step that these sampled tokens are."""
        ended = tokens[-1] in self.ends
        ids = tokens[:-1] if ended else tokens
        full = len(tokens) == self.step_rule.tokens
        stop = Stop.END if ended else Stop.STEP if full or self.stops.closes(self.rule, tokens) else Stop.LENGTH
        return Step(self.tokenizer.decode(ids), len(tokens), stop, logprob, tuple(ids))


class LocalSession:
    """One question's caches in a local policy. Paths whose prefix is no longer kept are read anew."""

    in_process = True

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
        ticket = _Ticket(each=False, open=len(paths))
        jobs = self._submit(paths, ticket)
        await ticket.arrived.get()
        return [job.result for job in jobs]

    async def as_grown(self, paths: Sequence[Path]) -> AsyncIterator[tuple[Path, Step | Failure]]:
        """Grow each path by one step; each with its result as soon as it is there."""
        ticket = _Ticket(each=True, open=len(paths))
        self._submit(paths, ticket)
        for _ in paths:
            (job,) = await ticket.arrived.get()
            yield job.path, job.result

    def _submit(self, paths: Sequence[Path], ticket: _Ticket) -> list[_Job]:
        jobs = [_Job(self, path, ticket) for path in paths]
        self.usage.calls += 1
        self.policy.submit(jobs)
        return jobs

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
