"""Five questions of a bench on which two strategies differ most, as text and pictures.

    python experiments/gsm8k/examples.py RUN --of dora --against rebase --into docs/results/img

RUN is a bench with events. The questions are ranked by the difference in right paths. Taken are the two on which --of
gains most, the two on which it loses most, and one from the middle of the rest, a covered one if there is one. Each
gets a picture of both searches; the question, the gold answer and both votes are printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollwise.bench.finding import stored
from rollwise.bench.store import Experiment, Result, Store
from rollwise.core import Problem
from rollwise.errors import InputError, RollwiseError
from rollwise.report import fold_flow, search_svg
from rollwise.search import read_events


@dataclass(frozen=True)
class Both:
    """One question's results of the two strategies."""

    problem: Problem
    of: Result
    against: Result

    @property
    def gain(self) -> int:
        """How many more right paths the first has."""
        return self.of.outcome.right_paths - self.against.outcome.right_paths


def chosen(both: Sequence[Both], count: int = 5) -> list[Both]:
    """The questions with the largest gains, with the largest losses, and one between, ranked from gain to loss."""
    ranked = sorted(both, key=lambda each: (-each.gain, each.problem.id))
    if len(ranked) <= count:
        return ranked
    side = count // 2
    rest = ranked[side:-side]
    covered = [each for each in rest if each.of.outcome.covered or each.against.outcome.covered] or rest
    return [*ranked[:side], covered[len(covered) // 2], *ranked[-side:]]


def paired(store: Store, experiment: Experiment, of: str, against: str) -> list[Both]:
    """The questions that both strategies answered with one seed. Raises InputError if there is none."""
    problems = {problem.id: problem for problem in store.problems(experiment.id)}
    held: dict[str, dict[str, Result]] = {of: {}, against: {}}
    for result in store.results(experiment.id):
        if result.cell.label in held and result.cell.seed == 0 and result.outcome.error is None:
            held[result.cell.label][result.problem] = result
    common = [name for name in problems if name in held[of] and name in held[against]]
    if not common:
        raise InputError(
            f"no question was answered by both {of} and {against}: give strategies as the bench names them"
        )
    return [Both(problems[name], held[of][name], held[against][name]) for name in common]


def picture(records: Sequence[Mapping[str, Any]], title: str) -> str:
    """The picture of a stored search."""
    events = read_events(records)
    rights = {tuple(map(int, str(each["path"]).split("."))) for each in records if each.get("right")}
    return search_svg(fold_flow(events, rights), title)


def facts(each: Both) -> dict[str, Any]:
    """What is told of a question."""
    return {
        "question": each.problem.question,
        "gold": each.problem.answer,
        **{
            result.cell.label: {
                "vote": result.outcome.answer,
                "right": result.outcome.right,
                "right paths": result.outcome.right_paths,
                "finished": result.outcome.finished,
            }
            for result in (each.of, each.against)
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pictures and print the facts; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a bench that was run with --events")
    parser.add_argument("--of", default="dora", help="the strategy that is looked at (default: dora)")
    parser.add_argument("--against", default="rebase", help="the one that it is compared with (default: rebase)")
    parser.add_argument("--into", type=Path, help="folder of the pictures; without it none are written")
    given = parser.parse_args(arguments)
    try:
        store, experiment = stored(given.run)
        told = []
        for number, each in enumerate(chosen(paired(store, experiment, given.of, given.against)), 1):
            told.append(facts(each))
            for result in (each.of, each.against) if given.into else ():
                records = store.events(experiment.id, result.cell, result.problem)
                if records is None:
                    raise InputError(f"{given.run} holds no events: run the bench with --events")
                given.into.mkdir(parents=True, exist_ok=True)
                file = given.into / f"gsm8k-{number}-{result.cell.label.split(':')[0]}.svg"
                outcome = result.outcome
                title = f"{result.cell.label}: {outcome.right_paths} of {outcome.finished} paths right"
                file.write_text(picture(records, title), encoding="utf-8")
        print(json.dumps(told, indent=2))
    except RollwiseError as error:
        print(f"examples.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
