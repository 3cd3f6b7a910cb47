"""Any question as plain text. A grader compares its answer with the gold answer; no step can be checked."""

from __future__ import annotations

from rollwise.answers import Grader, find_grader
from rollwise.core import Problem, Problems, is_unicode
from rollwise.errors import InputError


class FreeText(Problems):
    """Any question: no levels, no states, no models of its own."""

    name = "text"
    levels: tuple[int, ...] = ()
    separator = "\n\n"
    checkable = False

    def __init__(self, grader: Grader | None = None) -> None:
        self.grader = grader or find_grader("math")

    def problem(self, level: int, seed: int, split: str = "test") -> Problem:
        """Raises InputError: this world draws no questions."""
        raise InputError(
            "the world text draws no questions: give a question, like rollwise solve 'What is 12 × 13?', a file of "
            "questions by --data, or another --world"
        )

    def parse(self, question: str) -> Problem:
        """The question with the instruction to box its answer. Raises InputError if it is empty or no text."""
        if not question.strip():
            raise InputError("the question is empty: give a question, like rollwise solve 'What is 12 × 13?'")
        if not is_unicode(question):
            raise InputError("the question holds half of a surrogate pair, which is no character: give it as UTF-8")
        return Problem(question, question, None, self.name, instruction=self.grader.asks)

    def remark(self, problem: Problem) -> str | None:
        """None: nothing is known about any question."""
        return None

    def is_right(self, problem: Problem, answer: str) -> bool:
        """Whether the grader finds the answer right for the gold answer; False if there is no gold answer."""
        return problem.answer is not None and self.grader.right(problem.answer, answer)
