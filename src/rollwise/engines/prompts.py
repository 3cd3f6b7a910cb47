"""How a policy is asked, and where a step of its solution ends."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollwise.core import Problem
from rollwise.errors import InputError

PLACES = ("system", "user", "none")
"""Where a problem's instruction stands: in a message of its own, before the question, or nowhere."""

SENTENCE_ENDS = (". ", ".\n", "? ", "\n\n")
"""Strings that end a sentence. Four, since the completions of OpenAI's interface take no more."""


def messages(problem: Problem, place: str = "system") -> list[dict[str, str]]:
    """The chat that asks a question, its instruction in the place given. Raises InputError for another place."""
    if place not in PLACES:
        raise InputError(f"an instruction stands in one of {', '.join(PLACES)}, not {place!r}")
    instruction = problem.instruction if place != "none" else None
    if not instruction:
        return [{"role": "user", "content": problem.question}]
    if place == "system":
        return [{"role": "system", "content": instruction}, {"role": "user", "content": problem.question}]
    return [{"role": "user", "content": f"{instruction}\n\n{problem.question}"}]


@dataclass(frozen=True, slots=True)
class StepRule:
    """Where a step ends: with the first of the strings `ends`, or, where there are none, after `tokens` tokens."""

    name: str
    ends: tuple[str, ...] = ()
    tokens: int | None = None

    def limit(self, most: int) -> int:
        """How many tokens a step may have, where a search allows `most`."""
        return most if self.tokens is None else min(most, self.tokens)


_RULE = re.compile(r"(separator|sentence|tokens)(?:\((.+)\))?", re.DOTALL)


def step_rule(name: str, separator: str = "\n\n") -> StepRule:
    r"""The rule of a name: `separator` (the world's own, as given), `separator(TEXT)` with \n for a line's end,
    `sentence`, or `tokens(COUNT)`. Raises InputError for any other.
    """
    match = _RULE.fullmatch(name)
    kind, setting = match.groups() if match else ("", None)
    if kind == "separator":
        return StepRule(name, (separator if setting is None else setting.replace("\\n", "\n"),))
    if kind == "sentence" and setting is None:
        return StepRule(name, SENTENCE_ENDS)
    if kind == "tokens" and setting is not None and re.fullmatch(r"[1-9]\d{0,6}", setting, re.ASCII):
        return StepRule(name, tokens=int(setting))
    raise InputError(f"no step rule is called {name!r}: give separator, separator(TEXT), sentence or tokens(64)")
