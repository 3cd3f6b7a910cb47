"""Stages, bands and gates as pure functions, and the introduction of a rule on a running service."""

import asyncio
import datetime
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import HARD, QUESTION, chat, serving, until, upstream

from rollwise.engines.http import Patience
from rollwise.errors import InputError
from rollwise.service import (
    Route,
    Settings,
    Store,
    advance_route,
    changes,
    replay_search,
    revert_route,
    rollout_status,
    search_page,
    search_record,
    verified_log,
)
from rollwise.service.bands import Outcome, cause
from rollwise.service.gate import judged
from rollwise.service.records import now
from rollwise.service.settings import Band, Gate
from rollwise.service.stages import Stage, advanced, chosen, first_stage, reverted, share_of

RULES = Route(rules=("temperature", "rebase", "dora"), canary=(5, 25))  # type: ignore[arg-type]


def test_a_route_goes_through_all_rules_and_back() -> None:
    stage, texts = first_stage("r", RULES), []
    while stage.candidate is not None:
        stage = advanced(stage, RULES)
        texts.append((stage.current, stage.candidate, stage.stage, stage.percent))
    steps = [("shadow", 0), ("canary", 5), ("canary", 25), ("full", 0)]
    first = [("temperature", "rebase", *step) for step in steps]
    second = [("rebase", "dora", *step) for step in steps]
    assert texts == [*first, ("rebase", "dora", "off", 0), *second, ("dora", None, "off", 0)]
    with pytest.raises(InputError, match="no rule after dora"):
        advanced(stage, RULES)
    stage = reverted(stage, RULES)
    assert (stage.current, stage.candidate, stage.stage) == ("rebase", "dora", "off")
    assert reverted(advanced(stage, RULES), RULES) == stage
    with pytest.raises(InputError, match="nothing to revert"):
        reverted(first_stage("r", RULES), RULES)


@given(st.text(), st.floats(0, 100))
def test_a_session_stays_with_its_rule_as_the_canary_grows(session: str, percent: float) -> None:
    share = share_of("r", session)
    assert 0 <= share < 100
    stage = Stage("r", "old", "new", "canary", percent)
    assert chosen(stage, session)[0] == ("new" if share < percent else "old")
    assert chosen(stage, session) == chosen(stage, session)


def test_a_canary_gets_its_share_of_sessions() -> None:
    stage = Stage("r", "old", "new", "canary", 10)
    picked = sum(chosen(stage, f"user {index}")[0] == "new" for index in range(20_000))
    assert abs(picked - 2000) < 5 * np.sqrt(20_000 * 0.1 * 0.9)


@pytest.mark.parametrize(
    ("outcomes", "figure"),
    [
        ([Outcome(True)] * 4, None),
        ([Outcome(False, 1, 10)] * 20, None),
        ([Outcome(False, 1, 10)] * 18 + [Outcome(True)] * 2, "errors"),
        ([Outcome(False, 1, 10)] * 18 + [Outcome(False, 200, 10)] * 2, "latency"),
        ([Outcome(False, 1, 50)] * 20, "cost"),
        ([Outcome(False, 1, 10, agrees=index < 9) for index in range(20)], "agreement"),
        ([Outcome(False, 1, 10, agrees=index < 11) for index in range(20)], None),
    ],
)
def test_a_figure_outside_of_its_band_is_a_cause(outcomes: Sequence[Outcome], figure: str | None) -> None:
    why = cause(Band(least_agreement=0.5), outcomes, [10] * 20)
    assert (why.figure if why else None) == figure
    down = cause(Band(), [], [], ["reward http://x: gone"])
    assert down is not None
    assert down.figure == "server"


def test_a_verdict_says_how_old_its_results_are() -> None:
    verdict = judged(Gate(golden=FilePath("x"), samples=2), [(True, 1)] * 2, [(True, 1)] * 2)
    assert verdict.age == "all of these results are new"
    made = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=12, hours=1)
    old = replace(verdict, oldest=made.isoformat())
    assert old.age.startswith(f"the oldest of these results was made on {made:%Y-%m-%d}, 12 days ago; ")
    assert "less than a day ago" in replace(verdict, oldest=now()).age


def test_a_gate_judges_pairs_of_the_same_questions() -> None:
    gate = Gate(golden=FilePath("x"), samples=40, least_gain=0.0, most_cost=2.0)
    better = judged(gate, [(index % 4 == 0, 10) for index in range(40)], [(index % 4 < 3, 15) for index in range(40)])
    assert better.passed
    assert (better.current, better.candidate, better.cost) == (0.25, 0.75, 1.5)
    assert better.low < 0.5 < better.high
    unsure = judged(gate, [(index % 2 == 0, 10) for index in range(40)], [(index % 2 == 1, 30) for index in range(40)])
    assert len(unsure.unmet) == 2
    few = judged(gate, [(False, 10)] * 39, [(True, 10)] * 39)
    assert few.unmet == ("39 questions are answered by both rules, of at least 40",)
    assert not judged(gate, [], []).passed


