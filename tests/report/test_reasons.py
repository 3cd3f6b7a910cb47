"""Every number in a sentence about a path is computed again here, from the events, by other means."""

import json
import re
import string
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from typer.testing import CliRunner

import rollwise
from rollwise.allocation import STRATEGIES
from rollwise.cli import build_app
from rollwise.core import Candidates, Directions, PathKey, Problem, Step, Stop, key_text
from rollwise.errors import InputError
from rollwise.report import Account, Fate, Told, account_of, catalogue, fold_account, reason_of, sentence
from rollwise.report.folding import counts_of_others
from rollwise.report.words import LANGUAGES, said
from rollwise.search import (
    Allocated,
    Config,
    Event,
    Failed,
    Grown,
    Growth,
    Limits,
    Runner,
    Search,
    Solution,
    event_records,
    read_events,
    run_to_end,
)

SEED, BUDGET = 3, 16


@cache
def searched(strategy: str, directions: str = "hidden") -> Solution:
    needs = STRATEGIES[strategy].needs
    fields = {"directions": directions} if "directions" in needs else {}
    return rollwise.solve("Use 4, 6, 21, 25 to make 85", strategy, BUDGET, seed=SEED, **fields)


def account(events: Sequence[Event], strategy: str) -> Account:
    return fold_account(events, Told("?", strategy, BUDGET, STRATEGIES[strategy].bind()), compare=())


def told(events: Sequence[Event], strategy: str) -> dict[PathKey, str]:
    folded = account(events, strategy)
    return {key: sentence(reason_of(folded, node)) for key, node in folded.nodes.items()}


def allocations(events: Sequence[Event]) -> list[Allocated]:
    return [event for event in events if isinstance(event, Allocated)]


def numbers(text: str) -> list[float]:
    """The numbers of a text, without those in quoted words; percentages as chances."""
    plain = re.sub("“.*?”", "", text)
    return [
        float(number) / (100 if percent else 1)
        for number, percent in re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)(%?)(?!\.\d)", plain)
    ]


def given(strategy: str, candidates: Candidates, width: int, place: int) -> int:
    """What the strategy hands to one candidate, found anew."""
    return int(STRATEGIES[strategy].bind()(candidates, width).counts[place])


def with_score(candidates: Candidates, place: int, score: float) -> Candidates:
    rewards = candidates.rewards.copy()
    rewards[place] = score
    return replace(candidates, rewards=rewards)


def with_chance(candidates: Candidates, place: int, chance: float) -> Candidates:
    assert candidates.belief is not None
    mean = candidates.belief.mean.copy()
    mean[place] = chance
    return replace(candidates, belief=replace(candidates.belief, mean=mean))


def alone(candidates: Candidates, place: int) -> Candidates:
    """The candidates with one of them moved to where nobody else is: on an axis of its own."""
    assert candidates.directions is not None
    if candidates.directions.labels is not None:
        labels = [("alone",) if index == place else label for index, label in enumerate(candidates.directions.labels)]
        return replace(candidates, directions=Directions(labels=np.array([labels.index(label) for label in labels])))
    assert candidates.directions.similarity is not None
    values, vectors = np.linalg.eigh(candidates.directions.similarity)
    embedded = np.c_[vectors * np.sqrt(np.clip(values, 0, None)), np.zeros(len(values))]
    embedded[place] = 0
    embedded[place, -1] = 1
    return replace(candidates, directions=Directions(similarity=np.clip(embedded @ embedded.T, -1, 1)))


def rank(values: Sequence[float], place: int) -> int:
    return 1 + sum(value > values[place] for value in values) + sum(value == values[place] for value in values[:place])


@pytest.mark.parametrize("directions", ["hidden", "text"])
@pytest.mark.parametrize("strategy", ["dora", "optimal_directions"])
def test_sentences_of_strategies_by_direction(strategy: str, directions: str) -> None:
    solution = searched(strategy, directions=directions)
    sentences, crowded = told(solution.events, strategy), 0
    for event in allocations(solution.events):
        candidates, counts = event.candidates, event.allocation.counts
        assert event.allocation.directions is not None
        for place, path in enumerate(candidates.paths):
            text = sentences[path]
            belief = candidates.belief
            value = candidates.rewards[place] if strategy == "dora" or belief is None else belief.mean[place]
            first, *rest = numbers(text)
            assert first == pytest.approx(value, abs=6e-4)
            same = event.allocation.directions == event.allocation.directions[place]
            if same.sum() == 1:
                assert "no other path takes its direction" in text
                continue
            crowded += 1
            by_itself = given(strategy, alone(candidates, place), event.width, place)
            assert rest == [same.sum() - 1, counts[same].sum(), event.width, counts[place], by_itself]
            assert ("too." in text) == (by_itself == counts[place])
            assert ("only" in text) == (by_itself < counts[place])
    assert crowded > 3


