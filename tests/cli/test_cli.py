"""The command line as a person or a script meets it."""

import json
import subprocess
import xml.etree.ElementTree as ElementTree
from importlib.metadata import version
from pathlib import Path

import pytest
from command import rollwise

QUESTION = "Use 3, 4, 5 to make 17"


def allocate(request: object) -> subprocess.CompletedProcess[str]:
    return rollwise("allocate", "-", stdin=request if isinstance(request, str) else json.dumps(request))


def test_the_version_is_the_package_s() -> None:
    run = rollwise("--version")
    assert (run.returncode, run.stdout) == (0, f"rollwise {version('rollwise')}\n")


def test_allocate_reads_and_writes_json(tmp_path: Path) -> None:
    similarity = [[1, 1, 1, 0.1], [1, 1, 1, 0.1], [1, 1, 1, 0.1], [0.1, 0.1, 0.1, 1]]
    request = {"strategy": "dora", "scores": [0.95] * 4, "similarity": similarity, "width": 12}
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request))
    reply = json.loads(rollwise("allocate", str(file)).stdout)
    assert reply["counts"] == [2, 2, 2, 6]
    assert reply["weights"] == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert reply["uniqueness"] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])
    assert reply["effective_directions"] == pytest.approx(2)


def test_allocate_allows_evidence_that_is_not_needed_and_embeddings() -> None:
    request = {"strategy": "rebase", "scores": [0.1, 0.9], "embeddings": [[1, 0], [0, 1]], "lineage": [0, 1]}
    reply = json.loads(allocate(request).stdout)
    assert sum(reply["counts"]) == 2
    assert reply["effective_directions"] == pytest.approx(2)
    assert json.loads(allocate({"strategy": "rebase", "scores": [0.1, 0.9]}).stdout)["uniqueness"] is None


def test_allocate_by_a_belief() -> None:
    request = {"strategy": "optimal", "scores": [0.6, 0.3, 0.05], "concentration": 4, "width": 12}
    reply = json.loads(allocate(request).stdout)
    assert reply["counts"] == [9, 3, 0]  # the last of them are worth 2.4 / 12 and 1.2 / 6, the next would be 2.4 / 13
    assert reply["uniqueness"] is None
    assert json.loads(allocate(request | {"concentration": [4, 4, 4.0]}).stdout) == reply
    spent = json.loads(allocate(request | {"spent": [9, 0, 0], "width": 3}).stdout)
    assert spent["counts"] == [0, 3, 0]
    shared = request | {
        "strategy": "optimal_directions",
        "directions": ["a", "a", "b"],
        "options": {"correlation": 0.5},
    }
    reply = json.loads(allocate(shared).stdout)
    assert sum(reply["counts"]) == 12
    assert reply["effective_directions"] == pytest.approx(2)


