"""Pilots on a world with known chances, from the command line to the files they write."""

import json
import re
import string
import tomllib
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import command
import httpx
import numpy as np
import pytest
from served import QUESTION, emulated

from rollwise.bench import Run, read_run
from rollwise.cli.pilot import pilot as pilot_command
from rollwise.pilot import (
    Answer,
    Findings,
    PilotOptions,
    Score,
    Words,
    decide,
    paired_gain,
    pilot_html,
    prepare,
    run_pilot,
)
from rollwise.pilot.cases import Case, turning_point
from rollwise.pilot.findings import Caution
from rollwise.pilot.stages import Meter
from rollwise.pilot.wording import LANGUAGES, catalogue
from rollwise.rewards import FAMILIES
from rollwise.search import Config
from rollwise.service import read_settings, running

GIVEN = ["pilot", "--world", "stories", "--policy", "demonstrator", "--directions", "state"]
GIVEN += [
    "--levels",
    "3,4",
    "--limit",
    "15",
    "--budget",
    "4",
    "--minutes",
    "600",
]  # so that no time decides what is planned


def pilot(out: Path, reward: str, *more: str) -> tuple[int, str, str]:
    ran = command.rollwise(*GIVEN, "--reward", reward, "--out", str(out), *more)
    return ran.returncode, ran.stdout, ran.stderr


def read(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "pilot.json").read_text(encoding="utf-8"))
    return found


def plain_runs(out: Path) -> list[Run]:
    """The benches of plain sampling on the compared questions."""
    return [read_run(out / name) for name in ("compare/plain", "compare/equal") if (out / name).is_dir()]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pilot with a reward that knows nearly everything."""
    out = tmp_path_factory.mktemp("good") / "pilot"
    status, told, errors = pilot(out, "worth(0.2,1)")
    assert status == 0, errors
    assert told.startswith("Introduce it.")
    assert "this pilot takes about" in errors
    return out


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pilot with a reward that is noise, and with the model itself in the place of a larger one."""
    out = tmp_path_factory.mktemp("noise") / "pilot"
    status, told, errors = pilot(out, "dial(99,0)", "--policy-larger", "demonstrator")
    assert status == 0, errors
    assert told.startswith("Do not introduce it")
    return out


def test_the_gain_is_that_of_the_stored_results(good: Path) -> None:
    found, plan = read(good), json.loads((good / "plan.json").read_text(encoding="utf-8"))["plan"]
    settings = read_run(good / "compare/settings")
    plain = [each for run in plain_runs(good) for each in run.results]
    chosen = Score(**found["chosen"]).variant
    ours = {each.problem: each.outcome.right for each in settings.results if each.cell.label == chosen}
    theirs = {each.problem: each.outcome.right for each in plain if each.cell.budget == found["equal"]}
    assert set(ours) == set(theirs) == set(plan["compare"])
    assert found["decision"]["gain"]["mean"] == pytest.approx(np.mean([ours[one] - theirs[one] for one in ours]))
    assert found["decision"]["answer"] == Answer.INTRODUCE
    tuned = {each.problem for each in read_run(good / "tune/settings").results}
    assert not tuned & set(ours)


def test_plain_sampling_costs_as_much_and_uses_the_model_alone(good: Path) -> None:
    found = read(good)
    chosen = next(arm for arm in found["arms"] if arm["label"] == Score(**found["chosen"]).variant)
    plain = next(arm for arm in found["arms"] if arm["gain"] is None and arm["budget"] == found["equal"])
    assert plain["cost"] >= 0.95 * chosen["cost"]
    for each in [each for run in plain_runs(good) for each in run.results]:
        usage = each.outcome.usage
        assert not usage["reward"].generated + usage["reward"].prefilled


def test_the_same_command_changes_nothing(good: Path) -> None:
    before = read(good)
    status, told, _ = pilot(good, "worth(0.2,1)", "--json")
    assert status == 0
    assert json.loads(told) == read(good) == before


