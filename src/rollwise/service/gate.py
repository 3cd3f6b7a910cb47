"""The gate of a rule: both rules on the golden questions, and what their difference says."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from rollwise.errors import InputError
from rollwise.numerics import bootstrap_interval, keyed_generator
from rollwise.openai_format import RequestError
from rollwise.service.asked import Asked, asked, target_of
from rollwise.service.recent import golden
from rollwise.service.recording import Occasion, new_id
from rollwise.service.records import plain_config
from rollwise.service.replies import Answered
from rollwise.service.searches import Plan
from rollwise.service.service import Service
from rollwise.service.settings import Gate, Rule
from rollwise.service.store import Store
from rollwise.service.tables import SearchRow

_SINGLE = {"strategy": "temperature", "budget": 1}
"""What stands for the rule that forwards: one sample of the policy, as the upstream would answer."""
_AT_ONCE = 8
_MOST_GOLDEN = 10_000

Figures = tuple[bool, int]
"""Whether an answer is right, and the tokens generated for it."""


@dataclass(frozen=True)
class Verdict:
    """What a gate found: on `samples` questions, the accuracy of both rules, the interval of the difference (candidate
    minus current), the ratio of generated tokens, and a sentence for each condition that is not met. `oldest` is when
    the oldest result was made that was on record already; None if all are new.
    """

    samples: int
    current: float
    candidate: float
    low: float
    high: float
    cost: float
    unmet: tuple[str, ...]
    oldest: str | None = None

    @property
    def passed(self) -> bool:
        """Whether every condition is met."""
        return not self.unmet

    @property
    def age(self) -> str:
        """How old the results are, as a sentence: the same model may not answer any more."""
        if self.oldest is None:
            return "all of these results are new"
        made = datetime.datetime.fromisoformat(self.oldest)
        days = (datetime.datetime.now(datetime.UTC) - made).days
        ago = {0: "less than a day ago", 1: "a day ago"}.get(days, f"{days} days ago")
        return (
            f"the oldest of these results was made on {made:%Y-%m-%d}, {ago}; they say nothing of a model that has "
            "changed since then"
        )

    def as_dict(self) -> dict[str, Any]:
        """The verdict as plain values."""
        return asdict(self) | {"unmet": list(self.unmet), "passed": self.passed}


def judged(gate: Gate, current: Sequence[Figures], candidate: Sequence[Figures]) -> Verdict:
    """The verdict on paired results of the same questions, in the same order.

    The interval is that of the paired bootstrap. The candidate passes if the lower end of the difference in accuracy
    is at least `least_gain`, and if its tokens are at most `most_cost` times those of the current rule.
    """
    if not current:
        return Verdict(0, 0.0, 0.0, -1.0, 1.0, 0.0, (f"no question is answered yet, of {gate.samples}",))
    rights = np.array([[right for right, _ in side] for side in (current, candidate)], dtype=np.float64)
    tokens = np.array([[generated for _, generated in side] for side in (current, candidate)], dtype=np.float64)
    differences = rights[1] - rights[0]
    low, high = bootstrap_interval(differences, keyed_generator("gate", len(differences)), gate.confidence)
    cost = float(tokens[1].mean() / max(tokens[0].mean(), 1.0))
    unmet = []
    if len(current) < gate.samples:
        unmet.append(f"{len(current)} questions are answered by both rules, of at least {gate.samples}")
    if low < gate.least_gain:
        unmet.append(
            f"the difference in accuracy may be {low:+.3f} ({gate.confidence:.0%} interval {low:+.3f} to {high:+.3f}), "
            f"under {gate.least_gain:+.3f}"
        )
    if cost > gate.most_cost:
        unmet.append(f"the candidate generates {cost:.2f} times the tokens, over {gate.most_cost:g}")
    accuracy = rights.mean(axis=1)
    return Verdict(len(current), float(accuracy[0]), float(accuracy[1]), low, high, cost, tuple(unmet))


def verdict_on_record(store: Store, name: str, gate: Gate, current: str, candidate: str) -> Verdict:
    """The verdict on the golden results of two rules that are on record; no question is asked."""
    sides = [{seen.question: seen for seen in golden(store, name, rule, _MOST_GOLDEN)} for rule in (current, candidate)]
    common = [question for question in sides[0] if question in sides[1]]
    pairs = [[(bool(side[each].right), side[each].generated) for each in common] for side in sides]
    oldest = min((side[each].began for side in sides for each in common), default=None)
    return replace(judged(gate, *pairs), oldest=oldest)


def golden_questions(file: Path) -> list[tuple[str, str]]:
    """The (question, answer) pairs of a JSONL file. Raises InputError if a line is no such pair."""
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"golden: cannot read {file}: {reason}") from None
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            question, answer = row["question"], row["answer"]
            if isinstance(answer, bool) or not isinstance(answer, str | int | float) or not isinstance(question, str):
                raise TypeError(row)
            pairs.append((question, str(answer)))
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f'{file}, line {number}: give an object like {{"question": "1 + 1?", "answer": "2"}}'
            ) from None
    return pairs


async def run_gate(
    service: Service, name: str, current: Rule, candidate: Rule, by: str, on_done: Callable[[int, int], None]
) -> Verdict:
    """The verdict on two rules of a route. Searches that are on record with the same config are not run again.

    Raises InputError if the route declares no gate.
    """
    gate = service.settings.routes[name].gate
    if gate is None:
        raise InputError(f"the route {name} declares no gate: add [routes.{name}.gate] with a golden set")
    questions = golden_questions(gate.golden)
    slots = asyncio.Semaphore(_AT_ONCE)
    done = 0

    async def one(rule: Rule, question: str, answer: str) -> _Result | None:
        nonlocal done
        async with slots:
            found = await _figures(service, name, rule, question, answer, by)
        done += 1
        on_done(done, 2 * len(questions))
        return found

    results = [
        await asyncio.gather(*(one(rule, question, answer) for question, answer in questions))
        for rule in (current, candidate)
    ]
    pairs = [(left, right) for left, right in zip(*results, strict=True) if left is not None and right is not None]
    verdict = judged(gate, [left.figures for left, _ in pairs], [right.figures for _, right in pairs])
    kept = [each.made for pair in pairs for each in pair if each.made is not None]
    return replace(verdict, oldest=min(kept, default=None))


@dataclass(frozen=True)
class _Result:
    """The figures of a golden question, and when they were made if they were on record already."""

    figures: Figures
    made: str | None = None


async def _figures(service: Service, name: str, rule: Rule, question: str, answer: str, by: str) -> _Result | None:
    """The figures of one question under a rule. A search that fails counts as wrong; a question that the route cannot
    read counts for neither rule.
    """
    body = {"model": name, "messages": [{"role": "user", "content": question}]}
    target = target_of(service.settings, body, {})
    request = asked("chat", target, body, service.settings.deadline)
    searching = rule if rule.search is not None else Rule(name=rule.name, search=_SINGLE)
    parts = await service.engines.parts(name, searching, request)
    kept = await service.writer.call(lambda store: _kept(store, request, rule.name, plain_config(parts.config)))
    if kept is not None:
        return kept

    def noted(answered: Answered) -> Mapping[str, bool]:
        found = answered.solution.answer
        return {"right": found is not None and _is_right(answered, answer, found)}

    occasion = Occasion(by, rule.name, "golden", "golden")
    try:
        answered = await service.searches.run(
            request, Plan(searching, "golden", parts), 0, new_id(), occasion, noted=noted
        )
    except RequestError as error:
        return None if error.status == 400 else _Result((False, 0))
    return _Result((bool(noted(answered)["right"]), answered.solution.ledger.usage["policy"].generated))


def _is_right(answered: Answered, gold: str, found: str) -> bool:
    return answered.parts.problems.is_right(replace(answered.solution.problem, answer=gold), found)


def _kept(store: Store, request: Asked, rule: str, config: Mapping[str, Any]) -> _Result | None:
    """The figures of a golden search that is on record."""
    wanted = select(SearchRow).where(
        SearchRow.purpose == "golden",
        SearchRow.route == request.target.name,
        SearchRow.rule == rule,
        SearchRow.question == request.target.digest,
        SearchRow.outcome != "failed",
        SearchRow.outcome != "cancelled",
    )
    with store.session() as session:
        for row in session.scalars(wanted.order_by(SearchRow.began.desc())):
            if row.config == dict(config):
                return _Result((bool(row.right), row.generated), row.began)
    return None
