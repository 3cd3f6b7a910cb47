"""A policy in this process: a decoder grows the active paths of all questions step by step, on kept caches."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Collection, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from rollwise.core import (
    Failure,
    FloatArray,
    Path,
    PathKey,
    Policy,
    PolicySession,
    Problem,
    Sampling,
    Step,
    Stop,
    Usage,
)
from rollwise.engines import PLAIN, Prompting, Shots, StepRule
from rollwise.engines.local.cache import Node
from rollwise.engines.local.checkpoint import load_checkpoint
from rollwise.engines.local.decoder import Decoder
from rollwise.engines.local.stops import StopRule
from rollwise.errors import EngineError, InputError
from rollwise.numerics import keyed_generator


@dataclass(eq=False)
class _Ticket:
    """A call that grows some paths. The worker thread delivers its jobs to `arrived`: each job as soon as it is done if
    `one_by_one`, else all jobs when the last is done. `open` counts the jobs that are not done.
    """

    one_by_one: bool
    open: int
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    arrived: asyncio.Queue[list[_StepJob]] = field(default_factory=asyncio.Queue)
    done: list[_StepJob] = field(default_factory=list)

    def add_done(self, job: _StepJob) -> None:
        self.open -= 1
        self.done.append(job)
        if self.one_by_one or self.open == 0:
            jobs, self.done = self.done, []
            with contextlib.suppress(RuntimeError):  # the caller's event loop may be closed by now
                self.loop.call_soon_threadsafe(self.arrived.put_nowait, jobs)


@dataclass(eq=False)
class _StepJob:
    """The decoder's job for one path that grows by one step."""

    session: LocalSession
    path: Path
    ticket: _Ticket
    parent: Node | None = None
    result: Step | Failure = field(default_factory=lambda: Failure("not run"))
    top_count = -1
    keeps_ended = False

    @property
    def prefix_key(self) -> Hashable:
        return id(self.session), self.path.key[:-1]

    @property
    def limit(self) -> int:
        most = min(self.session.sampling.max_step_tokens, self.session.room - self.path.tokens)
        return self.session.policy.step_rule.limit(most)

    @property
    def temperature(self) -> float:
        return self.session.sampling.temperature

    @property
    def top_p(self) -> float:
        return self.session.sampling.top_p

    @property
    def stop_rule(self) -> StopRule:
        return self.session.policy.stop_rule

    @property
    def abandoned(self) -> bool:
        return self.session.closed

    def kept_prefix(self) -> tuple[Node | None, bool]:
        node = self.session.nodes.get(self.path.key[:-1])
        return node, node is not None

    def unread_tokens(self) -> Sequence[int]:
        return self.session.prefix_tokens(self.path)

    def keep_prefix(self, node: Node) -> None:
        self.session.keep(self.path.key[:-1], node)

    def count_prefix(self, read: int, cached: int) -> None:
        self.session.usage.prefilled += read
        self.session.usage.cached += cached

    def uniforms(self) -> FloatArray:
        key = (self.session.sampling.seed, self.session.problem.id, self.path.key, len(self.path.steps), "sample")
        return keyed_generator(*key).random(self.limit)

    def report(self, token: int, logprob: float, likeliest: Sequence[tuple[int, float]]) -> None:
        raise NotImplementedError

    def finish(self, tokens: list[int], logprobs: FloatArray, node: Node | None) -> None:
        policy = self.session.policy
        step = policy.step_rule.closed(self.path.text, policy.step(tokens, float(logprobs.sum())))
        if node is not None:
            self.session.keep(self.path.key, node)
        self.session.usage.generated += len(tokens)
        self.resolve(step)

    def finish_unsampled(self) -> None:
        self.fail("the model's context is full")

    def fail(self, reason: str) -> None:
        self.resolve(Failure(reason))

    def resolve(self, result: Step | Failure) -> None:
        self.result = result
        self.ticket.add_done(self)


@dataclass(eq=False)
class _ReadJob(_StepJob):
    """The decoder's job to read the last step of a path from its text, after the cache `before` of what precedes it."""

    before: Node | None = None

    @property
    def limit(self) -> int:
        return 0

    def kept_prefix(self) -> tuple[Node | None, bool]:
        return self.before, False

    def unread_tokens(self) -> Sequence[int]:
        path, session = self.path, self.session
        return session.step_tokens(path.steps[-1]) if self.before is not None else session.prefix_tokens(path)

    def finish_unsampled(self) -> None:
        self.resolve(self.path.steps[-1])