def test_allocate_systematic_follows_the_seed() -> None:
    request = {"strategy": "rebase", "scores": [0.5] * 7, "width": 3, "options": {"rounding": "systematic", "seed": 1}}
    first, again = allocate(request), allocate(request)
    assert first.stdout == again.stdout
    seeded = {allocate(request | {"options": {"rounding": "systematic", "seed": seed}}).stdout for seed in range(6)}
    assert len(seeded) > 1


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"scores": []}, "nothing to allocate"),
        ({"strategy": "rebase", "scores": [0.1], "width": -1}, "at least 0"),
        ('{"strategy": "rebase", "scores": [NaN]}', "NaN"),
        ('{"strategy": "rebase", "scores": [0.1, Infinity]}', "NaN"),
        ({"strategy": "rebase", "scores": [0.1], "options": {"beam_width": 4}}, "no option 'beam_width'"),
        ({"strategy": "rebase", "scores": [0.1], "options": {"rounding": "up"}}, "no rounding"),
        ({"strategy": "rebase", "scores": [0.1], "options": {"reward_temperature": "hot"}}, "reward_temperature"),
        ({"strategy": "rebase", "scores": [0.1], "color": "red"}, "color"),
        ({"strategy": "best", "scores": [0.1]}, "no strategy"),
        ({"strategy": "dora", "scores": [0.1, 0.2]}, "needs directions"),
        ({"strategy": "dvts", "scores": [0.1, 0.2]}, "needs the lineage"),
        ({"strategy": "dora", "scores": [0.1, 0.2], "directions": [1]}, "2 direction labels"),
        ({"strategy": "dora", "scores": [0.1, 0.2], "embeddings": [[1, 0], [1]]}, "rows of equal length"),
        ({"strategy": "dora", "scores": [0.1, 0.2], "embeddings": [[1, 0], [0, 0]]}, "all zeros"),
        ({"strategy": "dora", "scores": [0.1, 0.2], "similarity": [[1, 0]]}, "square"),
        ({"strategy": "dora", "scores": [0.1, 0.2], "similarity": [[1, 3], [3, 1]]}, "cosine"),
        ({"strategy": "dora", "scores": [0.1, 0.2], "similarity": [[1, 0.5], [0.1, 1]]}, "symmetric"),
        ({"strategy": "dora", "scores": [0.1], "directions": [1], "similarity": [[1]]}, "one of"),
        ({"strategy": "rebase", "scores": ["a"]}, "scores"),
        ({"strategy": "optimal", "scores": [0.1]}, "needs their concentration"),
        ({"strategy": "optimal", "scores": [1.1], "concentration": 4}, "calibrate"),
        ({"strategy": "optimal", "scores": [0.1, 0.2], "concentration": [4]}, "concentration for each"),
        ({"strategy": "optimal", "scores": [0.1], "concentration": 0}, "above 0"),
        ({"strategy": "optimal", "scores": [0.1], "concentration": 4, "spent": [-1]}, "spent.0"),
        ({"strategy": "optimal", "scores": [0.1], "concentration": 4, "spent": [1, 2]}, "spent for each"),
        ({"strategy": "optimal", "scores": [0.1], "concentration": 4, "options": {"correlation": 1}}, "no option"),
        ({"strategy": "optimal_directions", "scores": [0.1], "concentration": 4}, "needs directions"),
        ({"strategy": "rebase"}, "scores"),
        ([1, 2], "the request"),
        ({"strategy": "rebase", "scores": [10**400]}, "scores.0"),
        ("[" + "9" * 5000 + "]", "digits"),
        ({"strategy": "dvts", "scores": [0.1], "lineage": [10**30]}, "lineage.0"),
        ({"strategy": "beam", "scores": [0.1], "options": {"beam_width": 1e300}}, "at most 100,000,000"),
        ({"strategy": "beam", "scores": [0.1], "options": {"beam_width": 10**400}}, "takes a whole number"),
        ({"strategy": "rebase", "scores": [0.1], "options": {"reward_temperature": 10**400}}, "takes a number"),
        ({"strategy": "rebase", "scores": [0.1, 0.2], "width": 10**30}, "at most 100,000,000"),
        ({"strategy": "dora", "scores": [0.1, 0.2], "embeddings": [[10**400], [1]]}, "embeddings.0"),
        ("[" * 100_000, "not JSON"),
        ("{", "not JSON"),
    ],
)
def test_allocate_refuses_bad_input_in_one_line(request_: object, says: str) -> None:
    run = allocate(request_)
    assert run.returncode == 2
    assert says in run.stderr
    assert run.stderr.count("\n") == 1
    assert run.stdout == ""


def test_allocate_takes_numbers_that_are_large_but_can_be_worked_with() -> None:
    request = {"scores": [0.1, 0.9], "directions": [10**400, 1], "width": 10**8, "paths": [[10**30], [1]]}
    for options in ({}, {"reward_temperature": 10**300}, {"rounding": "divisor(0.5)"}):
        assert sum(json.loads(allocate(request | {"options": options}).stdout)["counts"]) == 10**8


def test_allocate_names_a_missing_file() -> None:
    run = rollwise("allocate", "nowhere.json")
    assert run.returncode == 2
    assert "nowhere.json" in run.stderr


