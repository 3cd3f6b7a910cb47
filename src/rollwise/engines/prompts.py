"""How a policy is prompted, and where a step of its solution ends."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rollwise.core import Problem, Step, Stop
from rollwise.errors import InputError, MissingExtraError

PLACES = ("system", "user", "none")
"""Where a problem's instruction stands: in a system message, before the question in the user's message, or nowhere."""

SENTENCE_ENDS = (". ", ".\n", "? ", "\n\n")
"""Strings that end a sentence. Four, since OpenAI's completions take no more than four stop strings."""

_LIST_MARK = re.compile(
    r"(?:^|\n)[ \t>*#_(-]*(?:(?:step|case|part)[ ]+)?(?:\d+|[a-z]|[ivx]{1,5})[*_]*\.$", re.IGNORECASE
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'])(?:(?:[A-Za-z]\.)+[A-Za-z]|Dr|Mr|Mrs|Ms|Prof|St|Jr|Sr|vs|cf|approx|resp|viz|Fig|Eq|Ch|Sec|al)\.$",
    re.IGNORECASE,
)
_INITIAL = re.compile(r"(?:\b[A-Z][a-z]+|[A-Z]\.)[ ][A-Z]\.$")


def ends_sentence(text: str) -> bool:
    """Whether a text contains the end of a sentence.

    A full stop ends none after the number or letter of a list ("1. ", "Step 2. "), an abbreviation ("e.g. ", "Dr. ")
    or an initial ("John F. ").
    """
    for end in SENTENCE_ENDS:
        place = text.find(end)
        while place >= 0:
            if not end.startswith(".") or not _spared(text[: place + 1]):
                return True
            place = text.find(end, place + 1)
    return False


def _spared(text: str) -> bool:
    """Whether a text ends in a full stop that ends no sentence."""
    return any(pattern.search(text) for pattern in (_LIST_MARK, _ABBREVIATION, _INITIAL))


PLAIN = "none"
"""The name of the template that is none: questions go as plain text."""


def check_place(place: str) -> None:
    """Raise InputError unless `place` is one of PLACES."""
    if place not in PLACES:
        raise InputError(f"give one of {', '.join(PLACES)} as the place of the instruction, not {place!r}")


def messages(problem: Problem, place: str = "system") -> list[dict[str, str]]:
    """The chat that asks a question after its earlier turns, with its instruction at `place`.

    An instruction for the system goes after the text of the chat's own first system message, if there is one. Raises
    InputError unless `place` is in PLACES.
    """
    check_place(place)
    chat = [{"role": role, "content": text} for role, text in problem.turns]
    question = {"role": "user", "content": problem.question}
    if not problem.instruction or place == "none":
        return [*chat, question]
    if place == "user":
        return [*chat, question | {"content": f"{problem.instruction}\n\n{problem.question}"}]
    if chat and chat[0]["role"] == "system":
        first, *others = chat
        return [first | {"content": f"{first['content']}\n\n{problem.instruction}"}, *others, question]
    return [{"role": "system", "content": problem.instruction}, *chat, question]


@dataclass(frozen=True, slots=True)
class Shots:
    """Examples that stand before the question. `asked` is the question's own form, with {question} in its place;
    `stops` are strings at which the model begins an example of its own.
    """

    text: str
    asked: str = "{question}\n\n"
    stops: tuple[str, ...] = ()

    def before(self, question: str) -> str:
        """The examples and then the question."""
        return f"{self.text}{self.asked.replace('{question}', question)}"


