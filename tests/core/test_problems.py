"""The question of a chat as one text."""

from rollwise.core import Problem
from rollwise.core.records import MOST_BEFORE


def test_a_question_without_a_chat_is_itself() -> None:
    assert Problem("1", "What is 2 + 2?").conversation == "What is 2 + 2?"


def test_the_chat_stands_before_the_question_in_its_order() -> None:
    turns = (("system", "Answer in metres."), ("user", "A train is 200 m long."), ("assistant", "Yes?"))
    assert Problem("1", "And two of them?", turns=turns).conversation == (
        "system: Answer in metres.\n\nuser: A train is 200 m long.\n\nassistant: Yes?\n\nuser: And two of them?"
    )


def test_a_long_chat_keeps_its_system_message_and_its_latest_turns() -> None:
    turns = [("system", "s" * 10_000)] + [("user", f"turn {number} " + "x" * 300) for number in range(100)]
    text = Problem("1", "the question", turns=tuple(turns)).conversation
    assert text.endswith("user: the question")
    assert "turn 99 " in text
    assert "turn 0 " not in text
    assert text.startswith("system: sss")
    assert 0.95 * MOST_BEFORE < len(text) < 1.05 * MOST_BEFORE
    assert Problem("1", "the question", turns=tuple(turns[:1])).conversation.count("s") < 0.6 * MOST_BEFORE
