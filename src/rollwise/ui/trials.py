"""Searches that a visitor of the dashboard starts: each runs in a thread, and its events can be read while it runs."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from rollwise.core import Problem
from rollwise.errors import InputError, RollwiseError
from rollwise.report import Account, account_of, fold_account, told_by
from rollwise.search import Config, Event, Limits, Round, Runner, run_to_end

_KEPT = 24


Rollouts = Annotated[int, Field(ge=1, le=256)]


class Asked(BaseModel):
    """What a visitor asks for. Without a question, `level` and `seed` draw one of the world."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(max_length=4000)] = ""
    strategy: Annotated[str, Field(max_length=40)] = "dora"
    budget: Rollouts = Limits.budget
    seed: Annotated[int, Field(ge=0, le=10**9)] = 0
    level: Annotated[int, Field(ge=0, le=100)] = 5


@dataclass
class Trial:
    """A search that was started: its events so far, and at the end its account, or what went wrong."""

    number: int
    asked: Asked
    runner: Runner | None = None
    problem: Problem | None = None
    events: list[Event] = field(default_factory=list)
    rounds: int = 0
    ended: Account | None = None
    verdict: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    stopped: bool = False

    @property
    def done(self) -> bool:
        """Whether the search is over."""
        return self.ended is not None or self.error is not None

    def account(self) -> Account | None:
        """The account of what happened so far; None before the first round has closed."""
        if self.ended is not None:
            return self.ended
        if self.runner is None or self.problem is None or not self.rounds:
            return None
        parts = self.runner.parts
        return fold_account(list(self.events), told_by(parts.config, self.problem.question, parts.allocate))


class _StoppedError(Exception):
    """A visitor ended the search."""


class Trials:
    """The searches that visitors started; one runs at a time, and the last few stay at hand.

    `fields` are the config's fields that every search has, such as the policy; a visitor cannot change them.
    """

    def __init__(self, fields: Mapping[str, Any], strategies: tuple[str, ...], most_waiting: int = 8) -> None:
        self.fields, self.strategies, self.most_waiting = dict(fields), strategies, most_waiting
        self._trials: OrderedDict[int, Trial] = OrderedDict()
        self._numbers = itertools.count(1)
        self._turn, self._lock = threading.Lock(), threading.Lock()

    def start(self, asked: Asked) -> Trial:
        """Start a search in a thread. Raises InputError for an unknown strategy, and if too many wait already."""
        if asked.strategy not in self.strategies:
            raise InputError(f"no strategy is called {asked.strategy!r}; there are: {', '.join(self.strategies)}")
        with self._lock:
            if sum(not trial.done for trial in self._trials.values()) >= self.most_waiting:
                raise InputError("too many searches are under way; wait until one has ended")
            trial = Trial(next(self._numbers), asked)
            self._trials[trial.number] = trial
            ended = [number for number, old in self._trials.items() if old.done]
            for number in ended[: max(0, len(self._trials) - _KEPT)]:
                del self._trials[number]
        threading.Thread(target=self._run, args=(trial,), name=f"trial-{trial.number}", daemon=True).start()
        return trial

    def trial(self, number: int) -> Trial:
        """A search by its number. Raises InputError if it is not at hand."""
        found = self._trials.get(number)
        if found is None:
            raise InputError(f"there is no search number {number} here any more; start it again")
        return found

    def stop(self, number: int) -> None:
        """End a search after its present round."""
        self.trial(number).stopped = True

    def _run(self, trial: Trial) -> None:
        with self._turn:
            try:
                self._search(trial)
            except _StoppedError:
                trial.error = "stopped"
            except RollwiseError as error:
                trial.error = str(error)
            except Exception as error:  # a policy or a world may raise anything; the visitor has to hear of it
                trial.error = f"{type(error).__name__}: {error}"

    def _search(self, trial: Trial) -> None:
        asked = trial.asked
        config = Config.of(**self.fields, strategy=asked.strategy, budget=asked.budget, seed=asked.seed)
        runner = trial.runner = Runner(config)
        problems = runner.parts.problems
        typed = asked.question.strip()
        trial.problem = runner.parts.parse(typed) if typed else problems.problem(asked.level, asked.seed)
        trial.notes = runner.parts.notes

        def on_round(happened: Round) -> None:
            found: list[Event] = [*happened.grown, *happened.failed, *happened.finished]
            ended = (happened.allocated, happened.stopped)
            trial.events += [*found, *(event for event in ended if event is not None)]
            trial.rounds += 1
            if trial.stopped:
                raise _StoppedError

        solution = run_to_end(runner.solve(trial.problem, on_round))
        trial.verdict = {name: value for name, value in solution.as_dict().items() if name in _VERDICT}
        trial.ended = account_of(solution, runner.parts)


_VERDICT = ("answer", "right", "support", "attempt", "finished", "failed", "notes")