def test_solve_prints_rounds_directions_ledger_and_answer(tmp_path: Path) -> None:
    picture = tmp_path / "search.svg"
    run = rollwise("solve", QUESTION, "--budget", "16", "--explain", "--draw", str(picture))
    assert run.returncode == 0, run.stderr
    for part in ("step  1:", "where the rollouts went", "ledger", "policy", "support", "rollouts to hand out"):
        assert part in run.stdout
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_solve_json_is_json_and_repeats() -> None:
    arguments = ("solve", "--level", "1", "--seed", "3", "--budget", "8", "--strategy", "rebase", "--json")
    first, again = (json.loads(rollwise(*arguments).stdout) for _ in range(2))
    for run in (first, again):
        assert run["ledger"].pop("seconds") > 0
    assert first == again
    assert first["finished"] == 8


def test_solve_says_so_when_a_question_has_no_solution() -> None:
    run = rollwise("solve", "Use 1, 1, 1 to make 250", "--budget", "8")
    assert run.returncode == 0
    assert "no path verified" in run.stdout or "no path reached an answer" in run.stdout
    reply = json.loads(rollwise("solve", "Use 1, 1, 1 to make 250", "--budget", "8", "--json").stdout)
    assert reply["answer"] is None
    assert reply["right"] is False


def test_solve_runs_your_own_allocator(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy as np\n\ndef best(candidates, width):\n"
        "    counts = np.zeros(len(candidates), dtype=int)\n"
        "    counts[np.argmax(candidates.rewards)] = width\n    return counts\n\n"
        "def greedy(candidates, width):\n    return np.zeros(len(candidates), dtype=int)\n\n"
        "def narrow(candidates):\n    return np.zeros(len(candidates), dtype=int)\n"
    )
    reply = rollwise("solve", QUESTION, "--budget", "4", "--strategy", f"{file}:best", "--json")
    assert json.loads(reply.stdout)["finished"] == 4
    broken = rollwise("solve", QUESTION, "--budget", "4", "--strategy", f"{file}:greedy")
    assert broken.returncode == 2
    assert "handed out 0 rollouts of" in broken.stderr
    idle = rollwise("solve", QUESTION, "--strategy", f"{file}:best", "--option", "foo=1")
    assert (idle.returncode, idle.stderr.count("\n")) == (2, 1)
    assert "strategy 'best' has no option 'foo'" in idle.stderr
    narrow = rollwise("solve", QUESTION, "--strategy", f"{file}:narrow")
    assert (narrow.returncode, narrow.stderr.count("\n")) == (2, 1)
    assert "has to take (candidates, width)" in narrow.stderr
    missing = rollwise("solve", QUESTION, "--strategy", f"{file}:absent")
    assert missing.returncode == 2
    assert "absent" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["What is 2 + 2?"], "Use 18, 1, 13, 22, 7 to make 132"),
        ([QUESTION, "--strategy", "best"], "no strategy"),
        ([QUESTION, "--budget", "0"], "budget"),
        ([QUESTION, "--temperature", "-1"], "temperature"),
        ([QUESTION, "--vote", "loudest"], "no vote"),
        ([QUESTION, "--aggregate", "median"], "no step aggregate"),
        ([QUESTION, "--option", "beam_width"], "name=value"),
        ([QUESTION, "--option", "beam_width=4"], "no option 'beam_width'"),
        ([QUESTION, "--reward", "gold"], "no reward"),
        ([QUESTION, "--directions", "north"], "no direction finder"),
        ([QUESTION, "--strategy", "temperature", "--directions", "north"], "no direction finder"),
        ([QUESTION, "--strategy", "rebase", "--directions", "state"], "--directions state: this strategy reads no"),
        ([QUESTION, "--level", "99"], "--level is for a question that is drawn"),
        (
            [QUESTION, "--policy", "gold"],
            "give trained, small, large, gsm8k, gsm8k-early, hf:owner/name, or the folder of a model",
        ),
        (["--level", "9"], "levels 1 to 5"),
        ([QUESTION, "--draw", "nowhere/a.svg"], "does not exist"),
        ([QUESTION, "--draw", "."], "--draw: . is a folder"),
        ([QUESTION, "--temperature", "inf"], "temperature"),
        ([QUESTION, "--policy", ""], "policy: give a name"),
    ],
)
def test_solve_refuses_bad_input_in_one_line(arguments: list[str], says: str) -> None:
    run = rollwise("solve", *arguments)
    assert run.returncode == 2
    assert says in run.stderr
    assert run.stderr.count("\n") == 1


