"""`rollwise grade` and `rollwise vote` as a pipe sees them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rollwise.cli import build_app
from rollwise.errors import InputError


def run(command: str, lines: str | bytes) -> str:
    result = CliRunner().invoke(build_app(), [command, "-"], input=lines)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def graded(lines: str | bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("grade", lines).splitlines()]


def test_lines_come_back_with_right_and_read() -> None:
    lines = '{"id": 7, "answer": "½", "gold": "0.5"}\n{"answer": "7√(3)", "gold": "7"}\n{"answer": null, "gold": "A"}\n'
    assert graded(lines) == [
        {"id": 7, "answer": "½", "gold": "0.5", "right": True, "read": {"answer": "1/2", "gold": "0.5"}},
        {"answer": "7√(3)", "gold": "7", "right": False, "read": {"answer": "7*root(3, 2)", "gold": "7"}},
        {"answer": None, "gold": "A", "right": False, "read": {"answer": None, "gold": "A"}},
    ]


def test_a_line_may_name_its_grader() -> None:
    rows = [("2/4", "1/2", grader) for grader in ("mathematics", "text")] + [("(C) 12", "C", "choice")]
    lines = "\n".join(json.dumps({"answer": answer, "gold": gold, "grader": grader}) for answer, gold, grader in rows)
    assert [row["right"] for row in graded(lines)] == [True, False, True]


def test_a_byte_order_mark_windows_lines_and_empty_lines_are_fine() -> None:
    lines = b'\xef\xbb\xbf{"answer": "1", "gold": "1"}\r\n\r\n  \r\n{"answer": 2, "gold": 3}'
    assert [row["right"] for row in graded(lines)] == [True, False]


@pytest.mark.parametrize("command", ["grade", "vote"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"answer": "1"', "line 3 is not JSON: Expecting ',' delimiter at column 15"),
        ("[1]", "line 3 is not a JSON object"),
        ("{}", 'line 3 has no field "answer"'),
        ('{"answer": [1], "gold": "1"}', r'line 3: "answer" is \[1\]; give a text or a number'),
        ('{"answer": true, "gold": "1"}', 'line 3: "answer" is true'),
        ('{"answer": NaN, "gold": "1"}', "line 3 is not JSON: NaN is no JSON number"),
        ('{"answer": 1e999, "gold": "1"}', "line 3 is not JSON: 1e999 is too large for a number"),
    ],
)
def test_a_bad_line_is_named(command: str, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(command, f'{{"answer": "1", "gold": "1"}}\n\n{line}\n')


@pytest.mark.parametrize(
    ("command", "line", "message"),
    [
        ("grade", '{"answer": "1"}', 'line 1 has no field "gold"; add it'),
        ("grade", '{"answer": "1", "gold": null}', 'line 1: "gold" is null'),
        ("grade", '{"answer": "1", "gold": "1", "grader": "x"}', "line 1: no grader is called 'x'; choose mathematics"),
        ("vote", '{"answer": "1", "weight": -1}', 'line 1: "weight" is -1; give a number from 0 to 1e\\+300'),
        ("vote", '{"answer": "1", "weight": "2"}', 'line 1: "weight" is "2"'),
        ("vote", '{"answer": "1", "weight": 1e999}', "line 1 is not JSON: 1e999 is too large for a number"),
        ("vote", '{"answer": "1", "weight": 1e308}', 'line 1: "weight" is 1e\\+308'),
    ],
)
def test_a_bad_field_is_named(command: str, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(command, line)


def test_bytes_that_are_no_text_are_named() -> None:
    with pytest.raises(InputError, match="line 2 is not JSON: 'utf-8' codec"):
        run("grade", b'{"answer": "1", "gold": "1"}\n{"answer": "\xff"}\n')


def test_a_vote_has_ballots_and_a_winner_in_any_order() -> None:
    lines = [
        '{"answer": "x>3", "weight": 0.4}',
        '{"answer": "5", "weight": 0.6}',
        '{"answer": "(3,∞)", "weight": 0.3}',
        '{"answer": null}',
    ]
    found = run("vote", "\n".join(lines))
    assert json.loads(found) == {
        "winner": "x>3",
        "support": pytest.approx(0.7 / 1.3),
        "ballots": [{"answer": "x>3", "paths": 2, "weight": 0.7}, {"answer": "5", "paths": 1, "weight": 0.6}],
        "unanswered": 1,
    }
    assert run("vote", "\n".join(reversed(lines))) == found


def test_votes_without_weight_count_one_each_and_all_zero_weights_count_the_same() -> None:
    assert json.loads(run("vote", '{"answer": "1"}\n{"answer": "2"}\n{"answer": "4/2"}'))["winner"] == "2"
    zeros = json.loads(
        run("vote", '{"answer": "1", "weight": 0}\n{"answer": "2", "weight": 0}\n{"answer": 2, "weight": 0}')
    )
    assert (zeros["winner"], zeros["support"]) == ("2", pytest.approx(2 / 3))


def test_small_weights_weigh_what_they_are() -> None:
    lines = ['{"answer": "1", "weight": 3e-13}', *['{"answer": "2", "weight": 1e-20}'] * 2]
    found = json.loads(run("vote", "\n".join(lines)))
    assert (found["winner"], found["support"]) == ("1", pytest.approx(1, abs=1e-6))


def test_nobody_wins_an_empty_vote() -> None:
    assert json.loads(run("vote", "")) == {"winner": None, "support": 0.0, "ballots": [], "unanswered": 0}


def test_a_mistake_is_one_line_and_status_2(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"answer": "1", "gold": "1"}\nno json\n', encoding="utf-8")
    command = [sys.executable, "-m", "rollwise", "grade", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert json.loads(result.stdout)["right"] is True
    assert result.stderr.splitlines() == [
        "rollwise: line 2 is not JSON: Expecting value at column 1; give one JSON object per line"
    ]


def test_a_reader_that_stops_early_is_no_error() -> None:
    line = json.dumps({"answer": "1", "gold": "1"})
    script = f"yes '{line}' | head -20000 | {sys.executable} -m rollwise grade - | head -1"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert json.loads(result.stdout)["right"] is True
    assert result.stderr == ""