def read_shots(file: str | Path) -> Shots:
    """The examples of a file.

    JSONL has an object with "question" and "answer" on each line; it becomes lines "Question: ..." and "Answer: ...",
    and a model that begins another "Question:" is stopped there. Any other text stands before the question as it is;
    if it contains {question}, the question goes there. Raises InputError if the file cannot be read or is empty.
    """
    text = _read(file, "--shots")
    if not text.strip():
        raise InputError(f"--shots {file} is empty: give examples as JSONL (question, answer) or as plain text")
    if str(file).endswith((".jsonl", ".json")):
        examples = [_example(file, number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        return Shots("".join(examples), "Question: {question}\nAnswer:", ("\nQuestion:",))
    if "{question}" in text:
        before, _, after = text.rpartition("{question}")
        return Shots(before, f"{{question}}{after.rstrip()}")
    return Shots(f"{text.rstrip()}\n\n")


def _example(file: str | Path, number: int, line: str) -> str:
    try:
        example = json.loads(line)
        question, answer = (_shown(example[name]) for name in ("question", "answer"))
        return f"Question: {question}\nAnswer: {answer}\n\n"
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f'--shots {file}, line {number}: give an object like {{"question": "1 + 1?", "answer": "2"}}'
        ) from None


def _shown(value: Any) -> str:
    """A text or a number as an example shows it. Raises TypeError for anything else, such as null."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(value)
    return str(value).strip()


def read_template(given: str | None) -> str | None:
    """The text of a Jinja template file; None for the model's own template and PLAIN for plain text.

    Raises InputError if the file cannot be read or is no template.
    """
    if given is None or given == PLAIN:
        return given
    text = _read(given, "--template")
    try:
        _environment().from_string(text)
    except InputError:
        raise
    except Exception as error:  # of jinja2, which loads on first use
        raise InputError(f"--template {given} is no Jinja template: {error}") from None
    return text


def _read(file: str | Path, option: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{option}: cannot read {file}: {reason}") from None


def _environment() -> Any:
    try:
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise MissingExtraError("--template FILE", "local") from error
    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)


@dataclass(frozen=True, slots=True)
class Prompting:
    """How a question is put to a model: the `place` of its instruction (one of PLACES), the text of a Jinja `template`
    (None: the model's own chat template; PLAIN: plain text), and examples before the question.
    """

    place: str = "system"
    template: str | None = None
    shots: Shots | None = None

    def chat(self, problem: Problem) -> list[dict[str, str]]:
        """The chat that asks a question, with the examples before it in the user's message."""
        if self.shots is not None:
            problem = replace(problem, question=self.shots.before(problem.question))
        return messages(problem, self.place)

    def text(self, problem: Problem) -> str | None:
        """The prompt as text, without a start token; None if the model's own chat template renders it.

        Raises InputError if the template fails.
        """
        if self.template is None:
            return None
        return self.plain(problem) if self.template == PLAIN else self._rendered(problem)

    def plain(self, problem: Problem) -> str:
        """The prompt as plain text: the instruction, the earlier turns, the examples, the question."""
        instruction = "" if not problem.instruction or self.place == "none" else f"{problem.instruction}\n\n"
        turns = "".join(f"{text}\n\n" for _, text in problem.turns)
        return instruction + turns + (self.shots or Shots("")).before(problem.question)

    def _rendered(self, problem: Problem) -> str:
        def refuse(reason: str) -> None:
            raise InputError(f"--template refuses this chat: {reason}; --instruction user sends no system message")

        assert self.template is not None
        names = {"bos_token": "", "eos_token": "", "raise_exception": refuse}
        try:
            template = _environment().from_string(self.template)
            return str(template.render(messages=self.chat(problem), add_generation_prompt=True, **names))
        except InputError:
            raise
        except Exception as error:  # a template may raise anything
            raise InputError(f"--template failed: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class StepRule:
    """Where a step ends: after the first of the strings `ends`, or, if `tokens` is given, after as many tokens.

    The `stops`, which are among the `ends`, end the whole text. Servers stop at strings, so the rule `sentence` also
    stops after "1. " or "e.g. ", which end no sentence: a policy then goes on with the same step (see `is_whole`).
    """

    name: str
    ends: tuple[str, ...] = ()
    tokens: int | None = None
    stops: tuple[str, ...] = ()

    def limit(self, most: int) -> int:
        """The most tokens of a step in a search that allows `most`."""
        return most if self.tokens is None else min(most, self.tokens)

    def is_whole(self, text: str) -> bool:
        """Whether the text of a step that stopped at one of `ends` is a whole step."""
        return self.name != "sentence" or ends_sentence(text) or any(stop in text for stop in self.stops)

    def closed(self, before: str, step: Step) -> Step:
        """The step after the text `before`; if one of `stops` occurs in it or begins before it, the text ends there."""
        whole = before + step.text
        places = [whole.find(stop, max(0, len(before) - len(stop) + 1)) for stop in self.stops]
        place = min((place for place in places if place >= 0), default=None)
        if place is None:
            return step
        return replace(step, text=whole[len(before) : place], stop=Stop.END, ids=())


def joined(first: Step, second: Step) -> Step:
    """Two pieces of one step as a step: the certainty is the mean over its tokens."""
    tokens = first.tokens + second.tokens
    certainty = math.fsum(piece.certainty * piece.tokens for piece in (first, second)) / max(1, tokens)
    ids = (*first.ids, *second.ids) if first.ids and second.ids else ()
    return Step(first.text + second.text, tokens, second.stop, first.logprob + second.logprob, ids, certainty)


_RULE = re.compile(r"(separator|sentence|tokens)(?:\((.+)\))?", re.DOTALL)


def step_rule(name: str, separator: str = "\n\n", stops: Sequence[str] = ()) -> StepRule:
    r"""The step rule of a name: `separator` (the world's own `separator`), `separator(TEXT)` with \n for a line break,
    `sentence`, or `tokens(COUNT)`. The strings `stops` end the whole text. Raises InputError for any other name.
    """
    rule = _named_rule(name, separator)
    return replace(rule, ends=tuple(dict.fromkeys((*rule.ends, *stops))), stops=tuple(stops))


def _named_rule(name: str, separator: str) -> StepRule:
    match = _RULE.fullmatch(name)
    rule, setting = match.groups() if match else ("", None)
    if rule == "separator":
        return StepRule(name, (separator if setting is None else setting.replace("\\n", "\n"),))
    if rule == "sentence" and setting is None:
        return StepRule(name, SENTENCE_ENDS)
    if rule == "tokens" and setting is not None and re.fullmatch(r"[1-9]\d{0,6}", setting, re.ASCII):
        return StepRule(name, tokens=int(setting))
    raise InputError(f"no step rule is called {name!r}: give separator, separator(TEXT), sentence or tokens(64)")


def default_step_rule(always_thinks: bool, separator: str = "\n\n", stops: Sequence[str] = ()) -> StepRule:
    """The step rule if the user names none: the world's `separator`, or 256 tokens for a model that cannot be kept from
    thinking first, since separators inside a thought end no step.
    """
    return step_rule("tokens(256)" if always_thinks else "separator", separator, stops)
