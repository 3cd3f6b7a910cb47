"""How questions become prompts, and where sentences, steps and texts end."""

import json
import math
from pathlib import Path as FilePath

import pytest

from rollwise.core import Problem, Step, Stop
from rollwise.engines import Prompting, joined, read_shots, read_template, step_rule
from rollwise.engines.prompts import SENTENCE_ENDS, ends_sentence
from rollwise.errors import InputError

PROBLEM = Problem("a", "1 + 1?", instruction="Box it.")
JSONL = '{"question": "2 + 2?", "answer": "4"}\n{"question": "3 + 3?", "answer": 6}\n'


@pytest.mark.parametrize(
    "text",
    [
        *("1. ", "Add\n2. ", "**3. ", "- 4. ", "Step 1. ", "(a. ", "b. ", "iv. ", "Case 2. "),
        *("Use tools, e.g. ", "This is (i.e. ", "Dr. ", "Mr. ", "Ask Mrs. ", "It weighs approx. ", "See Fig. "),
        *("John F. ", "J. ", "the U.S. ", "at 5 p.m. ", "It is 3.14", "1.\n", "no end"),
    ],
)
def test_these_end_no_sentence(text: str) -> None:
    assert not ends_sentence(text)


@pytest.mark.parametrize(
    "text",
    [
        *("The total is 14. ", "So y equals x. ", "It is done.\n", "Why? ", "A title\n\n", "1. Add them. "),
        *("The answer is B. ", "Dr. Smith left. ", "It is 3.14. ", "\n\n", "She sold 24 clips in May. "),
    ],
)
def test_these_end_a_sentence(text: str) -> None:
    assert ends_sentence(text)


def test_a_step_that_ended_no_sentence_is_not_whole() -> None:
    rule = step_rule("sentence", stops=["Problem:"])
    assert rule.ends == (*SENTENCE_ENDS, "Problem:")
    assert not rule.is_whole("1. ")
    assert rule.is_whole("1. Add. ")
    assert rule.is_whole("Problem:")
    assert step_rule("tokens(4)").is_whole("1. ")
    assert step_rule("separator").is_whole("1. ")


def test_pieces_of_a_step_are_joined() -> None:
    first = Step("1. ", 2, Stop.STEP, -1.0, (1, 2), 3.0)
    second = Step("Add. ", 4, Stop.STEP, -2.0, (3, 4, 5, 6), 6.0)
    assert joined(first, second) == Step("1. Add. ", 6, Stop.STEP, -3.0, (1, 2, 3, 4, 5, 6), 5.0)
    unknown = joined(first, Step("Add", 1, Stop.LENGTH))
    assert (unknown.ids, unknown.stop) == ((), Stop.LENGTH)
    assert math.isnan(unknown.logprob)
    assert math.isnan(unknown.certainty)


@pytest.mark.parametrize(
    ("before", "text", "kept", "stop"),
    [
        ("", "2\nProblem: 3", "2", Stop.END),
        ("So 2\n", "Problem: 3 + 3?\n\n", "", Stop.END),  # the stop began in the step before
        ("Problem: 1\n\n", "2\n\n", "2\n\n", Stop.STEP),  # a stop that lies before the step ended no text
        ("", "2\n\n", "2\n\n", Stop.STEP),
    ],
)
def test_a_stop_text_ends_the_solution(before: str, text: str, kept: str, stop: Stop) -> None:
    step = step_rule("separator", stops=["\nProblem:", "Never"]).closed(before, Step(text, 5, Stop.STEP, -1.0, (1,)))
    assert (step.text, step.stop, step.tokens) == (kept, stop, 5)


def test_plain_text_has_no_template() -> None:
    assert Prompting().text(PROBLEM) is None
    assert Prompting(template="none").text(PROBLEM) == "Box it.\n\n1 + 1?\n\n"
    assert Prompting("none", "none").text(PROBLEM) == "1 + 1?\n\n"


def test_a_template_file_renders_the_chat(tmp_path: FilePath) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text(
        "{{ bos_token }}{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    prompting = Prompting(template=read_template(str(file)))
    assert prompting.text(PROBLEM) == "<system>Box it.\n<user>1 + 1?\n<assistant>"
    file.write_text("{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}")
    with pytest.raises(InputError, match="no system; --instruction user"):
        Prompting(template=read_template(str(file))).text(PROBLEM)
    file.write_text("{{ messages[7].content.strip() }}")
    with pytest.raises(InputError, match="--template failed"):
        Prompting(template=read_template(str(file))).text(PROBLEM)
    file.write_text("{% for")
    with pytest.raises(InputError, match="is no Jinja template"):
        read_template(str(file))
    with pytest.raises(InputError, match="cannot read"):
        read_template(str(tmp_path / "missing"))


def test_examples_stand_before_the_question(tmp_path: FilePath) -> None:
    file = tmp_path / "shots.jsonl"
    file.write_text(JSONL)
    shots = read_shots(file)
    examples = "Question: 2 + 2?\nAnswer: 4\n\nQuestion: 3 + 3?\nAnswer: 6\n\nQuestion: 1 + 1?\nAnswer:"
    assert Prompting("none", "none", shots).text(PROBLEM) == examples
    assert shots.stops == ("\nQuestion:",)
    assert Prompting(shots=shots).chat(PROBLEM) == [
        {"role": "system", "content": "Box it."},
        {"role": "user", "content": examples},
    ]
    text = tmp_path / "shots.txt"
    text.write_text("Q: 2 + 2?\nA: 4\n")
    assert Prompting("none", "none", read_shots(text)).text(PROBLEM) == "Q: 2 + 2?\nA: 4\n\n1 + 1?\n\n"
    text.write_text("Q: 2 + 2?\nA: 4\n\nQ: {question}\nA:\n")
    assert Prompting("none", "none", read_shots(text)).text(PROBLEM) == "Q: 2 + 2?\nA: 4\n\nQ: 1 + 1?\nA:"
    assert read_shots(text).stops == ()


def test_files_of_any_editor_are_read(tmp_path: FilePath) -> None:
    """A byte order mark is no part of a prompt, and only a line break ends a line: JSON may hold U+2028 and U+0085."""
    said = "2 + 2?\u2028Say\u0085it."
    row = json.dumps({"question": said, "answer": 4}, ensure_ascii=False)
    for content, start in [
        (f"\ufeff{row}\r\n", f"Question: {said}\nAnswer: 4\n\nQuestion: "),
        ("\ufeffQ: 2 + 2?\nA: 4", "Q: 2 + 2?\nA: 4\n\n"),
    ]:
        file = tmp_path / ("shots.jsonl" if "question" in content else "shots.txt")
        file.write_bytes(content.encode())
        assert read_shots(file).before("1 + 1?").startswith(start)
    template = tmp_path / "template.jinja"
    template.write_bytes("\ufeff{{ messages[0].content }}".encode())
    assert read_template(str(template)) == "{{ messages[0].content }}"


@pytest.mark.parametrize(
    "wrong",
    ["", "  \n", "[1]\n", '{"question": "a"}\n', "no json\n", '{"question": "a", "answer": null}\n'],
)
def test_examples_that_cannot_be_read_are_refused(wrong: str, tmp_path: FilePath) -> None:
    file = tmp_path / "shots.jsonl"
    file.write_text(wrong)
    with pytest.raises(InputError, match="--shots"):
        read_shots(file)
    with pytest.raises(InputError, match="cannot read"):
        read_shots(tmp_path / "missing")
