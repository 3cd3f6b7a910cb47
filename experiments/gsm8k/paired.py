"""Two strategies of one bench, or of several on different questions, question by question.

    python experiments/gsm8k/paired.py RUN [RUN ...] --of dora --against rebase

Printed as JSON, for coverage and for the vote: on how many questions only the one succeeds, on how many only the other,
the difference with its 95 % bootstrap interval over questions, and the two-sided sign test's p.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from examples import Both, paired
from scipy.stats import binomtest

from rollwise.bench.finding import stored
from rollwise.core import FloatArray
from rollwise.errors import RollwiseError
from rollwise.numerics import bootstrap_interval, keyed_generator


def told(differences: FloatArray) -> dict[str, Any]:
    """What is told of differences (n,) of 1, 0 and -1, one a question."""
    interval = bootstrap_interval(differences, keyed_generator("questions", len(differences)))  # as a bench has it
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return {
        "only the first": wins,
        "only the second": losses,
        "difference": round(float(differences.mean()), 4),
        "interval": [round(each, 4) for each in interval],
        "sign test": round(float(binomtest(wins, wins + losses).pvalue), 4) if wins + losses else 1.0,
    }


def compared(questions: Sequence[Both]) -> dict[str, Any]:
    """What is told of coverage and vote on these questions."""
    found: dict[str, Any] = {"questions": len(questions)}
    for measure, name in (("coverage", "covered"), ("vote", "right")):
        pairs = [(getattr(each.of.outcome, name), getattr(each.against.outcome, name)) for each in questions]
        found[measure] = told(np.array([float(of) - float(against) for of, against in pairs]))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison as JSON; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of benches on different questions")
    parser.add_argument("--of", default="dora", help="the strategy that is looked at (default: dora)")
    parser.add_argument("--against", default="rebase", help="the one that it is compared with (default: rebase)")
    given = parser.parse_args(arguments)
    try:
        questions = [each for run in given.runs for each in paired(*stored(run), given.of, given.against)]
        if len({each.problem.id for each in questions}) < len(questions):
            parser.error("a question is in two runs; give runs on different questions")
    except RollwiseError as error:
        print(f"paired.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(compared(questions), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
