r"""Any question as plain text. Its answer stands in \boxed{} and is compared as mathematics; no step can be checked."""

from __future__ import annotations

from rollwise.answers import equivalent
from rollwise.core import Problem, Problems
from rollwise.errors import InputError

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."


class FreeText(Problems):
    """Any question: no levels, no states, no models of its own."""

    name = "text"
    levels: tuple[int, ...] = ()
    separator = "\n\n"
    checkable = False

    def problem(self, level: int, seed: int, split: str = "test") -> Problem:
        """Raises InputError: this world draws no questions."""
        raise InputError(
            "the world text draws no questions: give a question, like rollwise solve 'What is 12 × 13?', or choose "
            "--world"
        )

    def parse(self, question: str) -> Problem:
        """The question with the instruction to box its answer. Raises InputError if the question is empty."""
        if not question.strip():
            raise InputError("the question is empty: give a question, like rollwise solve 'What is 12 × 13?'")
        return Problem(question, question, None, self.name, instruction=INSTRUCTION)

    def remark(self, problem: Problem) -> str | None:
        """None: nothing is known about any question."""
        return None

    def is_right(self, problem: Problem, answer: str) -> bool:
        """Whether the answer is the same mathematics as the gold answer; False if there is no gold answer."""
        return problem.answer is not None and equivalent(problem.answer, answer)