def test_other_options_need_another_folder(good: Path) -> None:
    status, _, errors = pilot(good, "worth(0.9,1)")
    assert status == 2
    assert "reward was worth(0.2,1) and is worth(0.9,1); go on as it was, or give another --out" in errors


def test_an_interrupted_pilot_goes_on(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = Meter.spend, 100

    def interrupted(meter: Meter, outcome: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        real(meter, outcome)

    monkeypatch.setattr(Meter, "spend", interrupted)
    status, _, errors = pilot(tmp_path / "pilot", "worth(0.2,1)")
    assert status == 130
    assert "the same command goes on" in errors
    monkeypatch.undo()
    status, _, errors = pilot(tmp_path / "pilot", "worth(0.2,1)")
    assert status == 0, errors
    ours, whole = read(tmp_path / "pilot"), read(good)
    assert ours["decision"] == whole["decision"]
    assert ours["arms"] == whole["arms"]


def test_a_dry_run_measures_and_stops(tmp_path: Path) -> None:
    status, told, errors = pilot(tmp_path / "pilot", "worth(0.2,1)", "--dry-run")
    assert (status, told) == (0, "")
    assert "tokens, measured on a few questions" in errors
    assert "nothing was kept" in errors
    assert not (tmp_path / "pilot").exists()


def test_a_dry_run_does_not_stand_in_the_way_of_another(tmp_path: Path) -> None:
    for reward, minutes in [("worth(0.2,1)", "2"), ("worth(0.2,1)", "3"), ("worth(0.9,1)", "2")]:
        status, _, errors = pilot(tmp_path / "pilot", reward, "--minutes", minutes, "--dry-run")
        assert status == 0, errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pilot"], "give a file of questions with their answers, or a world"),
        (["pilot", "questions.jsonl"], "--policy: give the URL"),
        (["pilot", "questions.jsonl", "--world", "stories"], "brings its own questions"),
        (["pilot", "--world", "stories", "--value", "3"], "--value is an amount of money"),
        (["pilot", "--world", "stories", "--prices-larger", "p.toml"], "--prices-larger is for --policy-larger"),
        (["pilot", "--world", "stories", "--budget", "1"], "budget"),
    ],
)
def test_what_does_not_fit_is_one_line(arguments: list[str], message: str) -> None:
    ran = command.rollwise(*arguments)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_the_examples_of_the_help_name_rewards_that_exist() -> None:
    named = re.findall(r"(\w+)@http", pilot_command.__doc__ or "")
    assert named
    assert set(named) <= set(FAMILIES)


def test_too_little_time_says_what_is_needed(tmp_path: Path) -> None:
    ran = command.rollwise(*GIVEN, "--reward", "worth(0.2,1)", "--tokens", "500", "--out", str(tmp_path / "pilot"))
    assert ran.returncode == 2
    assert "the smallest pilot, with 17 questions, takes about" in ran.stderr


def test_noise_is_advised_against(noise: Path) -> None:
    found = read(noise)
    assert found["decision"]["answer"] != Answer.INTRODUCE
    assert "reward_blind" in [caution["name"] for caution in found["cautions"]]


def test_the_model_itself_is_no_better_than_the_model(noise: Path) -> None:
    larger = read(noise)["larger"]
    assert [arm["budget"] for arm in larger["arms"]] == [1, 4]
    assert larger["decision"]["answer"] != Answer.INTRODUCE


