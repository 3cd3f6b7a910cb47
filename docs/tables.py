"""Write the tables of the pages from the files in docs/results/data.

    python docs/tables.py            # rewrite every table
    python docs/tables.py --check    # change nothing; fail if a table differs from its data

A page holds a table between two comments:

    <!-- table: softmax columns="coverage; coverage-temperature" -->
    <!-- end -->

The first word names a file docs/results/data/NAME.json. It holds plain `columns` and `rows`, or `summaries`: what
`rollwise bench` writes to summary.json, once for each baseline. Summaries need `columns=`, separated by semicolons:

    coverage                     the measure, in percent
    coverage@16                  the same at the budget of 16 rollouts (else at that of `budget=`)
    coverage-rebase              the difference to REBASE in points, with its 95 % interval
    coverage-rebase?             the true difference to REBASE that the questions detect with a chance of 80 %
    coverage as solved           the same under another title

`budget=64` takes the rows of one budget; without it the table has a row for every budget and a column N.
`strategies="a; b"` takes these strategies in this order. `language="ja"` writes names and intervals in Japanese.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
DATA = DOCS / "results" / "data"
README = DOCS.parent / "README.md"
PAGES = (README, DOCS.parent / "README.ja.md", *sorted(DOCS.glob("**/*.md")))
TABLE = re.compile(r"(<!-- table: (?P<what>[^\n]*?) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL)

STRATEGIES = {
    "temperature": "plain sampling",
    "temperature:calculator=false": "plain sampling, no calculator",
    "beam": "beam search",
    "dvts": "DVTS",
    "rebase": "REBASE",
    "rebase:reward_temperature=0.4": "REBASE, T_b = 0.4",
    "dora": "DORA",
    "dora:rounding=largest_remainder": "DORA, largest remainder",
    "dora:directions=state": "DORA, true states",
    "dora:directions=minilm": "DORA, MiniLM",
    "dora:directions=minilm,similarity_temperature=0.1": "DORA, MiniLM, T_s = 0.1",
    "dora:reward_temperature=0.2": "DORA, T_b = 0.2",
    "dora:reward_temperature=0.4": "DORA, T_b = 0.4",
    "rebase:reward=experiments/bad_rewards.py:inverted": "REBASE, inverted reward",
    "dora:reward=experiments/bad_rewards.py:inverted": "DORA, inverted reward",
    "rebase:reward=experiments/bad_rewards.py:noise": "REBASE, random reward",
    "dora:reward=experiments/bad_rewards.py:noise": "DORA, random reward",
    "rebase:reward=gsm8k": "REBASE, reward model",
    "optimal_directions:reward=gsm8k": "optimum by direction, reward model",
    "optimal": "optimum by path",
    "optimal_directions": "optimum by direction",
    "optimal_directions:directions=state": "optimum by direction, true states",
    "optimal_directions:confidence=4": "optimum by direction, confidence 4",
    "optimal_directions:confidence=16": "optimum by direction, confidence 16",
}
JAPANESE = {
    "strategy": "戦略",
    "plain sampling": "単純サンプリング",
    "beam search": "ビームサーチ",
    "optimum by path": "最適配分（経路ごと）",
    "optimum by direction": "最適配分（方向ごと）",
}
MEASURES = {"coverage": "coverage", "accuracy": "vote right", "pass_rate": "right paths"}
NUMERIC = (int, float, dict)


@dataclass(frozen=True)
class Column:
    """One column of a table of summaries: a measure, or its difference to a baseline, at one budget or at the row's."""

    measure: str
    budget: int | None
    baseline: str | None
    detectable: bool
    title: str


def read_column(text: str) -> Column:
    """Return the column that `MEASURE[@BUDGET][-BASELINE[?]][ as TITLE]` names. Raises ValueError for other text."""
    found = re.fullmatch(r"(\w+)(?:@(\d+))?(?:-([^?]+?)(\??))?(?: as (.+))?", text.strip())
    if not found:
        raise ValueError(f"{text!r} is no column; write MEASURE[@BUDGET][-BASELINE[?]][ as TITLE]")
    measure, budget, baseline, detectable, title = found.groups()
    if title is None:
        title = MEASURES.get(measure, measure)
        if baseline is not None:
            title = "detectable" if detectable else f"against {STRATEGIES.get(baseline, baseline)}"
    return Column(measure, int(budget) if budget else None, baseline, bool(detectable), title)


def load(name: str) -> dict[str, Any]:
    """Return the content of docs/results/data/NAME.json."""
    document: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return document


