"""How a policy is prompted, and where a step of its solution ends."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollwise.core import Problem
from rollwise.errors import InputError

PLACES = ("system", "user", "none")
"""Where a problem's instruction stands: in a system message, before the question in the user's message, or nowhere."""

SENTENCE_ENDS = (". ", ".\n", "? ", "\n\n")
"""Strings that end a sentence. Four, since OpenAI's completions take no more than four stop strings."""


def check_place(place: str) -> None:
    """Raise InputError unless `place` is one of PLACES."""
    if place not in PLACES:
        raise InputError(f"give one of {', '.join(PLACES)} as the place of the instruction, not {place!r}")


def messages(problem: Problem, place: str = "system") -> list[dict[str, str]]:
    """The chat that asks a question, with its instruction at `place`. Raises InputError unless `place` is in PLACES."""
    check_place(place)
    if not problem.instruction or place == "none":
        return [{"role": "user", "content": problem.question}]
    if place == "system":
        return [{"role": "system", "content": problem.instruction}, {"role": "user", "content": problem.question}]
    return [{"role": "user", "content": f"{problem.instruction}\n\n{problem.question}"}]


@dataclass(frozen=True, slots=True)
class StepRule:
    """Where a step ends: after the first of the strings `ends`, or, if there are none, after `tokens` tokens."""

    name: str
    ends: tuple[str, ...] = ()
    tokens: int | None = None

    def limit(self, most: int) -> int:
        """The most tokens of a step in a search that allows `most`."""
        return most if self.tokens is None else min(most, self.tokens)


_RULE = re.compile(r"(separator|sentence|tokens)(?:\((.+)\))?", re.DOTALL)


def step_rule(name: str, separator: str = "\n\n") -> StepRule:
    r"""The step rule of a name: `separator` (the world's own `separator`), `separator(TEXT)` with \n for a line break,
    `sentence`, or `tokens(COUNT)`. Raises InputError for any other name.
    """
    match = _RULE.fullmatch(name)
    rule, setting = match.groups() if match else ("", None)
    if rule == "separator":
        return StepRule(name, (separator if setting is None else setting.replace("\\n", "\n"),))
    if rule == "sentence" and setting is None:
        return StepRule(name, SENTENCE_ENDS)
    if rule == "tokens" and setting is not None and re.fullmatch(r"[1-9]\d{0,6}", setting, re.ASCII):
        return StepRule(name, tokens=int(setting))
    raise InputError(f"no step rule is called {name!r}: give separator, separator(TEXT), sentence or tokens(64)")


def default_step_rule(always_thinks: bool, separator: str = "\n\n") -> StepRule:
    """The step rule if the user names none: the world's `separator`, or 256 tokens for a model that cannot be kept from
    thinking first, since separators inside a thought end no step.
    """
    return step_rule("tokens(256)" if always_thinks else "separator", separator)
