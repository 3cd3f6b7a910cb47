"""The figures of a route, each against a value worked out otherwise, and the bands of a service that starts again."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path as FilePath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import chat, serving, until

from rollwise.service import Route, Settings, Store, advance_route
from rollwise.service.drift import calibration_error, stability_index
from rollwise.service.indicators import Indicator, indicators, input_drift
from rollwise.service.metrics import Metrics
from rollwise.service.recent import golden, judged, questions, watch_of
from rollwise.service.records import Record, Signals, digest_of
from rollwise.service.settings import Alarms, Shadow
from rollwise.service.stages import Stage

RULES = ("temperature", "rebase")
ROUTE = Route(rules=RULES, alarms=Alarms(samples=4, reference=10))  # type: ignore[arg-type]
STAGE = Stage("game", "temperature", "rebase", "canary", 50.0)


def record(number: int, rule: str = "temperature", purpose: str = "answer", **fields: object) -> Record:
    signals = Signals(20, 3, 0, reward=0.5)
    plain = Record(
        id=f"s{number:04d}",
        began=f"2030-01-01T00:{number // 60:02d}:{number % 60:02d}",
        ended="2030-01-01T01:00:00",
        client="anybody",
        route="game",
        rule=rule,
        stage="canary",
        purpose=purpose,
        question=f"q{number}",
        strategy=rule,
        budget=8,
        seed=0,
        outcome="answered",
        config={"budget": 8},
        text=None,
        text_digest=digest_of(None),
        answer="1",
        spent=6,
        saved=2,
        rounds=2,
        seconds=1.0 + number,
        generated=100,
        money=1.0,
        signals=signals,
    )
    return replace(plain, **fields)  # type: ignore[arg-type]


def found(store: Store, route: Route = ROUTE) -> dict[tuple[str, str], Indicator]:
    return {(each.name, each.rule): each for each in indicators(store, "game", route, STAGE)}


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_the_calibration_error_is_the_sum_over_bins(pairs: list[tuple[float, bool]]) -> None:
    ordered = sorted(pairs, key=lambda pair: pair[0])
    rewards, rights = np.array([pair[0] for pair in ordered]), np.array([float(pair[1]) for pair in ordered])
    size, more = divmod(len(ordered), 5)
    at, expected = 0, 0.0
    for place in range(5):
        count = size + (place < more)
        if count:
            expected += abs(sum(rewards[at : at + count]) - sum(rights[at : at + count])) / len(ordered)
        at += count
    shuffled = np.random.default_rng(0).permutation(len(ordered)) if len(set(rewards)) == len(rewards) else slice(None)
    assert calibration_error(rewards[shuffled], rights[shuffled]) == pytest.approx(expected)


def test_perfect_rewards_have_no_calibration_error_and_reversed_ones_all_of_it() -> None:
    rights = np.array([0.0] * 8 + [1.0] * 12)
    assert calibration_error(rights, rights) == 0
    assert calibration_error(1 - rights, rights) == 1


def test_the_stability_index_by_hand() -> None:
    before, after = np.array([0.0] * 6 + [1.0] * 4), np.array([0.0] * 2 + [1.0] * 8)
    p, q = np.array([6.5, 4.5, 0.5]) / 11.5, np.array([2.5, 8.5, 0.5]) / 11.5
    assert stability_index(before, after) == pytest.approx(float(((q - p) * np.log(q / p)).sum()))
    same = np.random.default_rng(0).normal(size=(2, 2000))
    assert stability_index(same[0], same[1]) < 0.02
    assert stability_index(same[0], same[1] + 1) > 0.5


def test_the_figures_of_a_rule(tmp_path: FilePath) -> None:
    store = Store(tmp_path / "store.db")
    store.record([record(number, outcome="failed" if number % 4 == 3 else "answered") for number in range(8)])
    store.record([record(20 + number, "rebase", "shadow", agrees=number > 0, seconds=2.0) for number in range(4)])
    store.record([record(30, outcome="cancelled", seconds=900.0)])
    for number, right in ((0, False), (0, True), (1, True), (2, False), (4, True)):
        store.feed_back(f"s{number:04d}", "anybody", right, None)
    shown = found(store)
    errors = shown["errors", "temperature"]
    assert (errors.value, errors.samples, errors.alarm) == (0.25, 8, True)
    assert errors.low < 0.25 < errors.high  # type: ignore[operator]
    seconds = [1.0 + number for number in range(8) if number % 4 != 3]
    assert shown["seconds_95", "temperature"].value == pytest.approx(np.quantile(seconds, 0.95))
    assert shown["tokens", "temperature"].value == 100
    assert shown["saved", "temperature"].value == 0.25
    assert (shown["agreement", "rebase"].value, shown["agreement", "rebase"].samples) == (0.75, 4)
    accuracy = shown["feedback_accuracy", "temperature"]
    assert (accuracy.value, accuracy.samples, accuracy.alarm) == (0.75, 4, False)
    assert [seen.right for seen in judged(store, "game", "temperature", 2)] == [False, True]


def test_a_figure_of_too_few_searches_is_no_alarm(tmp_path: FilePath) -> None:
    few = Indicator("errors", "x", 1.0, 0.05, True, 3, 4)
    assert not few.alarm
    assert replace(few, samples=4).alarm
    assert not replace(few, samples=4, bound=None).alarm
    assert replace(few, samples=4, most=False, value=0.01).alarm


def test_the_return_is_the_ratio_of_money_for_a_right_answer(tmp_path: FilePath) -> None:
    store = Store(tmp_path / "store.db")
    for rule, cost, rights in (("temperature", 1.0, 1), ("rebase", 4.0, 3)):
        shift = 0 if rule == "temperature" else 10
        searches = [
            replace(record(shift + number, rule, "golden", right=number < rights, money=cost), question=f"q{number}")
            for number in range(4)
        ]
        store.record(searches)
    shown = found(store)
    back = shown["return", "rebase"]
    assert back.value == pytest.approx((4 / 1) / (16 / 3))
    assert (back.samples, back.alarm) == (4, False)
    assert ("return", "temperature") not in shown
    assert shown["golden_accuracy", "rebase"].value == 0.75
    priceless = Store(tmp_path / "other.db")
    priceless.record([record(number, "rebase", "golden", right=True, money=0.0) for number in range(4)])
    assert found(priceless)["return", "rebase"].value is None


def test_golden_searches_of_an_older_config_do_not_count(tmp_path: FilePath) -> None:
    store = Store(tmp_path / "store.db")
    store.record([record(1, purpose="golden", right=True, config={"budget": 4})])
    store.record([record(2, purpose="golden", right=False)])
    assert [seen.id for seen in golden(store, "game", "temperature", 10)] == ["s0002"]


def test_calibration_and_input_are_compared_with_the_first_searches(tmp_path: FilePath) -> None:
    store = Store(tmp_path / "store.db")
    for number in range(30):
        late = number >= 15
        signals = Signals(200 if late else 20 + number % 3, 3, 0, reward=0.9)
        store.record([record(number, signals=signals)])
        store.feed_back(f"s{number:04d}", "anybody", not late or number % 5 == 0, None)
    shown = found(store)
    assert shown["calibration_error", "temperature"].value == pytest.approx(0.7)
    drift = shown["calibration_drift", "temperature"]
    assert drift.value == pytest.approx(0.7 - 0.1)
    assert (drift.samples, drift.alarm) == (10, True)
    first, last = questions(store, "game", 10)
    assert ([row[0] for row in first[:3]], {row[0] for row in last}) == ([20, 21, 22], {200})
    assert shown["drift_characters", ""].alarm
    assert not shown["drift_numbers", ""].alarm
    assert input_drift([], [], ROUTE.alarms) == []
    metrics = Metrics()
    metrics.show("game", list(shown.values()))
    text = metrics.text().decode()
    assert 'rollwise_calibration_drift{route="game",rule="temperature"} 0.6' in text
    assert 'rollwise_alarm_bound{figure="calibration_drift",route="game"} 0.1' in text
    assert 'rollwise_input_drift{feature="numbers",route="game"} 0.0' in text


def test_a_band_goes_on_after_a_restart(tmp_path: FilePath) -> None:
    golden_set = tmp_path / "golden.jsonl"
    golden_set.write_text(json.dumps({"question": "x", "answer": "1"}))
    routes = {"game": Route(rules=("rebase", "dora"), budget=2, canary=(50.0,), shadow=Shadow(share=1.0))}  # type: ignore[arg-type]
    with serving(tmp_path, routes=routes) as (url, service):
        settings: Settings = service.settings
        store = service.writer.store
        asyncio.run(advance_route(settings, store, "game", "a test", lambda done, total: None))
        import httpx

        until(lambda: service.staging.stages["game"].stage == "shadow")
        for seed in range(3):
            assert httpx.post(f"{url}/v1/chat/completions", json=chat(seed=seed), timeout=60).status_code == 200
        until(lambda: len(service.staging.watches["game"].candidate) == 3)
        before, shadowed = service.staging.watches["game"], service.staging.shadowed["game"]
        assert len(before.candidate) == len(before.current) == 3
        kept = watch_of(service.staging.stages["game"], before.window, store)
        assert kept == (before, shadowed)
    with serving(tmp_path, routes=routes) as (_, service):
        assert service.staging.watches["game"] == before
        assert service.staging.shadowed["game"] == shadowed > 0
