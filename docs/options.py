"""Write the reference page of the options from the models that declare them.

python docs/options.py            # rewrite docs/reference/options.md
python docs/options.py --check    # change nothing; fail if the page differs from the models
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from rollwise.cli.allocate import AllocateOptions
from rollwise.cli.bench import BenchOptions
from rollwise.cli.calibrate import CalibrateOptions
from rollwise.cli.doctor import DoctorOptions
from rollwise.cli.grade import LinesOptions
from rollwise.cli.models import GetOptions, ListOptions
from rollwise.cli.options import default_text, flag_of, shown, value_type
from rollwise.cli.replay import RoundsOptions
from rollwise.cli.replay_votes import VotesOptions
from rollwise.cli.report import ReportOptions
from rollwise.cli.serve import ServeOptions
from rollwise.cli.simulate import SimulateOptions
from rollwise.cli.solve import SolveOptions
from rollwise.cli.ui import UiOptions
from rollwise.cli.world import EvaluateOptions, ExportOptions, ProblemOptions, RolloutsOptions, TrainOptions
from rollwise.pilot import PilotOptions
from rollwise.search import Options
from rollwise.service import ServiceOptions

PAGE = Path(__file__).parent / "reference" / "options.md"
OPENING = """# Options

Every option is declared once. Python (`rollwise.solve(..., max_tokens=512)`), a bench's TOML file and `--set`
take its field name; the command line takes its flag. Unknown names are refused.

This page is written by `python docs/options.py`.
"""
COMMANDS: dict[str, tuple[type[Options], str]] = {
    "rollwise solve": (
        SolveOptions,
        "One question, one search. The fields of the first four groups are those of `rollwise.Config`.",
    ),
    "rollwise bench": (
        BenchOptions,
        "Strategies on the same questions. `--set`, and the table `[search]` of a TOML file, take the fields of "
        "`rollwise.Config`.",
    ),
    "rollwise pilot": (PilotOptions, "What better allocation gains on your model and your questions."),
    "rollwise doctor": (DoctorOptions, "The features of servers."),
    "rollwise allocate": (AllocateOptions, "One allocation, from JSON to JSON."),
    "rollwise grade": (LinesOptions, "Answers against gold answers."),
    "rollwise vote": (LinesOptions, "The winner among answers."),
    "rollwise report": (ReportOptions, "What benches found, as a page, pictures, tables and text."),
    "rollwise calibrate": (CalibrateOptions, "A belief, fitted on completed prefixes."),
    "rollwise replay votes": (VotesOptions, "Stop rules on answers that were sampled elsewhere."),
    "rollwise replay rounds": (
        RoundsOptions,
        "Other allocators at the recorded rounds of a bench. `rollwise replay RUN` is short for it.",
    ),
    "rollwise simulate": (
        SimulateOptions,
        "Strategies where every chance is known. `--depth` and the options after the group Output are fields of the "
        "simulated world; one of them may be a list, like `--noise 0,0.1,0.2`.",
    ),
    "rollwise serve": (
        ServiceOptions,
        "A search behind an OpenAI-compatible address. A TOML file may also hold `keys` and `routes`; "
        "[serve](../serve.md) says how.",
    ),
    "rollwise ui": (UiOptions, "Searches in a browser: where every rollout went, and why."),
    "rollwise serve-model": (ServeOptions, "Models behind an OpenAI-compatible address."),
    "rollwise models get": (GetOptions, "A model, fetched and checked."),
    "rollwise models list": (ListOptions, "The models that can be fetched by a short name."),
    "rollwise world problem": (ProblemOptions, "Questions of a world, one per line."),
    "rollwise world train": (TrainOptions, "A world's models, trained from scratch."),
    "rollwise world rollouts": (RolloutsOptions, "Completed prefixes of sampled solutions, as a file."),
    "rollwise world evaluate": (EvaluateOptions, "Figures of a world's models on held-out questions."),
    "rollwise world export": (ExportOptions, "A world's policy as a GGUF file."),
}
TYPES: dict[type, str] = {bool: "", int: "whole number", float: "number", Path: "path", dict: "name=value, repeatable"}


def page() -> str:
    """The page as Markdown: a section for each command, a table for each group of its options."""
    parts = [OPENING]
    for command, (model, about) in COMMANDS.items():
        parts.append(f"\n## {command}\n\n{about}\n")
        fields = sorted(model.model_fields.items(), key=lambda item: _group_order(model, item[1]))
        for group, members in groupby(fields, key=lambda item: shown(item[1]).group):
            parts.append(f"\n### {group}: {command.split()[-1]}\n\n| flag | field | takes | default | meaning |\n")
            parts.append("| --- | --- | --- | --- | --- |\n")
            parts += [_row(name, field) for name, field in members]
    return "".join(parts)


def _group_order(model: type[Options], field: FieldInfo) -> int:
    groups = list(dict.fromkeys(shown(each).group for each in model.model_fields.values()))
    return groups.index(shown(field).group)


def _row(name: str, field: FieldInfo) -> str:
    flag = "the argument" if shown(field).argument else f"`{flag_of(name, field)}`"
    default = default_text(field)
    takes = TYPES.get(value_type(field), "text") + (", repeatable" if shown(field).repeatable else "")
    cells: list[Any] = [flag, f"`{name}`", takes, default, (field.description or "").replace("[", "\\[")]
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |\n"


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` return 1 if it is stale."""
    if "--check" not in arguments:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    fresh = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page()
    if not fresh:
        print(f"{PAGE} differs from the option models; run python docs/options.py", file=sys.stderr)
    return 0 if fresh else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