@pytest.mark.parametrize("folder", ["good", "noise"])
def test_the_service_s_configuration_makes_searches(folder: str, request: pytest.FixtureRequest) -> None:
    out: Path = request.getfixturevalue(folder)
    told = tomllib.loads((out / "serve.toml").read_text(encoding="utf-8"))
    route = told["routes"]["pilot"]
    rules = [{name: value for name, value in rule.items() if name != "name"} for rule in route["rules"]]
    configs = [Config.of(policy=route["policy"], world=route["world"], **rule) for rule in rules]
    assert configs[0].strategy == "temperature"
    assert len(configs) == (2 if folder == "good" else 1)
    assert ("gate" in route) == (folder == "good")
    # without a share the shadow stage would never search, and compare nothing if only the candidate reads directions
    assert route.get("shadow") == ({"share": 0.1} if folder == "good" else None)
    golden = [json.loads(line) for line in (out / "golden.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["id"] for row in golden} == set(read(out)["plan"]["compare"])
    assert all(row["question"] and row["answer"] for row in golden)


def test_the_service_starts_with_it_and_lets_the_candidate_through_its_gate(good: Path) -> None:
    golden = json.loads((good / "golden.jsonl").read_text(encoding="utf-8").splitlines()[0])
    with running(read_settings({"config": good / "serve.toml", "port": 0})) as url:
        body = {"model": "pilot", "messages": [{"role": "user", "content": golden["question"]}]}
        reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=300).json()
    assert reply["rollwise"]["route_rule"] == "plain"
    moved = command.rollwise("rollout", "advance", str(good / "serve.toml"), "pilot")
    assert moved.returncode == 0, moved.stderr
    assert "plain answers; candidate shadow" in moved.stdout


def test_the_service_starts_without_a_candidate_if_nothing_is_to_be_introduced(noise: Path) -> None:
    told = command.rollwise("rollout", "status", str(noise / "serve.toml"))
    assert told.returncode == 0, told.stderr
    assert "plain answers; no candidate" in told.stdout


# What people read


@pytest.fixture(scope="module")
def options(good: Path) -> PilotOptions:
    """The options of the good pilot."""
    return PilotOptions(
        world="stories",
        policy="demonstrator",
        reward="worth(0.2,1)",
        directions="state",
        levels=(3, 4),
        limit=15,
        budget=4,
        minutes=600.0,
        out=good,
    )


@pytest.fixture(scope="module")
def findings(options: PilotOptions) -> Findings:
    """The findings of the good pilot, whose results are all there."""
    return run_pilot(options, prepare(options, lambda *told: None), lambda *told: None)


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def text_of(page: str) -> str:
    return unescape(re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))


def test_the_page_loads_nothing_and_says_what_was_found(
    findings: Findings, options: PilotOptions, language: str
) -> None:
    page = pilot_html(findings, options.model_copy(update={"language": language}))
    assert f'<html lang="{language}">' in page
    assert not re.findall(r"<(?:script|link|img|iframe)|url\(|@import", page)
    assert not re.findall(r'(?:src|href)="', page)
    words = Words(language)
    lead, sentences = words.verdict(findings)
    for sentence in (lead, *sentences, *words.money(findings, None)):
        assert sentence in text_of(page)
    assert "{" not in text_of(page).replace("{answer}", "")


def test_texts_of_questions_cannot_break_out_of_the_page(findings: Findings, options: PilotOptions) -> None:
    bad = Case("<script>alert(1)</script>", "<b>", None, "</article>", "raised", {})
    page = pilot_html(replace(findings, helped=(bad,)), options)
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.parametrize(
    ("won", "lost", "equal", "cautions", "name"),
    [
        (30, 2, 60, (), "introduce"),
        (2, 30, 60, (), "harm"),
        (9, 9, 5000, (), "no_gain"),
        (9, 6, 60, (), "undecided"),
        (9, 6, 60, (Caution("reward_blind", {}),), "blind"),
        (3, 0, 0, (), "undecided"),
    ],
)
def test_every_advice_has_its_words(
    findings: Findings, language: str, won: int, lost: int, equal: int, cautions: tuple[Caution, ...], name: str
) -> None:
    gain = paired_gain(np.array([1] * won + [-1] * lost + [0] * equal))
    told = replace(findings, decision=decide(gain), cautions=cautions)
    lead, sentences = Words(language).verdict(told)
    assert lead == catalogue(language)["verdict"][name]
    assert len(sentences) >= 3
    needs = any("問の比較が必要" in each or "questions in all" in each for each in sentences)
    assert needs == (name == "undecided")