@pytest.mark.parametrize("strategy", ["dora", "rebase", "optimal", "optimal_directions", "dora_two_stage"])
def test_what_another_score_or_chance_would_have_changed(strategy: str) -> None:
    solution = searched(strategy)
    sentences, checked = told(solution.events, strategy), 0
    for event in allocations(solution.events):
        candidates = event.candidates
        by_chance = "belief" in STRATEGIES[strategy].needs
        for place, path in enumerate(candidates.paths):
            found = re.search(
                r"(best|mean) (?:score|chance) of this step, ([\d.]+)(%?), it would have got (\d+)", sentences[path]
            )
            if found is None:
                continue
            checked += 1
            assert candidates.belief is not None or not by_chance
            values = candidates.belief.mean if by_chance and candidates.belief is not None else candidates.rewards
            target = float(values.max() if found[1] == "best" else values.mean())
            assert (found[1] == "mean") == (values[place] == values.max())
            assert float(found[2]) / (100 if found[3] else 1) == pytest.approx(target, abs=6e-4)
            changed = (with_chance if by_chance else with_score)(candidates, place, target)
            assert int(found[4]) == given(strategy, changed, event.width, place)
    assert checked > 3


def test_sentences_of_rebase() -> None:
    solution = searched("rebase")
    for event in allocations(solution.events):
        rewards = event.candidates.rewards
        shares = np.exp(rewards / 0.1) / np.exp(rewards / 0.1).sum() * event.width
        for place, path in enumerate(event.candidates.paths):
            score, at, many, due, width, count, *_ = numbers(told(solution.events, "rebase")[path])
            assert (at, many, width) == (rank(rewards.tolist(), place), len(rewards), event.width)
            assert score == pytest.approx(rewards[place], abs=6e-4)
            assert due == pytest.approx(shares[place], abs=6e-3)
            assert count == event.allocation.counts[place]
        break