class LocalPolicy(Decoder, Policy):
    """A causal language model of transformers, sampled step by step on kept caches.

    The policy computes `rows` paths at once; when a path has ended its step, a waiting path takes its row. A step ends
    with the token that completes `separator`, or as `step_rule` says; an end-of-text token ends a path. `place` says
    where a problem's instruction stands: one of `rollwise.engines.PLACES`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        separator: str = "\n\n",
        rows: int = 128,
        place: str = "system",
        step_rule: StepRule | None = None,
        template: str | None = None,
        shots: Shots | None = None,
    ) -> None:
        super().__init__(model, tokenizer, rows)
        self.separator, self.place = separator, place
        if template is None and tokenizer.chat_template is None:
            template = PLAIN
            self.remarks = ("the model has no chat template, so questions go as plain text; --template FILE gives one",)
        self.prompting = Prompting(place, template, shots)
        self.step_rule = step_rule or StepRule("separator", (separator,))
        confirm = self.step_rule.is_whole if self.step_rule.name == "sentence" else None
        self.stop_rule = StopRule(self.step_rule.ends, self.end_tokens, confirm=confirm)

    @classmethod
    def load(
        cls,
        folder: FilePath,
        separator: str = "\n\n",
        dtype: str | None = None,
        rows: int = 128,
        place: str = "system",
        step_rule: StepRule | None = None,
        template: str | None = None,
        shots: Shots | None = None,
    ) -> LocalPolicy:
        """The policy of a folder. Raises InputError if the folder holds no causal language model."""
        model, tokenizer = load_checkpoint(folder, "AutoModelForCausalLM", dtype)
        return cls(model, tokenizer, separator, rows, place, step_rule, template, shots)

    def open(self, problem: Problem, sampling: Sampling) -> LocalSession:
        """A session for one question. Raises InputError if the question does not fit the model's context."""
        prompt = self.prompt_tokens(problem)
        if len(prompt) >= self.context:
            raise InputError(
                f"the question takes {len(prompt)} tokens and the model reads {self.context} at most: shorten the "
                "question, or choose another --policy"
            )
        return LocalSession(self, problem, sampling, prompt)

    def prompt_tokens(self, problem: Problem) -> list[int]:
        """The tokens of the question in the model's chat template, in another template, or as plain text."""
        if (plain := self.prompting.text(problem)) is not None:
            return list(self.tokenizer(plain)["input_ids"])
        chat = self.prompting.chat(problem)
        text = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def step(self, tokens: list[int], logprob: float) -> Step:
        """The step that sampled tokens make, with the sum of their log-probabilities."""
        stop = self._stop_after(tokens)
        ids = tokens[:-1] if stop is Stop.END else tokens
        return Step(self.tokenizer.decode(ids), len(tokens), stop, logprob, tuple(ids))

    def _stop_after(self, tokens: list[int]) -> Stop:
        """Why the decoder stopped after these tokens."""
        if tokens[-1] in self.end_tokens:
            return Stop.END
        at_step_length = len(tokens) == self.step_rule.tokens
        return Stop.STEP if at_step_length or self.stops.completes(self.stop_rule, tokens) else Stop.LENGTH


class LocalSession(PolicySession):
    """One question's caches in a local policy. If the prefix of a path is no longer kept, it is read anew."""

    in_process = True

    def __init__(self, policy: LocalPolicy, problem: Problem, sampling: Sampling, prompt: list[int]) -> None:
        self.policy, self.problem, self.sampling, self.prompt = policy, problem, sampling, prompt
        self.usage = Usage()
        self.nodes: dict[PathKey, Node] = {}
        self.closed = False
        self.room = min(sampling.max_tokens, policy.context - len(prompt))

    def prefix_tokens(self, path: Path) -> list[int]:
        """The tokens of the prompt and the path. A step without `ids` is encoded from its text."""
        return [*self.prompt, *itertools.chain.from_iterable(map(self.step_tokens, path.steps))]

    def step_tokens(self, step: Step) -> Sequence[int]:
        """The tokens of a step; of its text, if it has no `ids`."""
        return step.ids or list(self.policy.tokenizer(step.text, add_special_tokens=False)["input_ids"])

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        """Grow each path by one step; results in the order given."""
        if not paths:
            return []
        ticket = _Ticket(one_by_one=False, open=len(paths))
        jobs = self._submit(paths, ticket)
        await ticket.arrived.get()
        return [job.result for job in jobs]

    async def as_grown(self, paths: Sequence[Path]) -> AsyncGenerator[tuple[Path, Step | Failure], None]:
        """Grow each path by one step; yield each path with its result as soon as the step is done."""
        ticket = _Ticket(one_by_one=True, open=len(paths))
        self._submit(paths, ticket)
        for _ in paths:
            (job,) = await ticket.arrived.get()
            yield job.path, job.result

    async def reread(self, paths: Sequence[Path]) -> None:
        """Read the last step of these grown paths from its text, after the cache of what precedes it, if it is kept."""
        ticket = _Ticket(one_by_one=False, open=len(paths))
        jobs: list[_StepJob] = []
        for path in paths:
            old = self.nodes.pop(path.key, None)
            jobs.append(_ReadJob(self, path.copy(0), ticket, before=None if old is None else old.parent))
        self.policy.submit(jobs)
        await ticket.arrived.get()

    def _submit(self, paths: Sequence[Path], ticket: _Ticket) -> list[_StepJob]:
        jobs = [_StepJob(self, path, ticket) for path in paths]
        self.usage.calls += 1
        self.policy.submit(jobs)
        return jobs

    def keep(self, key: PathKey, node: Node) -> None:
        """Keep a cache, unless the session is closed."""
        nodes = self.nodes  # read first: if `close` runs before the next line, it has dropped these
        if not self.closed:
            nodes[key] = node

    def hidden(self, key: PathKey) -> FloatArray:
        """The last hidden state (d,) of a grown path. Raises EngineError if its cache is gone."""
        node = self.nodes.get(key)
        if node is None:
            raise EngineError(f"no cache is kept for path {key}")
        return node.hidden.double().cpu().numpy()

    def retain(self, keys: Collection[PathKey]) -> None:
        """Keep the caches of these grown paths; all others may go."""
        self.nodes = {key: node for key in keys if (node := self.nodes.get(key)) is not None}

    async def close(self) -> None:
        """Drop all caches and abandon all steps that are not grown yet."""
        self.closed = True
        self.nodes = {}