def test_solve_takes_an_infinite_reward_temperature_as_uniform() -> None:
    shared = ("solve", QUESTION, "--budget", "4", "--strategy", "rebase", "--reward", "dial(0)", "--explain", "--json")
    reply = json.loads(rollwise(*shared, "--option", "reward_temperature=Infinity").stdout)
    assert reply["finished"] == 4
    assert sum(band["share"] for band in reply["rounds"][0]) == pytest.approx(1)
    assert all(band["share"] == pytest.approx(band["paths"] / 4) for band in reply["rounds"][0])


def test_an_interrupt_is_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def stop(candidates, width):\n    raise KeyboardInterrupt\n")
    run = rollwise("solve", QUESTION, "--budget", "4", "--strategy", f"{file}:stop")
    assert (run.returncode, run.stderr) == (130, "rollwise: interrupted\n")


def test_a_file_is_no_folder_to_train_into(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    for out in ("taken", "taken/below"):
        run = rollwise("world", "train", "--steps", "1", "--out", str(tmp_path / out))
        assert (run.returncode, run.stderr) == (2, f"rollwise: --out: {tmp_path / 'taken'} is a file; give a folder\n")


@pytest.mark.parametrize("steps", ["0", "-5"])
def test_training_takes_at_least_one_step(tmp_path: Path, steps: str) -> None:
    run = rollwise("world", "train", "--steps", steps, "--out", str(tmp_path / "out"))
    assert run.returncode == 2
    assert run.stderr == "rollwise: steps: Input should be greater than or equal to 1\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [[], ["solve"], ["allocate"], ["world"], ["world", "train"], ["world", "evaluate"]])
def test_help_teaches(command: list[str]) -> None:
    run = rollwise(*command, "--help")
    assert run.returncode == 0
    assert "Usage" in run.stdout


STORIES = ("solve", "--world", "stories", "--level", "4", "--seed", "3", "--budget", "16")
DEMONSTRATED = (*STORIES, "--policy", "demonstrator", "--reward", "dial(0.3,1)", "--directions", "state")


def test_solve_votes_on_stories_told_by_the_demonstrator() -> None:
    run = rollwise(*DEMONSTRATED, "--explain")
    assert run.returncode == 0, run.stderr
    for part in ("How many has", "rollouts to hand out", "step by step", "of the vote's weight", "paths finished"):
        assert part in run.stdout
    assert max(map(len, run.stdout.splitlines())) <= 80
    reply = json.loads(rollwise(*DEMONSTRATED, "--json").stdout)
    assert reply["vote"] == "weighted_majority"
    assert reply["answer"].isdigit()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([*DEMONSTRATED, "--vote", "verified"], "cannot be checked at test time"),
        ([*DEMONSTRATED, "--directions", "hidden"], "state or minilm"),
        ([*DEMONSTRATED[:-4], "--reward", "gold"], "dial(SIZE,SHARED)"),
        (["solve", QUESTION, "--policy", "demonstrator"], "has no demonstrator"),
    ],
)
def test_stories_refuse_in_one_line(arguments: list[str], says: str) -> None:
    run = rollwise(*arguments)
    assert run.returncode == 2
    assert says in run.stderr
    assert run.stderr.count("\n") == 1


def test_world_problem_prints_questions() -> None:
    run = rollwise("world", "problem", "--level", "1", "--count", "3")
    assert len(run.stdout.splitlines()) == 3
    assert all(line.startswith("Use ") for line in run.stdout.splitlines())