def figure(document: Mapping[str, Any], strategy: str, budget: int, column: Column) -> float | dict[str, Any] | None:
    """Return one figure of the summaries in percent or points: a number, or a record of mean, low and high.

    Returns None if the summaries do not hold it. Raises ValueError if no summary has the column's baseline.
    """
    baselines = [summary["baseline"] for summary in document["summaries"]]
    if column.baseline is not None and column.baseline not in baselines:
        raise ValueError(f"no summary against {column.baseline}; there are those against {', '.join(baselines)}")
    summary = document["summaries"][0 if column.baseline is None else baselines.index(column.baseline)]
    for row in summary["rows"]:
        if row["strategy"] == strategy and row["budget"] == budget and column.measure in row["measures"]:
            measure = row["measures"][column.measure]
            if column.baseline is None:
                return 100 * float(measure["mean"])
            difference = measure["difference"]
            if difference is None:
                return None
            percent = {key: None if value is None else 100 * value for key, value in difference.items()}
            return percent["detectable"] if column.detectable else percent
    return None


def shown(value: object, digits: int = 1, signed: bool = False) -> str:
    """Return a cell as text: `81.0`, `+8.0 (+4.5 to +12.0)`, `0.56 ± 0.08`, or the text itself."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        mean = _number(value["mean"], digits, signed)
        if "plus_minus" in value:
            return f"{mean} ± {_number(value['plus_minus'], digits, False)}"
        return f"{mean} ({_number(value['low'], digits, signed)} to {_number(value['high'], digits, signed)})"
    if isinstance(value, float):
        return _number(value, digits, signed)
    return str(value)


def _number(value: float, digits: int, signed: bool) -> str:
    rounded = round(value, digits) + 0.0  # + 0.0 turns -0.0 into 0.0
    return f"{rounded:{'+' if signed and rounded else ''}.{digits}f}".replace("-", "−")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> str:
    """Return a Markdown table whose numeric columns are aligned to the right."""
    rule = ["---:" if right else "---" for right in numeric]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *rows))


def plain_table(document: Mapping[str, Any]) -> str:
    """Return the Markdown table of `columns` and `rows`, the largest of the columns `bold_largest_of` in bold type."""
    columns, rows = document["columns"], document["rows"]
    titles = [column["title"] for column in columns]
    candidates = [titles.index(title) for title in document.get("bold_largest_of", [])]
    body = []
    for row in rows:
        largest = max((row[index] for index in candidates), default=None)
        cells = [
            shown(value, column.get("digits", 1), column.get("signed", False))
            for value, column in zip(row, columns, strict=True)
        ]
        body.append([f"**{cell}**" if i in candidates and row[i] == largest else cell for i, cell in enumerate(cells)])
    numeric = [
        all(isinstance(row[index], NUMERIC) or row[index] is None for row in rows) for index in range(len(columns))
    ]
    return markdown(titles, body, numeric)


def bench_table(document: Mapping[str, Any], settings: Mapping[str, str]) -> str:
    """Return the Markdown table of a bench: a row for each strategy, and without `budget` for each budget too."""
    columns = [read_column(text) for text in settings["columns"].split(";")]
    rows = document["summaries"][0]["rows"]
    strategies = list(dict.fromkeys(row["strategy"] for row in rows))
    if "strategies" in settings:
        strategies = [name.strip() for name in settings["strategies"].split(";")]
    budgets = sorted({row["budget"] for row in rows})
    fixed = [column.budget for column in columns if column.budget is not None]
    chosen = [int(settings["budget"])] if "budget" in settings else fixed[:1] or budgets
    several = len(chosen) > 1
    body = []
    for strategy in strategies:
        for budget in chosen:
            cells = [
                shown(
                    figure(document, strategy, column.budget or budget, column),
                    signed=column.baseline is not None and not column.detectable,
                )
                for column in columns
            ]
            body.append([STRATEGIES.get(strategy, f"`{strategy}`"), *([str(budget)] if several else []), *cells])
    head = ["strategy", *(["N"] if several else []), *(column.title for column in columns)]
    if settings.get("language") == "ja":
        head, *body = ([japanese(cell) for cell in cells] for cells in (head, *body))
    return markdown(head, body, [False, *([True] if several else []), *(True for _ in columns)])


def japanese(cell: str) -> str:
    """Return a cell in Japanese: the name of a strategy, or figures with their interval."""
    return JAPANESE.get(cell, re.sub(r" \((\S+) to (\S+)\)", r"（\1～\2）", cell))


def table(what: str) -> str:
    """Return the Markdown table that a comment `<!-- table: WHAT -->` asks for."""
    name, *words = shlex.split(what)
    settings = dict(word.split("=", 1) for word in words)
    document = load(name)
    return bench_table(document, settings) if "summaries" in document else plain_table(document)


def rewritten(text: str) -> str:
    """Return the text of a page with all its tables made anew."""
    return TABLE.sub(lambda found: f"{found[1]}\n{table(found['what'])}\n{found[4]}", text)


def main(arguments: Sequence[str]) -> int:
    """Rewrite the pages, or with --check name those whose tables are stale; return the exit status."""
    stale = [
        page
        for page in PAGES
        if page.exists() and rewritten(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")
    ]
    for page in stale:
        if "--check" in arguments:
            print(f"{page}: a table differs from its data; run python docs/tables.py", file=sys.stderr)
        else:
            page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
            print(f"{page}: rewritten")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