def test_both_languages_say_the_same_things() -> None:
    english, japanese = catalogue("en"), catalogue("ja")
    assert {name: set(section) for name, section in english.items()} == {
        name: set(section) for name, section in japanese.items()
    }

    def fields(text: str) -> set[str]:
        return {field for _, field, spec, _ in string.Formatter().parse(text) if field and "|" not in (spec or "")}

    for section, sentences in english.items():
        for name, text in sentences.items():
            assert fields(text) == fields(japanese[section][name]), f"{section}.{name}"


def test_the_page_says_how_often_the_rule_was_measured_to_be_wrong(language: str) -> None:
    table = (Path(__file__).parents[2] / "docs/results/pilot.md").read_text(encoding="utf-8")
    wrong = [float(share) for share in re.findall(r"^\|[^|]+\| *\d+ \| (\d+\.\d) \(", table, re.MULTILINE)]
    assert len(wrong) == 13
    told = catalogue(language)["page"]["how_rule"]
    assert re.findall(r"2\.\d ?%", told.replace(" ", "")) == ["2.5%", f"{max(wrong)}%"]


def test_the_page_says_that_the_gate_stands_before_the_canary(language: str) -> None:
    told = catalogue(language)["page"]["next_introduce_2"]
    assert {"en": "the one to canary included", "ja": "カナリアへ進むときから"}[language] in told


def test_the_turning_point_is_the_largest_share_that_led_there() -> None:
    events = [
        {"event": "allocated", "round": 1, "width": 4, "paths": ["0", "1"], "rewards": [0.2, 0.9], "counts": [1, 3]},
        {
            "event": "allocated",
            "round": 2,
            "width": 4,
            "paths": ["0.0", "1.0"],
            "rewards": [0.1, 0.5],
            "counts": [2, 1],
        },
        {"event": "finished", "path": "0.0.0", "right": True},
        {"event": "finished", "path": "1.0.0", "right": False},
    ]
    assert turning_point(events, right=True) == {
        "path": "0.0",
        "step": 2,
        "count": 2,
        "width": 4,
        "rank": 2,
        "paths": 2,
    }
    assert turning_point(events, right=False) == {"path": "1", "step": 1, "count": 3, "width": 4, "rank": 1, "paths": 2}
    assert turning_point([], right=True) == {}


# A file of questions and a server


def test_a_pilot_asks_the_questions_of_a_file(tmp_path: Path) -> None:
    rows = [{"question": f"{QUESTION} ({place})", "gold": "24" if place % 2 else "20"} for place in range(17)]
    file, out = tmp_path / "q.jsonl", tmp_path / "pilot"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with emulated("vllm") as server:
        given = ["pilot", str(file), "--policy", server.url, "--directions", "text", "--budget", "4"]
        ran = command.rollwise(*given, "--tokens", "9999999", "--out", str(out), "--language", "ja")
        assert ran.returncode == 0, ran.stderr
        refused = command.rollwise(*given, "--tokens", "9999999", "--levels", "3", "--out", str(out))
    assert refused.returncode == 2
    found = read(out)
    assert found["decision"]["answer"] != Answer.INTRODUCE
    assert found["decision"]["gain"]["questions"] == 12
    assert {caution["name"] for caution in found["cautions"]} >= {"few_questions", "tokens"}
    golden = [json.loads(line) for line in (out / "golden.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(golden) == 12
    assert {row["answer"] for row in golden} <= {"20", "24"}
    assert '<html lang="ja">' in (out / "pilot.html").read_text(encoding="utf-8")
    assert tomllib.loads((out / "serve.toml").read_text(encoding="utf-8"))["routes"]["pilot"]["world"] == "text"
