"""Families of process reward models: how each lays out a question and its steps, and where the score is read.

A layout is a list of pieces that ends with the token at which the last step's score is read. Each piece is tokenized by
itself and the tokens are joined. So the pieces also show which texts the family's reference code tokenizes together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rollwise.core import Path, Stop

Turn = tuple[str, str]
"""(role, content) of a chat."""


@dataclass(frozen=True, slots=True)
class Text:
    """Text of a question or of a solution; if `opened`, after the tokens that the tokenizer puts before every text."""

    text: str
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Marker:
    """A tag that the layout adds, such as `<extra_0>`."""

    text: str


@dataclass(frozen=True, slots=True)
class Chat:
    """Turns in the tokenizer's chat template, followed by the header of the assistant's next turn."""

    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Special:
    """The tokenizer's begin-of-text or end-of-text token; no token if the tokenizer has none."""

    name: Literal["bos", "eos"]


Piece = Text | Marker | Chat | Special
Head = Literal["labels", "two_layers", "value", "words"]


@dataclass(frozen=True)
class Family:
    """One family: its layout and its head.

    `prompt` lays out a question; `solution` lays out a question and a path. All solutions of a question begin with its
    prompt, as far as the tokens agree. `head` says how the score is read at the last token: "labels" is the softmax
    over two labels of a linear layer, "two_layers" the same after a hidden layer, "value" the sigmoid of one number,
    "words" the softmax over the two `words` as the next token, the right word first. The layout marks the ends of steps
    with `tag`. Of the tag's text and of each word's text, only the last token counts: tokenizers differ in what they
    make of a text's first word. `source` names the reference that the family was written from.
    """

    name: str
    prompt: Callable[[str], tuple[Piece, ...]]
    solution: Callable[[str, Path], tuple[Piece, ...]]
    head: Head
    source: str
    tag: str | None = None
    words: tuple[str, str] | None = None


def solution_steps(path: Path) -> list[str]:
    """The steps of a path as a reward model reads them: without the line breaks around them and without blank steps.

    Steps that a length limit cut apart are joined again. A path with no other text has one blank step.
    """
    steps, text = [], ""
    for step in path.steps:
        text += step.text
        if step.stop is not Stop.LENGTH:
            steps.append(text)
            text = ""
    return [step.lstrip("\r\n").rstrip() for step in (*steps, text) if step.strip()] or [""]


_CONTROL = r"<\|[^<>|\s]+\|>|<extra_\d+>|</?s>|<(?:begin|end)_of_\w+>|\[/?INST\]"


def defused(text: str, *tags: str) -> str:
    """The text with a space after the first character of everything that looks like a control token, and of the tags
    that stand by themselves, so that a solution cannot end its own step or turn.
    """
    patterns = [_CONTROL, *(rf"(?<!\w){re.escape(tag)}(?!\w)" for tag in tags)]
    return re.sub("|".join(patterns), lambda match: f"{match[0][0]} {match[0][1:]}", text)


def _chat_prompt(question: str) -> tuple[Piece, ...]:
    return (Chat((("user", defused(question)),)),)


def _chat_solution(question: str, path: Path) -> tuple[Piece, ...]:
    texts = [Text(step.text) for step in path.steps if step.text]
    end = [Special("eos")] if path.ended else []
    return (*_chat_prompt(question), *texts, *end)


QWEN_SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."
QWEN_TAG = "<extra_0>"


def _qwen_prompt(question: str) -> tuple[Piece, ...]:
    return (Chat((("system", QWEN_SYSTEM), ("user", defused(question)))),)


def _qwen_solution(question: str, path: Path) -> tuple[Piece, ...]:
    steps = [piece for step in solution_steps(path) for piece in (Text(defused(step)), Marker(QWEN_TAG))]
    return (*_qwen_prompt(question), *steps)


SHEPHERD_TAG = "ки"


def _shepherd_prompt(question: str) -> tuple[Piece, ...]:
    return (Text(defused(question, SHEPHERD_TAG), opened=True),)


def _shepherd_solution(question: str, path: Path) -> tuple[Piece, ...]:
    solution = "\n".join(f"{defused(step, SHEPHERD_TAG)} {SHEPHERD_TAG}" for step in solution_steps(path))
    return (Text(f"{defused(question, SHEPHERD_TAG)} {solution}", opened=True),)


def _rlhflow_solution(question: str, path: Path) -> tuple[Piece, ...]:
    first, *others = map(defused, solution_steps(path))
    turns: list[Turn] = [("user", f"{defused(question)} {first}")]
    for step in others:
        turns += [("assistant", "+"), ("user", step)]
    return (Chat(tuple(turns)),)


def _skywork_prompt(question: str) -> tuple[Piece, ...]:
    return (Special("bos"), Text(defused(f"{question}\n")))


def _skywork_solution(question: str, path: Path) -> tuple[Piece, ...]:
    lines = [line for line in "\n".join(solution_steps(path)).split("\n") if line.strip()] or [""]
    pieces = [piece for line in lines for piece in (Text(defused(line)), Text("\n"))]
    return (*_skywork_prompt(question), *pieces)


def _trl_prompt(question: str) -> tuple[Piece, ...]:
    return (Special("bos"), Text(defused(question)))


def trl(separator: str = "\n") -> Family:
    """The family of checkpoints that TRL's `PRMTrainer` trained with `separator` as its `step_separator`.

    Its layout: begin-of-text, the question without a template, then each step followed by the separator, whose last
    token is classified.
    """

    def solution(question: str, path: Path) -> tuple[Piece, ...]:
        steps = [piece for step in solution_steps(path) for piece in (Text(defused(step)), Text(separator))]
        return (*_trl_prompt(question), *steps)

    return Family("trl", _trl_prompt, solution, "labels", "PRMTrainer.tokenize_row of TRL")


CHAT = Family(
    "chat",
    _chat_prompt,
    _chat_solution,
    "labels",
    "the models that rollwise trains: the question in the chat template, then the steps as generated",
)
QWEN_PRM = Family(
    "qwen_prm",
    _qwen_prompt,
    _qwen_solution,
    "two_layers",
    "model card of Qwen/Qwen2.5-Math-PRM-7B",
    QWEN_TAG,
)
MATH_SHEPHERD = Family(
    "math_shepherd",
    _shepherd_prompt,
    _shepherd_solution,
    "words",
    "model card of peiyi9979/math-shepherd-mistral-7b-prm",
    f"a {SHEPHERD_TAG}",
    ("a +", "a -"),
)
RLHFLOW = Family(
    "rlhflow",
    _chat_prompt,
    _rlhflow_solution,
    "words",
    "RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py, and search-and-learn's reward_models.py",
    words=("+", "-"),
)
SKYWORK = Family(
    "skywork",
    _skywork_prompt,
    _skywork_solution,
    "value",
    "prepare_input and PRM_MODEL of SkyworkAI/skywork-o1-prm-inference",
)
TRL = trl()

FAMILIES = {family.name: family for family in (CHAT, QWEN_PRM, MATH_SHEPHERD, RLHFLOW, SKYWORK, TRL)}
