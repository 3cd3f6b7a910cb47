"""Files of questions in every format, their faults, and the public data sets beside the repository."""

from __future__ import annotations

import csv
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollwise.answers import find_grader
from rollwise.data import Questions, read_questions
from rollwise.errors import InputError

SHARED = Path(os.environ.get("ROLLWISE_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"
ROWS: list[dict[str, Any]] = [
    {"id": "a", "question": "What is 1 + 1?", "answer": "2", "level": 1},
    {"id": "b", "question": "Say “3;4”,\nplease", "answer": "3;4", "level": 2},
    {"id": "c", "question": "What is 2 × 3?", "answer": "6", "level": 2},
]
EXPECTED = [("a", "What is 1 + 1?", "2", 1), ("b", "Say “3;4”,\nplease", "3;4", 2), ("c", "What is 2 × 3?", "6", 2)]


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def written(folder: Path, content: str | bytes, name: str = "q.jsonl") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def seen(questions: Questions) -> list[tuple[str, str, str | None, int | None]]:
    return [(each.id, each.question, each.answer, each.level) for each in questions.problems]


def as_csv(file: Path, delimiter: str) -> Path:
    with file.open("w", encoding="utf-8-sig", newline="") as out:
        writer = csv.DictWriter(out, list(ROWS[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)
    return file


def test_every_format_reads_alike(tmp_path: Path) -> None:
    files = [
        written(tmp_path, lines(*ROWS)),
        written(tmp_path, b"\xef\xbb\xbf" + lines(*ROWS).replace("\n", "\r\n\r\n").encode(), "bom.ndjson"),
        written(tmp_path, json.dumps(ROWS, indent=1), "list.json"),
        written(tmp_path, json.dumps({"version": 1, "data": ROWS}), "within.json"),
        written(tmp_path, lines(*ROWS), "lines.json"),
        as_csv(tmp_path / "a.csv", ","),
        as_csv(tmp_path / "b.csv", ";"),
        as_csv(tmp_path / "c.tsv", "\t"),
    ]
    found = [read_questions(file) for file in files]
    assert [seen(each) for each in found] == [EXPECTED] * len(files)
    assert len({each.digest for each in found}) == 1
    assert found[1].rows == (1, 3, 5)
    assert found[5].rows == (1, 2, 3)


OFFLINE = """
import sys
import datasets
from rollwise.data import read_questions
from rollwise.errors import InputError

folder = sys.argv[1]
rows = read_questions(folder + "/q.jsonl")
found = datasets.load_dataset("json", data_files=folder + "/q.jsonl", split="train")
found.to_parquet(folder + "/hub/q.parquet")
datasets.DatasetDict(test=found, train=found.select([0])).save_to_disk(folder + "/saved")
for source in ("/hub/q.parquet", "/hub", "/saved"):
    assert read_questions(folder + source).digest == rows.digest, source
assert len(read_questions(folder + "/saved:train").problems) == 1
for source, told in {
    folder + "/saved:dev": "has the splits test, train; name one, like",
    "math-500": "hf download HuggingFaceH4/MATH-500 --repo-type dataset --local-dir MATH-500",
    "hf:me/mine/main:dev": "cannot fetch hf:me/mine/main:dev from the Hugging Face hub",
}.items():
    try:
        read_questions(source)
    except InputError as error:
        assert told in str(error) and "\\n" not in str(error), error
    else:
        raise AssertionError(source)
"""


def test_parquet_folders_and_names_without_a_network(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "hub").mkdir()
    written(tmp_path, lines(*ROWS))
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    run = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    with pytest.raises(InputError, match="as Parquet"):
        read_questions(written(tmp_path, "no table", "broken.parquet"))


@given(
    st.lists(st.tuples(st.text(min_size=1), st.integers(-999, 999), st.integers(0, 9)), min_size=1, max_size=8).filter(
        lambda rows: all(row[0].strip() and "\x00" not in row[0] for row in rows)
    )
)
def test_nothing_is_lost_or_changed(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int]]) -> None:
    records = [{"question": text, "answer": gold, "level": level} for text, gold, level in rows]
    text = "".join(json.dumps(record) + "\n" for record in records)
    found = read_questions(written(tmp_path_factory.mktemp("q"), text))
    expected = [(str(place), text.strip(), str(gold), level) for place, (text, gold, level) in enumerate(rows, 1)]
    assert seen(found) == expected


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "holds no row"),
        ("\n\n", "holds no row"),
        (lines(ROWS[0], '{"question": '), "line 2 is not JSON: Expecting value at column 14"),
        (lines(ROWS[0], "[1]"), "line 2 is no JSON object"),
        (lines(ROWS[0], "[" * 100_000), "line 2 is not JSON"),
        (lines(ROWS[0]).encode() + b"\xff\xfe\n", "line 2 is not UTF-8"),
        (lines(ROWS[0]).encode("utf-16"), "line 1 is not UTF-8"),
        (lines(ROWS[0], {"id": "b", "question": "q", "answer": None}), "line 2 has no gold answer in 'answer'"),
        (lines(ROWS[0], {"id": "b", "question": "q"}), "line 2 has no gold answer in 'answer'"),
        (lines(ROWS[0], {"id": "b", "question": " ", "answer": 1}), "line 2 has no question in 'question'"),
        (lines(ROWS[0], {"id": "b", "question": ["q"], "answer": 1}), "line 2 holds a list in 'question'"),
        (lines(ROWS[0], {"id": "b", "question": "q", "answer": {"a": 1}}), "line 2 holds an object in 'answer'"),
        (lines(ROWS[0], {"id": "b", "question": "q", "answer": [1, 2]}), "line 2 holds a list in 'answer'"),
        (lines(ROWS[0], {"question": "q", "answer": 1}), "line 2 has no id in 'id'"),
        (lines(*ROWS, ROWS[1]), "line 2 and line 4 have the same id 'b'"),
        (lines({"q": "a", "a": "b"}), "no field looks like the question; name it by --question-field: q, a"),
        (lines({"question": "a", "b": "b"}), "no field looks like the gold answer; name it by --answer-field"),
        (lines(ROWS[0], {"id": "b", "question": "q" * 10_485_760, "answer": 1}), "line 2 holds 10,485,760 characters"),
        (lines(ROWS[0], {"id": "b", "question": "q", "answer": "x" * 10_485_760}), "line 2: the gold “x"),
        (lines({"question": "q", "answer": "#### "}), "line 1 has no gold answer"),
        (lines({"question": "q", "answer": float("nan")}), "line 1 has no gold answer in 'answer'"),
        (lines({"question": float("nan"), "answer": 1}), "line 1 has no question in 'question'"),
        (lines({"question": "a \ud83d", "answer": 1}), "line 1 holds half of a surrogate pair in 'question'"),
        (lines({"question": "a", "answer": "\udc00"}), "line 1 holds half of a surrogate pair in 'answer'"),
        (lines({"id": "\ud83d", "question": "a", "answer": 1}), "line 1 holds half of a surrogate pair in 'id'"),
    ],
    ids=str,
)
def test_a_fault_names_its_row(tmp_path: Path, content: str | bytes, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read_questions(written(tmp_path, content))
    message = str(caught.value)
    assert told in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("q.csv", 'question,answer\n"a",1\nb,2,3\n', "row 2 (line 3) has 3 cells and the header 2"),
        ("q.csv", 'question,answer\n"a,1\n', "is not CSV"),
        ("q.csv", "question,question,answer\na,b,1\n", "'question' stands twice"),
        ("q.csv", "question,answer\n", "holds no row"),
        ("q.csv", "question,answer\na,1\nb,\n", "row 2 has no gold answer"),
        ("q.json", '[{"question": "a", "answer": 1},]', "is not JSON"),
        ("q.json", '{"a": [1], "b": [2]}', "no single list"),
        ("q.json", "[1, 2]", "row 1 is no JSON object"),
        ("q.txt", "a question", "ends in none of .jsonl"),
    ],
)
def test_faults_of_other_formats(tmp_path: Path, name: str, content: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read_questions(written(tmp_path, content, name))
    assert told in str(caught.value)


def test_a_csv_may_hold_large_fields(tmp_path: Path) -> None:
    file = written(tmp_path, f'question,answer,notes\na,1,"{"n" * 2_000_000}"\n', "q.csv")
    assert seen(read_questions(file)) == [("1", "a", "1", None)]


def test_fields_are_guessed_named_and_joined(tmp_path: Path) -> None:
    row = {
        "Body": "There are 3 cows.",
        "Question": "How many?",
        "Answer": 3.0,
        "ID": 7,
        "note": "x",
        "Difficulty": "Level 4",
    }
    file = written(tmp_path, lines(row))
    found = read_questions(file)
    assert seen(found) == [("7", "There are 3 cows. How many?", "3", 4)]
    assert "question = 'Body+Question', answer = 'Answer', id = 'ID', level = 'Difficulty'" in found.remarks[0]
    named = {"question": "Question", "answer": "note", "id": "none", "level": "none"}
    assert seen(read_questions(file, fields=named)) == [("1", "How many?", "x", None)]
    with pytest.raises(InputError, match="no field 'nots', which --answer-field names; it has Body, Question"):
        read_questions(file, fields={"answer": "nots"})
    with pytest.raises(InputError, match=r"no field 'ID\+Difficulty', which --id-field names"):
        read_questions(file, fields={"id": "ID+Difficulty"})


def test_golds_of_known_shapes(tmp_path: Path) -> None:
    rows = [
        {"question": "a", "answer": "He has 3 + 4 = 7 cows.\n#### 7"},
        {"question": "b", "answer": "So it is $\\boxed{\\frac{1}{2}}$."},
        {"question": "c", "answer": ["12"]},
        {"question": "d", "answer": 3},
    ]
    assert [each.answer for each in read_questions(written(tmp_path, lines(*rows))).problems] == [
        "7",
        "\\frac{1}{2}",
        "12",
        "3",
    ]


@pytest.mark.parametrize(
    ("written_gold", "answer"),
    [("6.02e23", r"6.02 \times 10^{23}"), ("1e23", "10^{23}"), ("-1e30", "-10^{30}"), ("1e6", "1,000,000")],
)
def test_a_gold_of_many_digits_keeps_its_value(tmp_path: Path, written_gold: str, answer: str) -> None:
    """The whole number that floating point has for 6.02e23 is 601999999999999995805696."""
    file = written(tmp_path, f'{{"question": "How many?", "answer": {written_gold}}}\n')
    for grader in ("math", "integer", "number"):
        gold = read_questions(file, grader=grader).problems[0].answer
        assert gold is not None
        assert find_grader(grader).right(gold, answer)


def test_a_row_without_a_level_takes_it_from_no_other(tmp_path: Path) -> None:
    levels: list[Any] = [3, None, "", float("nan"), "Level 5"]
    rows = [{"question": f"q{place}", "answer": 1, "level": level} for place, level in enumerate(levels)]
    found = read_questions(written(tmp_path, lines(*rows, {"question": "q", "answer": 1})))
    assert [each.level for each in found.problems] == [3, None, None, None, 5, None]
    assert len(found.remarks) == 1


def test_rows_are_chosen_shuffled_and_picked(tmp_path: Path) -> None:
    rows = [
        {"question": f"q{place}", "answer": place, "level": f"Level {place % 3}", "kind": "ab"[place % 2]}
        for place in range(30)
    ]
    file = written(tmp_path, lines(*rows))
    hard = read_questions(file, where={"level": ["2"], "kind": ["a"]})
    assert [int(str(each.answer)) for each in hard.problems] == [
        place for place in range(30) if place % 3 == 2 and place % 2 == 0
    ]
    assert hard.remarks[0].startswith("5 of 30 rows")
    either = read_questions(file, where={"level": ["1", "2"]})
    assert len(either.problems) == 20
    mixed = [read_questions(file, shuffle=seed, limit=10) for seed in (1, 1, 2)]
    assert seen(mixed[0]) == seen(mixed[1]) != seen(mixed[2])
    whole = read_questions(file, shuffle=1)
    assert seen(whole)[:10] == seen(mixed[0])
    assert seen(read_questions(file, shuffle=1, skip=10)) == seen(whole)[10:]
    with pytest.raises(InputError, match="--skip 30 leaves no row"):
        read_questions(file, skip=30)
    assert sorted(seen(whole)) == sorted(seen(read_questions(file)))
    assert mixed[0].pick(str(mixed[0].rows[3])) == mixed[0].problems[3]
    with pytest.raises(InputError, match=r"--where level=9 leaves no row of .*; there it is Level 0, Level 1, Level 2"):
        read_questions(file, where={"level": ["9"]})
    with pytest.raises(InputError, match="no such field; it has question, answer"):
        read_questions(file, where={"lvl": ["9"]})


def test_a_row_is_picked_by_number_or_id(tmp_path: Path) -> None:
    found = read_questions(written(tmp_path, lines(*ROWS)))
    assert found.pick("2") == found.pick("b") == found.problems[1]
    with pytest.raises(InputError, match="no row '4': give a number from 1 to 3, or the id of a row, such as a"):
        found.pick("4")


def test_levels_that_are_no_numbers_are_said(tmp_path: Path) -> None:
    found = read_questions(written(tmp_path, lines(*[row | {"level": "hard"} for row in ROWS])))
    assert {each.level for each in found.problems} == {None}
    assert found.remarks[1] == "'level' holds 'hard', no whole number, so there are no levels"


def test_the_grader_reads_each_gold_and_says_how_to_answer(tmp_path: Path) -> None:
    file = written(tmp_path, lines({"question": "A) 1 B) 2", "answer": "B"}, {"question": "A) 1 B) 2", "answer": "F"}))
    with pytest.raises(InputError, match="line 2: the gold “F” is not a letter from A to E"):
        read_questions(file, grader="choice")
    assert "letter" in str(
        read_questions(file, grader="choice", limit=1, where={"answer": ["B"]}).problems[0].instruction
    )


def test_golds_may_lack_where_nobody_grades(tmp_path: Path) -> None:
    file = written(tmp_path, lines({"question": "a"}, {"question": "b"}))
    assert seen(read_questions(file, golds=False)) == [("1", "a", None, None), ("2", "b", None, None)]


def test_a_source_that_is_not_there_names_the_ways_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give a file, a folder, MATH-500, AIME-2024"):
        read_questions(tmp_path / "nothing.jsonl")


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is absent")
@pytest.mark.parametrize(
    ("name", "count", "said"),
    [
        ("math500.jsonl", 500, "question = 'problem', answer = 'answer', id = 'unique_id', level = 'level'"),
        ("gsm8k_test.jsonl", 1319, "question = 'question', answer = 'answer'"),
        ("aime24.jsonl", 30, "question = 'question', answer = 'answer', id = 'id'"),
        ("aime25.jsonl", 30, "question = 'problem', answer = 'answer'"),
        ("svamp.json", 1000, "question = 'Body+Question', answer = 'Answer', id = 'ID'"),
    ],
)
def test_public_data_is_read_without_a_word_of_help(name: str, count: int, said: str) -> None:
    found = read_questions(SHARED / name)
    assert len(found.problems) == count
    assert said in found.remarks[0]
    right = find_grader("math").right
    golds = [str(problem.answer) for problem in found.problems]
    forgiven = {("5", "x=5"), ("x=5", "5")}
    for gold, neighbour in itertools.pairwise(golds):
        assert right(gold, gold)
        assert right(gold, neighbour) is (gold == neighbour or (gold, neighbour) in forgiven)
