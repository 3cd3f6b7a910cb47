"""Recorded votes against a count in plain Python, and against the votes that searches hold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from rollwise.answers import VOTES, find_stop_rule
from rollwise.cli import build_app
from rollwise.errors import InputError
from rollwise.replay import Recorded, orders_of, play, read_recorded, standings, summarise_votes

SHARED = Path(__file__).parents[3] / "shared" / "data" / "recorded_votes"
quick = settings(max_examples=60, deadline=None)


@quick
@given(st.lists(st.lists(st.integers(-1, 3), min_size=12, max_size=12), min_size=1, max_size=4))
def test_standings_are_the_counts_after_each_answer(votes: list[list[int]]) -> None:
    labels = np.array(votes)
    standing, leaders = standings(labels)
    for row, cast in enumerate(votes):
        for seen in range(1, 13):
            so_far = cast[:seen]
            counts = [*(count for _, count in Counter(label for label in so_far if label >= 0).most_common()), 0, 0]
            winner = VOTES["majority"](np.array(so_far), np.ones(seen)).label
            at = row, seen - 1
            assert [int(np.asarray(part)[at]) for part in (standing.leader, standing.runner_up)] == counts[:2]
            assert int(leaders[at]) == (-1 if winner is None else winner)
            run = next((back for back in range(seen) if so_far[-1 - back] != so_far[-1]), seen)
            assert int(np.asarray(standing.streak)[at]) == (run if so_far[-1] >= 0 else 0)


def slow_replay(answers: Sequence[str | None], rule: str, order: Sequence[int]) -> tuple[int, str | None]:
    """How many answers a rule reads, and the winner, one answer at a time."""
    cast: list[str] = []
    for seen, place in enumerate(order, start=1):
        if answers[place] is not None:
            cast.append(str(answers[place]))
        first, second = [*(count for _, count in Counter(cast).most_common(2)), 0, 0][:2]
        kind = rule.split("(")[0]
        ends = {
            "lossless": first - second > len(order) - seen,
            "first": seen >= 5,
            "likely": first > second and sum(_binomial(first + second + 1, k) for k in range(second + 1)) <= 0.1,
        }
        if ends[kind] or (kind == "likely" and ends["lossless"]):
            break
    top = max(Counter(cast).values(), default=0)
    tied = [answer for answer in dict.fromkeys(cast) if Counter(cast)[answer] == top]
    return seen, tied[0] if tied else None


def _binomial(n: int, k: int) -> float:
    from math import comb

    return comb(n, k) / 2**n


@quick
@given(st.lists(st.sampled_from(["3", "5", "7", None]), min_size=1, max_size=14), st.integers(0, 99))
def test_play_is_what_reading_one_answer_at_a_time_gives(answers: list[str | None], seed: int) -> None:
    names = ["lossless", "likely(0.9)", "first(5)"]
    tokens = tuple(10 + place for place in range(len(answers)))
    question = Recorded(tuple(answers), tokens, gold="5")
    orders = orders_of(question, 4, seed)
    played = play(question, [find_stop_rule(name) for name in names], orders)
    for index, name in enumerate(names):
        slow = [slow_replay(answers, name, order.tolist()) for order in orders]
        assert played.samples[index] == pytest.approx(np.mean([seen for seen, _ in slow]))
        assert played.right[index] == pytest.approx(np.mean([winner == "5" for _, winner in slow]))
        spent = [sum(tokens[place] for place in order[:seen]) for order, (seen, _) in zip(orders, slow, strict=True)]
        assert played.tokens[index] == pytest.approx(np.mean(spent))
    assert played.agreement[0] == 1  # lossless
    assert played.spent == sum(tokens)


def test_answers_are_grouped_by_mathematics_or_by_text() -> None:
    question = Recorded(("1/2", "0.5", "7", "7", "\\frac12"), gold="1/2")
    never = [find_stop_rule("never")]
    orders = np.arange(5)[None]
    assert play(question, never, orders).full_right == 1
    assert play(question, never, orders, "text").full_right == 0
    assert play(question, never, orders).single == pytest.approx(3 / 5)


def test_weights_add_the_votes_that_read_them() -> None:
    question = Recorded(("3", "3", "4"), gold="4", weights=(0.1, 0.2, 0.9))
    played = play(question, [find_stop_rule("never")], np.arange(3)[None])
    assert played.votes == {"majority": 0, "weighted_majority": 1, "best_of_n": 1}


def test_savings_are_ratios_of_sums_and_the_mean_of_ratios_is_told_apart() -> None:
    easy, hard = Recorded(("1",) * 20, (1,) * 20, "1"), Recorded(("1", "2") * 10, (3,) * 20, "1")
    rules = [find_stop_rule("likely(0.95)")]
    played = [play(each, rules, np.arange(20)[None]) for each in (easy, hard)]
    row = summarise_votes(played, rules).rules[0]
    assert row.samples_saved == pytest.approx(40 / (4 + 20))
    assert row.tokens_saved == pytest.approx(80 / (4 + 60))
    assert row.samples_saved_by_question == pytest.approx((20 / 4 + 1) / 2)
    assert (row.tokens_saved or 0.0) == pytest.approx(80 / (4 + 60))
    assert row.accuracy == 1


def test_questions_without_gold_or_tokens_count_where_they_can() -> None:
    rules = [find_stop_rule("lossless")]
    known, unknown = Recorded(("1", "2", "2"), None, "2"), Recorded(("1",) * 3)
    replay = summarise_votes([play(each, rules, np.arange(3)[None]) for each in (known, unknown)], rules)
    assert (replay.questions, replay.graded, replay.tokens, replay.accuracy) == (2, 1, None, 1)
    row = replay.rules[0]
    assert (row.tokens_saved, row.accuracy, row.agreement) == (None, 1, 1)
    nothing = summarise_votes([play(unknown, rules, np.arange(3)[None])], rules)
    assert (nothing.accuracy, nothing.coverage, nothing.rules[0].accuracy, nothing.votes) == (None, None, None, {})


def test_both_forms_of_a_line_are_read() -> None:
    recorded = read_recorded({"all_answers": [["12", 30], ["", 5], [7, 1]], "gold_answer": "12", "problem_num": 3})
    assert recorded == Recorded(("12", None, "7"), (30, 5, 1), "12")
    simple = read_recorded({"answers": [12, None], "gold": 12, "weights": [1, 0.5]})
    assert simple == Recorded(("12", None), None, "12", (1.0, 0.5))
    assert read_recorded({"answers": ["12"], "gold": None, "gold_answer": 0}).gold == "0"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, 'neither "answers" nor "all_answers"'),
        ({"answers": []}, "at least one entry"),
        ({"answers": "12"}, "at least one entry"),
        ({"answers": [["12"]]}, "answer 1 is"),
        ({"answers": [True]}, "answer 1 is"),
        ({"answers": ["1"], "gold": {}}, "the gold answer is"),
        ({"answers": ["1"], "tokens": [1, 2]}, 'there are 1 answers, but 2 "tokens"'),
        ({"answers": ["1"], "tokens": [-1]}, "the tokens of answer 1"),
        ({"answers": ["1"], "tokens": [1.5]}, "the tokens of answer 1"),
        ({"answers": ["1"], "weights": [-0.5]}, "the weight of answer 1"),
        ({"answers": ["1"], "weights": [1e308]}, "the weight of answer 1"),
        ({"all_answers": [["1", 2, 3]]}, r"list of \[answer, tokens\]"),
        ({"all_answers": [["1", None]]}, "the tokens of answer 1"),
        ({"all_answers": 7}, "at least one entry"),
    ],
)
def test_what_cannot_be_read_is_said(record: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_recorded(record)


def invoke(*words: str, lines: str | None = None) -> str:
    result = CliRunner().invoke(build_app(), ["replay", *words], input=lines)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_the_folder_of_a_bench_is_sent_to_the_other_command(tmp_path: Path) -> None:
    result = CliRunner().invoke(build_app(), ["replay", "votes", str(tmp_path)])
    assert isinstance(result.exception, InputError)
    assert f"is a folder: give a file of recorded answers; the folder of a bench is for rollwise replay {tmp_path}" in (
        str(result.exception)
    )


def test_the_command_prints_tables_and_json(tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    file.write_text('{"answers": ["1", "1", "1", "1", "1", "1", "2", "1"], "tokens": [1,1,1,1,1,1,1,1], "gold": 1}\n\n')
    found = json.loads(invoke("votes", str(file), str(file), "--json", "--rules", "lossless, likely, first(1)"))
    assert [row["rule"] for row in found["rules"]] == ["lossless", "likely(0.95)", "first(1)"]
    assert {"samples_saved", "tokens_saved", "agreement", "accuracy"} <= found["rules"][0].keys()
    assert found["rules"][0]["agreement"] == found["rules"][0]["accuracy"] == 1
    assert found["files"][0]["rules"][2]["samples_saved"] == 8
    shown = invoke("votes", str(file))
    assert "first(4)" in shown
    assert "first(16)" not in shown  # there are only 8 answers
    assert "majority 100.0%" in shown


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "- holds no question"),
        ("{}\n", "-: line 1: there is neither"),
        ("[", "line 1 is not"),
    ],
)
def test_the_command_names_the_file_and_the_line(lines: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        invoke("votes", "-", lines=lines)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded votes are not here")
@pytest.mark.parametrize(("file", "samples", "tokens"), [("aime2025_Qwen3-4B", 5, 3.5), ("math500_Qwen3-14B", 15, 10)])
def test_the_savings_on_real_models(file: str, samples: float, tokens: float) -> None:
    found = json.loads(
        invoke("votes", str(SHARED / f"{file}.jsonl"), "--json", "--rules", "likely,predictive,lossless")
    )
    likely, predictive, lossless = found["rules"]
    for row in (likely, predictive):
        assert row["samples_saved"] >= samples
        assert row["tokens_saved"] >= tokens
        assert row["agreement"] >= 0.999
    assert predictive["tokens_saved"] > likely["tokens_saved"]
    assert lossless["agreement"] == 1
