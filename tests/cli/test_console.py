"""Consoles that cannot show every character, and readers of the output that go away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rollwise.cli.console import transliterate

CONSOLES = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "C": {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
ENCODINGS = {"C": "ascii"}
PRODUCT = "Use 3, 4, 5 to make 17 — 3 × 4 + 5"
SEARCH = ("solve", "--seed", "2", "--budget", "8")


def rollwise(console: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "rollwise", *arguments]
    return subprocess.run(
        command, input=stdin, capture_output=True, env=os.environ | CONSOLES.get(console, {}), timeout=300
    )


HELP = [("--help",), ("solve", "--help"), ("bench", "--help"), ("allocate", "--help"), ("simulate", "--help")]


@pytest.mark.parametrize(
    ("console", "arguments"),
    [
        *(("ascii", arguments) for arguments in [*HELP, ("world", "train", "--help")]),
        ("C", ("world", "problem", "--level", "1")),
        *((console, (*SEARCH, "--explain")) for console in CONSOLES),
    ],
)
def test_a_console_that_is_not_utf8_gets_similar_characters(console: str, arguments: tuple[str, ...]) -> None:
    run = rollwise(console, *arguments)
    assert (run.returncode, run.stderr) == (0, b"")
    text = run.stdout.decode(ENCODINGS.get(console, console))
    assert text.strip()
    if arguments[0] != "solve" or "--help" in arguments:
        return
    assert ("×" if console == "latin-1" else "x") in text
    assert " - " in text


@pytest.mark.parametrize("console", ["C"])
def test_errors_are_one_line_on_a_console_that_is_not_utf8(console: str) -> None:
    for arguments in (("solve", PRODUCT, "--level", "2"), ("solve", "What is 3 × 4?"), ("doctor", "http://κ:1")):
        run = rollwise(console, *arguments)
        assert run.returncode in (1, 2)
        assert b"Traceback" not in run.stderr + run.stdout
        assert (run.stderr + run.stdout).strip()


@pytest.mark.parametrize("console", ["ascii"])
def test_json_is_valid_and_complete_on_a_console_that_is_not_utf8(console: str) -> None:
    replies = []
    for name in (console, "utf-8"):
        run = rollwise(name, *SEARCH, "--json")
        assert run.returncode == 0, run.stderr
        reply = json.loads(run.stdout.decode(ENCODINGS.get(name, name)))
        reply["ledger"].pop("seconds")
        replies.append(reply)
    assert replies[0] == replies[1]
    assert "×" in json.dumps(replies[0], ensure_ascii=False)


@pytest.mark.parametrize("console", ["ascii"])
def test_a_bench_runs_and_reports_on_a_console_that_is_not_utf8(console: str, tmp_path: Path) -> None:
    arguments = ("bench", "--strategies", "temperature,rebase", "--budgets", "4", "--limit", "2", "--seeds", "1")
    run = rollwise(console, *arguments, "--out", str(tmp_path / "out"))
    assert run.returncode == 0, run.stderr
    assert b"Traceback" not in run.stderr
    report = rollwise(console, "bench", "--report", "--out", str(tmp_path / "out"), "--json")
    file = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert json.loads(report.stdout.decode(ENCODINGS.get(console, console))) == file


@pytest.mark.parametrize("console", CONSOLES)
def test_allocate_reads_utf8_whatever_the_console(console: str) -> None:
    request = {"strategy": "dora", "scores": [0.9, 0.9], "directions": ["3 × 4", "κ"], "width": 4}
    run = rollwise(console, "allocate", "-", stdin=json.dumps(request, ensure_ascii=False).encode())
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["counts"] == [2, 2]
    wrong = rollwise(console, "allocate", "-", stdin='{"strategy": "κ−×", "scores": [1]}'.encode())
    assert (wrong.returncode, wrong.stderr.count(b"\n")) == (2, 1)
    assert b"kappa" in wrong.stderr or console not in ("ascii", "C")


@pytest.mark.parametrize(
    "arguments",
    [("solve", "--help"), ("--version",), SEARCH, (*SEARCH, "--json"), ("world", "problem", "--count", "9")],
)
def test_a_reader_that_goes_away_ends_the_command_quietly(arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run([sys.executable, "-m", "rollwise", *arguments], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (run.returncode, run.stderr) == (1, b"")


def test_without_a_standard_output_a_command_does_its_work() -> None:
    run = subprocess.run(f"'{sys.executable}' -m rollwise --version >&-", shell=True, stderr=subprocess.PIPE)
    assert (run.returncode, run.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_reported_in_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        run = subprocess.run([sys.executable, "-m", "rollwise", "--version"], stdout=full, stderr=subprocess.PIPE)
    assert (run.returncode, run.stderr.count(b"\n")) == (2, 1)
    assert b"No space left" in run.stderr


@pytest.mark.parametrize(
    ("character", "text"),
    [
        *[("×", "x"), ("−", "-"), ("·", "."), ("…", "..."), ("κ", "kappa"), ("Π", "Pi"), ("é", "e"), ("²", "2")],
        *[("½", "1/2"), ("“", "'"), ("̂", ""), ("漢", "?"), ("\udce9", "?"), ("＂", "?"), ("√", "sqrt"), ("÷", "/")],
    ],
)
def test_characters_become_similar_ascii(character: str, text: str) -> None:
    assert transliterate(character) == text
