"""The stages of a pilot: benches and a calibration in one folder, each of which goes on where it was stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rollwise
from rollwise.bench import Grid, Outcome, Run, begin, begun, read_run, resume
from rollwise.calibration import (
    Calibration,
    ScoredPrefixes,
    calibrate,
    collect_prefixes,
    collect_scored_prefixes,
    load_prefixes,
    observe_prefixes,
    observe_votes,
    read_belief,
    recorded_rewards,
    score_problems,
    source_of,
    split_by_ending,
)
from rollwise.calibration import Plan as PrefixPlan
from rollwise.core import Problem
from rollwise.errors import InputError
from rollwise.pilot.costs import computed_tokens
from rollwise.pilot.options import PilotOptions
from rollwise.pilot.plan import COMPLETIONS, PATHS, POINTS, Plan, Rate
from rollwise.registry import find_world
from rollwise.search import (
    CLUSTER_FIELDS,
    Config,
    completer_of,
    completers,
    find_parts,
    prefix_completers,
    run_to_end,
    sampling_of,
    settled,
)

Show = Callable[[str, int, int, str], None]
"""(name of the stage, how much is done, of how much, a note)."""
PLAIN = {"reward": "none", "vote": "majority"}
"""The fields of plain sampling as it can be done with the model alone: no reward, one path, one vote."""


@dataclass
class Meter:
    """What the pilot has taken so far. `until` is when it has to stop: a time of `time.monotonic`, or tokens."""

    tokens: float = 0.0
    most_tokens: float = float("inf")
    until: float = float("inf")

    def spend(self, outcome: Outcome) -> None:
        """Count a search."""
        self.tokens += computed_tokens(outcome)

    @property
    def empty(self) -> bool:
        """Whether nothing is left."""
        return self.tokens >= self.most_tokens or time.monotonic() >= self.until


@dataclass(frozen=True)
class Stages:
    """The stages of a pilot with these options, in its folder."""

    options: PilotOptions
    show: Show
    meter: Meter

    def folder(self, name: str) -> Path:
        """The folder of a stage."""
        return self.options.out / name

    def bench(
        self,
        name: str,
        strategies: Sequence[str],
        budgets: Sequence[int],
        only: Iterable[str],
        search: Mapping[str, Any],
        events: bool = False,
    ) -> Run:
        """The results of a bench of this pilot; what is missing is run first, as far as the meter allows."""
        folder = self.folder(name)
        given = self.options.posing() | {
            "strategies": list(strategies),
            "budgets": list(budgets),
            "only": list(only),
            "search": self.options.searched() | dict(search),
            "in_flight": self.options.in_flight,
            **{name: getattr(self.options, name) for name in CLUSTER_FIELDS},
            "baseline": strategies[0],
            "events": events,
        }
        running = resume(folder, given) if begun(folder) else begin(folder, given)
        done, raised = running.store.counts(running.experiment.id)
        self.show(name, done, running.size, "")

        def on_result(outcome: Outcome) -> None:
            nonlocal done, raised
            done, raised = done + 1, raised + (outcome.error is not None)
            self.meter.spend(outcome)
            self.show(name, done, running.size, f"{raised} raised" if raised else "")

        taken = -1

        def claim() -> int:
            nonlocal taken
            taken = running.size if self.meter.empty else taken + 1
            return taken

        if self.options.engine == "ray":
            from rollwise.bench import run_on_cluster  # the package ray is an extra

            run_on_cluster(running, on_result, claim)
        else:
            run_to_end(running.run(on_result, claim))
        running.store.close()
        return read_run(folder)

    def runs(self) -> list[Run]:
        """The benches of this pilot so far."""
        folders = sorted(folder for folder in self.options.out.glob("*/*") if begun(folder))
        return [read_run(folder) for folder in folders]

    def rate(self, only: Sequence[str]) -> Rate:
        """What a rollout takes, measured on a few questions with plain sampling and with DORA."""
        plain = self.bench("probe/plain", ["temperature"], [self.options.budget], only, PLAIN)
        search = self.bench("probe/search", ["dora"], [self.options.budget], only, {})
        return Rate(*self._per_rollout(search), *self._per_rollout(plain))

    def _per_rollout(self, run: Run) -> tuple[float, float]:
        """The tokens and seconds of a rollout. Raises InputError if every search raised."""
        outcomes = [result.outcome for result in run.results]
        ran = [outcome for outcome in outcomes if outcome.error is None]
        if not ran:
            raise InputError(f"every search raised, the first: {outcomes[0].error}; mend that, and take another --out")
        rollouts = self.options.budget * len(ran)
        seconds = sum(outcome.seconds for outcome in ran) / min(self.options.at_once, len(outcomes))
        return sum(map(computed_tokens, ran)) / rollouts, seconds / rollouts

    def belief(self, problems: Sequence[Problem]) -> Calibration | None:
        """The belief fitted on completed prefixes of the problems, in belief.json; None if it could not be fitted."""
        file = self.folder("belief.json")
        if file.is_file():
            return read_belief(file)
        config = settled(self.options.config()).model_copy(update={"strategy": "temperature"})
        scored = self._prefixes(config, problems)
        unfinished, finished = split_by_ending(scored)
        source = source_of(config.world or "", config.temperature, config.policy, config.reward)
        try:
            ended = observe_votes(finished) if finished else None
            made = calibrate(observe_prefixes(unfinished), source, ended=ended)
        except InputError:
            return None
        text = json.dumps(made.as_dict(), ensure_ascii=False, separators=(",", ":"))
        file.write_text(text + "\n", encoding="utf-8")
        return made

    def _prefixes(self, config: Config, problems: Sequence[Problem]) -> list[ScoredPrefixes]:
        """Completed prefixes with their rewards, kept in prefixes.jsonl."""
        parts, file, cluster = find_parts(config), self.folder("prefixes.jsonl"), self.options.cluster

        def progress(done: int, total: int) -> None:
            self.show("calibration", done, total, "")

        if self.options.data is None:
            world = find_world(self.options.poser)
            how = (PATHS, COMPLETIONS, sampling_of(parts), file, progress, str(config.policy))
            if cluster is None:
                collect_prefixes(world, parts.policy, problems, *how)
            else:
                with prefix_completers(config, PATHS, COMPLETIONS, cluster) as complete:
                    collect_prefixes(world, parts.policy, problems, *how, do=complete)
            return score_problems(parts.reward, list(load_prefixes(file)), lambda done, total: None)
        completer = completer_of(parts, PrefixPlan(PATHS, POINTS, COMPLETIONS))
        source = json.loads(json.dumps({"policy": config.policy, "reward": config.reward, "pilot": PATHS}))
        with completers(completer, config, cluster) as do:
            collect_scored_prefixes(completer, problems, source, file, progress, do)
        return recorded_rewards(list(load_prefixes(file)))


def problems_of(options: PilotOptions) -> list[Problem]:
    """All questions that the pilot may ask."""
    return list(Grid.of(**options.posing(), search=options.searched(), strategies=["temperature"]).asked().problems)


def kept_plan(options: PilotOptions) -> tuple[Plan, Rate] | None:
    """The plan that the folder holds; None if there is none. Raises InputError if it was made with other options."""
    file = options.out / "plan.json"
    if not file.is_file():
        return None
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        plan, rate, told, version = Plan.of(kept["plan"]), Rate(**kept["rate"]), kept["options"], kept["rollwise"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{file} is no plan of a pilot: move it away, or give another --out") from None
    now = options.deciding() | {"rollwise": rollwise.__version__}
    then = told | {"rollwise": version}
    differing = [f"{name} was {then.get(name)} and is {now[name]}" for name in now if now[name] != then.get(name)]
    if differing:
        raise InputError(
            f"{options.out} holds a pilot that was begun otherwise: {'; '.join(differing)}; go on as it was, or give "
            "another --out"
        )
    return plan, rate


def keep_plan(options: PilotOptions, plan: Plan, rate: Rate) -> None:
    """Write the plan to the folder, before any result is seen."""
    options.out.mkdir(parents=True, exist_ok=True)
    kept = {
        "rollwise": rollwise.__version__,
        "options": options.deciding(),
        "rate": vars(rate),
        "plan": plan.as_dict(),
    }
    (options.out / "plan.json").write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