RULED = ("rebase", "dora")
GOLDEN = [QUESTION, "Use 2, 3, 7 to make 13", "Use 5, 9, 8, 9 to make 14"]


@pytest.fixture
def staged(tmp_path: FilePath) -> Iterator[tuple[str, Any, Settings]]:
    golden = tmp_path / "golden.jsonl"
    golden.write_text("\n".join(json.dumps({"question": each, "answer": each.split()[-1]}) for each in GOLDEN))
    gate = {"golden": golden, "samples": 3, "least_gain": -1.0, "most_cost": 9.0}
    route = {
        "budget": 4,
        "rules": ["rebase", "dora"],
        "canary": [50],
        "gate": gate,
        "shadow": {"share": 1.0},
        "vote": "weighted_majority",
    }
    with serving(tmp_path, routes={"game": route}) as (url, service):
        yield url, service, service.settings


def say(url: str, **fields: Any) -> Any:
    reply = httpx.post(f"{url}/v1/chat/completions", json=chat(**fields), timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.json()["rollwise"]


def test_a_rule_is_introduced_by_its_gate_and_every_step_is_on_record(staged: tuple[str, Any, Settings]) -> None:
    url, service, settings = staged
    store = Store(settings.store)

    def advance(force: str | None = None) -> Any:
        return asyncio.run(advance_route(settings, store, "game", force, lambda done, total: None))

    assert say(url)["route_rule"] == "rebase"
    assert advance().after.stage == "shadow"
    until(lambda: service.staging.stages["game"].stage == "shadow")
    found = say(url)
    assert found["route_rule"] == "rebase"
    until(lambda: search_page(store, filters={"purpose": "shadow"})[1] == 1)
    (shadow,), _ = search_page(store, filters={"purpose": "shadow"})
    assert (shadow["rule"], shadow["beside"]) == ("dora", found["id"])
    assert shadow["agrees"] is not None
    assert rollout_status(settings, store)[0]["gate_result"] is None
    moved = advance()
    assert moved.verdict.samples == 3
    assert moved.verdict.oldest is None
    result = rollout_status(settings, store)[0]["gate_result"]
    assert (result["rules"], result["samples"], result["passed"]) == (["rebase", "dora"], 3, True)
    assert (result["current"], result["candidate"]) == (moved.verdict.current, moved.verdict.candidate)
    assert "less than a day ago" in result["age"]
    assert moved.after.percent == 50
    assert search_page(store, filters={"purpose": "golden"})[1] == 6
    until(lambda: service.staging.stages["game"].stage == "canary")
    rules = {f"user {index}": say(url, user=f"user {index}")["route_rule"] for index in range(8)}
    assert rules == {user: "dora" if share_of("game", user) < 50 else "rebase" for user in rules}
    assert len(set(rules.values())) == 2
    with pytest.raises(InputError, match="needs a reason"):
        advance(" ")
    assert advance("a trial").after.stage == "full"
    assert search_page(store, filters={"purpose": "golden"})[1] == 6
    until(lambda: service.staging.stages["game"].stage == "full")
    assert say(url)["route_rule"] == "dora"
    metrics = httpx.get(f"{url}/metrics").text
    assert 'rollwise_forced_advances_total{route="game"} 1.0' in metrics
    assert 'rollwise_stage_percent{candidate="dora",route="game"} 100.0' in metrics
    revert_route(settings, store, "game", "enough")
    kinds = [change["kind"] for change in changes(store, "game")]
    assert kinds == ["revert", "forced", "advance", "advance"]
    (status,) = rollout_status(settings, store)
    assert (status["stage"], status["last_change"]["reason"]) == ("off", "enough")
    until(lambda: not service.admission.running)
    for row in search_page(store)[0]:
        assert replay_search(search_record(store, row["id"])) == [], row
    assert verified_log(store).faults == ()


def test_the_last_verdict_is_shown_after_the_candidate_is_introduced(staged: tuple[str, Any, Settings]) -> None:
    _, _, settings = staged
    store = Store(settings.store)
    moved = [asyncio.run(advance_route(settings, store, "game", None, lambda done, total: None)) for _ in range(4)]
    assert moved[1].verdict is not None
    assert moved[2].verdict is not None
    assert (moved[1].verdict.oldest, moved[2].verdict.oldest is None) == (None, False)
    (status,) = rollout_status(settings, store)
    assert (status["current"], status["candidate"]) == ("dora", None)
    assert (status["gate_result"]["rules"], status["gate_result"]["samples"]) == (["rebase", "dora"], 3)
    assert "was made on" in status["gate_result"]["age"]


def test_the_candidate_is_no_shadow_of_its_own_answers(staged: tuple[str, Any, Settings]) -> None:
    url, service, settings = staged
    store = Store(settings.store)
    for _ in range(2):
        asyncio.run(advance_route(settings, store, "game", "a test", lambda done, total: None))
    until(lambda: service.staging.stages["game"].stage == "canary")
    answered = [say(url, user=f"user {index}") for index in range(8)]
    ids: dict[str, set[str]] = {rule: {one["id"] for one in answered if one["route_rule"] == rule} for rule in RULED}
    assert all(ids.values())
    until(lambda: len(service.searches._background) == 1)  # the upkeep, which never ends
    shadows, _ = search_page(store, filters={"purpose": "shadow"})
    assert {shadow["rule"] for shadow in shadows} == {"dora"}
    assert sorted(shadow["beside"] for shadow in shadows) == sorted(ids["rebase"])


def test_a_change_of_the_store_is_found(tmp_path: FilePath) -> None:
    with serving(tmp_path) as (url, service):
        found = [say(url, seed=seed)["id"] for seed in range(3)]
        store = service.writer.store
        before = verified_log(store)
        assert (before.faults, before.searches) == ((), 3)
        from rollwise.service import heads

        known = heads(store)

        def change(statement: str) -> tuple[str, ...]:
            with store.session() as session:
                session.connection().exec_driver_sql(statement)
            return verified_log(store, known).faults

        assert store.erase_texts("9") == 3
        erased = verified_log(store)
        assert (erased.faults, erased.without_text) == ((), 3)
        store.feed_back(found[0], "anonymous", True, None)
        assert verified_log(store).faults == ()
        (fault,) = change("UPDATE feedback SET right = 0")
        assert fault == "feedback 1: its record was changed"
        assert change("UPDATE feedback SET right = 1") == ()
        (fault,) = change(f"UPDATE searches SET answer = '17' WHERE id = '{found[1]}'")
        assert fault == f"search {found[1]}: its record was changed"
        faults = change(f"DELETE FROM entries WHERE subject = '{found[1]}'")
        assert any("entries before it are missing" in each for each in faults)
        assert any("is in no entry" in each for each in faults)
        faults = change("DELETE FROM entries WHERE number > 1")
        assert any("exported head" in each for each in faults)


def test_texts_are_kept_only_if_asked(tmp_path: FilePath) -> None:
    with serving(tmp_path, keep_text=False) as (url, service):
        record = search_record(service.writer.store, say(url)["id"])
        kept = json.dumps(record)
        assert "left" not in kept
        assert QUESTION not in kept
        assert record["answer"].startswith("sha256:")
        assert replay_search(record) == []


def test_a_candidate_whose_server_dies_falls_back_and_no_request_fails(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(patience: Patience, attempt: int, asked: float | None, *key: object) -> float:
        return 0.2 if attempt < 3 else 3600.0  # longer than any deadline: the fourth failure is the last

    monkeypatch.setattr(Patience, "wait", wait)
    with upstream() as gone:
        rules = ["rebase", {"name": "judged", "strategy": "rebase", "reward": f"judge@{gone.url}"}]
        routes = {"game": {"budget": 2, "rules": rules, "vote": "weighted_majority", "canary": [50]}}
        gone.reply = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "Score: 7"}}]}'
        with serving(tmp_path, routes=routes) as (url, service):
            store = service.writer.store
            settings = service.settings
            for _ in range(2):
                asyncio.run(advance_route(settings, store, "game", "a test", lambda done, total: None))
            until(lambda: service.staging.stages["game"].stage == "canary")
            users = [f"user {index}" for index in range(40)]
            of_canary = [user for user in users if share_of("game", user) < 50]
            assert say(url, user=of_canary[0])["route_rule"] == "judged"
            gone.shutdown()
            gone.server_close()
            with ThreadPoolExecutor(6) as pool:
                found = list(pool.map(lambda user: say(url, user=user), of_canary[:6]))
            assert {each["route_rule"] for each in found} == {"rebase"}
            assert {each["stage"] for each in found} <= {"rescue", "off"}
            until(lambda: service.staging.stages["game"].stage == "off")
            last = changes(store, "game")[0]
            assert (last["kind"], last["evidence"]) == ("fallback", {"figure": "server"})


def test_a_shadow_on_recorded_rounds_costs_nothing(tmp_path: FilePath) -> None:
    routes = {"game": {"budget": 8, "rules": ["dora", "rebase"]}}
    with serving(tmp_path, routes=routes) as (url, service):
        store = service.writer.store
        asyncio.run(advance_route(service.settings, store, "game", "a test", lambda done, total: None))
        until(lambda: service.staging.stages["game"].stage == "shadow")
        record = search_record(store, say(url, messages=chat(HARD)["messages"])["id"])
        rounds = [event for event in record["events"] if event["event"] == "allocated"]
        from rollwise.core import Candidates
        from rollwise.registry import find_strategy

        allocate = find_strategy("rebase").bind({})
        shares = []
        for event in rounds:
            paths = tuple(tuple(map(int, path.split("."))) for path in event["paths"])
            candidates = Candidates(paths, np.array(event["rewards"]), question=record["question"])
            counts = allocate(candidates, event["width"]).counts
            shares.append(np.abs(counts - np.array(event["counts"])).sum() / (2 * event["width"]))
        assert record["moved"] == pytest.approx(float(np.mean(shares)))
        assert record["moved"] > 0
        assert search_page(store)[1] == 1