def test_sentences_of_beam_name_the_score_that_decides() -> None:
    solution, dropped = searched("beam"), 0
    sentences = told(solution.events, "beam")
    for event in allocations(solution.events):
        rewards, counts = event.candidates.rewards, event.allocation.counts
        kept = -(-event.width // 4)
        for place, path in enumerate(event.candidates.paths):
            text = sentences[path]
            if kept >= len(rewards):
                assert "every path goes on" in text or "spread evenly" in text
                continue
            figures = numbers(text)
            assert figures[:3] == [kept, len(rewards), rank(rewards.tolist(), place)]
            assert figures[3] == pytest.approx(rewards[place], abs=6e-4)
            limit = np.sort(np.delete(rewards, place))[::-1][kept - 1]
            assert figures[-1] == pytest.approx(limit, abs=6e-4)
            assert given("beam", with_score(event.candidates, place, limit + 1e-9), event.width, place) > 0
            assert given("beam", with_score(event.candidates, place, limit - 1e-9), event.width, place) == 0
            assert ("got none of" in text) == (counts[place] == 0)
            if counts[place]:
                assert figures[4:6] == [counts[place], event.width]
            dropped += counts[place] == 0
    assert dropped


def test_sentences_of_dvts_name_the_score_that_decides() -> None:
    solution, dropped = searched("dvts"), 0
    sentences = told(solution.events, "dvts")
    for event in allocations(solution.events):
        rewards, counts = event.candidates.rewards, event.allocation.counts
        for place, path in enumerate(event.candidates.paths):
            text, tree = sentences[path], path[0] // 4
            members = [other for other, key in enumerate(event.candidates.paths) if key[0] // 4 == tree]
            assert f"subtree {tree + 1}" in text
            if len(members) == 1:
                assert f"all {counts[place]} of" in text
                continue
            limit = max(rewards[other] for other in members if other != place)
            assert f"{limit:.3f}" in text
            assert given("dvts", with_score(event.candidates, place, limit + 1e-9), event.width, place) > 0
            assert given("dvts", with_score(event.candidates, place, limit - 1e-9), event.width, place) == 0
            if counts[place]:
                assert f"the best of {len(members)}" in text
                assert f"it got {counts[place]} of {event.width}" in text
            else:
                winner = max(members, key=lambda other: counts[other])
                assert f"path {key_text(event.candidates.paths[winner])} " in text
                assert f"got all {counts[winner]}" in text
                dropped += 1
    assert dropped


def test_sentences_of_plain_sampling() -> None:
    solution = searched("temperature")
    texts = [told(solution.events, "temperature")[path] for path in allocations(solution.events)[0].candidates.paths]
    assert set(texts) == {said("plain_one")}


def test_the_first_stage_of_dora_two_stage_is_named() -> None:
    solution, named = searched("dora_two_stage"), 0
    sentences = told(solution.events, "dora_two_stage")
    for event in allocations(solution.events):
        assert event.allocation.first_counts is not None
        for path, first in zip(event.candidates.paths, event.allocation.first_counts, strict=True):
            assert ("before directions were looked at" in sentences[path]) == (first == 0)
            named += first == 0
    assert named


def test_finished_and_lost_paths_say_what_became_of_them() -> None:
    solution = searched("dora")
    lost: list[Event] = [Failed(0, (99,), "the server was away")]
    folded = account([*lost, *solution.events], "dora")
    for path, right in zip(solution.finished, solution.rights, strict=True):
        node = folded.nodes[path.key]
        assert node.fate is Fate.FINISHED
        text = sentence(reason_of(folded, node))
        if node.answer is None:
            assert "no answer could be read" in text or "limit" in text
        else:
            assert f"answer {node.answer[:40]}" in text
            assert f"weighs {path.rewards[-1]:.3f}" in text
        assert right in (True, False)
    assert "the server was away" in sentence(reason_of(folded, folded.nodes[99,]))


@pytest.mark.parametrize("strategy", ["dora", "dora_two_stage", "optimal_directions", "rebase", "dvts"])
def test_a_recorded_search_says_the_same(strategy: str) -> None:
    solution = searched(strategy)
    records = json.loads(json.dumps(event_records(solution.events, {})))
    again = read_events(records, solution.problem.id, SEED)
    assert told(again, strategy) == told(solution.events, strategy)
    assert event_records(again, {}) == records
    before, after = allocations(solution.events)[0], allocations(again)[0]
    assert before.candidates.paths == after.candidates.paths
    if before.candidates.directions is not None and before.candidates.directions.similarity is not None:
        assert after.candidates.directions is not None
        assert np.allclose(before.candidates.directions.similarity, after.candidates.directions.similarity, atol=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "record",
    [{}, {"event": "grown"}, {"event": "eaten", "round": 0, "path": "1"}, {"event": "failed", "round": 0, "path": "x"}],
)
def test_a_record_that_is_no_event_is_one_clear_error(record: dict[str, object]) -> None:
    with pytest.raises(InputError, match="no event of a search"):
        read_events([record])


def test_a_record_of_the_wrong_size_is_refused() -> None:
    records = json.loads(json.dumps(event_records(searched("dora").events, {})))
    allocated = next(record for record in records if record["event"] == "allocated")
    allocated["similarity"] = allocated["similarity"][1:]
    with pytest.raises(InputError, match="numbers are needed"):
        read_events(records)


def test_the_medoid_names_a_direction() -> None:
    solution = searched("dora")
    folded = account(solution.events, "dora")
    texts = {event.path: event.step.text for event in solution.events if isinstance(event, Grown)}
    event = allocations(solution.events)[0]
    assert event.candidates.directions is not None
    similarity, labels = event.candidates.directions.similarity, event.allocation.directions
    assert similarity is not None
    assert labels is not None
    for group in folded.stages[0].groups:
        members = [
            place
            for place in range(len(labels))
            if folded.nodes[event.candidates.paths[place]].direction == group.label
        ]
        assert len({labels[place] for place in members}) == 1
        closest = max(members, key=lambda place: round(sum(similarity[place, other] for other in members), 9))
        assert group.words == " ".join(texts[event.candidates.paths[closest]].split())
        assert group.count == sum(event.allocation.counts[place] for place in members)
        assert group.paths == len(members)


def test_other_strategies_get_the_same_candidates() -> None:
    solution = searched("dora")
    folded = fold_account(solution.events, Told("?", "dora", BUDGET, STRATEGIES["dora"].bind()))
    event, stage = allocations(solution.events)[0], folded.stages[0]
    assert stage.others is not None
    assert {"temperature", "beam", "dvts", "rebase", "dora"} <= set(stage.others)
    assert stage.others["dora"].tolist() == event.allocation.counts.tolist()
    blind = replace(event, candidates=replace(event.candidates, directions=None, belief=None))
    assert set(counts_of_others(blind)) == {"temperature", "beam", "dvts", "rebase"}
    assert stage.others["rebase"].tolist() == STRATEGIES["rebase"].bind()(event.candidates, event.width).counts.tolist()


def test_every_language_says_the_same_with_the_same_values() -> None:
    def fields(template: str) -> set[str]:
        return {field for _, field, _, _ in string.Formatter().parse(template) if field}

    for language in LANGUAGES:
        for part, english in catalogue("en").items():
            other = catalogue(language)[part]
            assert other.keys() == english.keys()
            assert {name: fields(text) for name, text in other.items()} == {
                name: fields(text) for name, text in english.items()
            }


def test_one_and_many_are_told_apart() -> None:
    assert "1 other takes" in said("dora_shared", score=0.5, others=1, words="x")
    assert "11 others take" in said("dora_shared", score=0.5, others=11, words="x")


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(InputError, match="en, ja"):
        catalogue("fr")


def test_solve_says_the_sentences_in_the_language_asked_for() -> None:
    words = ["solve", "Use 4, 6, 21, 25 to make 85", "--strategy", "dora", "--budget", "8", "--explain"]
    aloud = CliRunner().invoke(build_app(), words)
    assert "rollouts and this path" in " ".join(aloud.stdout.split())
    shown = json.loads(CliRunner().invoke(build_app(), [*words, "--json", "--language", "ja"]).stdout)
    assert any("8本のロールアウトのうち、この方向に" in text for text in shown["reasons"].values())


def test_a_search_that_was_stopped_says_so() -> None:
    search = Search(Problem("x", "?"), STRATEGIES["rebase"].bind(), Limits(3, 4))
    first, second, _ = search.ask()
    search.tell(first.key, Growth(Step("a step", 1, Stop.STEP), 0.5))
    search.tell(second.key, Growth(Step(r"\boxed{4}", 1, Stop.END), 0.5))
    search.stop("the vote is decided")
    records = json.loads(json.dumps(event_records(search.events, {})))
    for events in (search.events, read_events(records)):
        folded = account(events, "rebase")
        assert "the vote is decided" in sentence(reason_of(folded, folded.nodes[first.key]))
        assert folded.stages[-1].stopped == "the vote is decided"


@pytest.mark.parametrize("vote", ["verified", "weighted_majority", "majority"])
def test_the_ballots_are_those_of_the_vote(vote: str) -> None:
    runner = Runner(Config.of(strategy="rebase", budget=8, seed=SEED, vote=vote))
    solution = run_to_end(runner.solve(runner.parts.problems.problem(4, 0)))
    shown = account_of(solution, runner.parts).ballots
    assert [(ballot.answer, ballot.paths, ballot.right) for ballot in shown] == [
        (ballot.answer, ballot.paths, ballot.right) for ballot in sorted(solution.ballots, key=lambda one: -one.weight)
    ] or vote == "majority"
    if vote == "majority":
        assert [ballot.weight for ballot in shown] == [ballot.paths for ballot in shown]


def test_what_would_have_changed_is_left_out_if_the_evidence_was_not_recorded() -> None:
    solution = searched("dora")
    records = json.loads(json.dumps(event_records(solution.events, {})))
    for record in records:
        record.pop("similarity", None)
    events = read_events(records, solution.problem.id, SEED)
    folded, texts = account(events, "dora"), told(events, "dora")
    for stage, event in zip(folded.stages, allocations(events), strict=False):
        same = np.array_equal(STRATEGIES["dora"].bind()(event.candidates, event.width).counts, event.allocation.counts)
        assert stage.repeatable == same
        for path in event.candidates.paths:
            assert same or "would have got" not in texts[path]
    foreign = fold_account(
        solution.events, Told("?", "dora", BUDGET, STRATEGIES["dora"].bind({"reward_temperature": 9}))
    )
    assert not foreign.stages[0].repeatable
    assert "would have" not in sentence(reason_of(foreign, next(iter(foreign.nodes.values()))))
