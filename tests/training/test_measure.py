"""The measurement of models: figures against the stored lines, rewards against plain forward passes."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_model
from transformers import AutoModelForTokenClassification

from rollwise.calibration import scoring
from rollwise.calibration.prefixes import Prefix, complete_prefixes
from rollwise.calibration.scoring import score_prefixes
from rollwise.core import Problem, Sampling
from rollwise.errors import InputError
from rollwise.names import bundled
from rollwise.registry import find_world
from rollwise.rewards.local import LocalReward, LocalRewardSession
from rollwise.training.card import render_card, write_card
from rollwise.training.measure import Questions, evaluate_models
from rollwise.training.policy import SHAPES, PolicyShape
from rollwise.training.recipe import Recipe, run_parts
from rollwise.worlds.tokenizer import build_tokenizer

torch.set_num_threads(1)

WORLD = find_world("stories")
DEMONSTRATOR: Any = WORLD.demonstrator()
TOKENIZER: Any = build_tokenizer(WORLD.literals)
QUESTIONS = Questions(first_seed=3, questions=2, paths=3, completions=5)


def new_reward(seed: int) -> Any:
    """A reward model with random weights, large enough that its rewards differ."""
    longest = {"max_position_embeddings": TOKENIZER.model_max_length}
    return tiny_model("LlamaForTokenClassification", TOKENIZER, seed, initializer_range=0.5, **longest)


def plain_rewards(model: Any, problem: Problem, prefixes: Sequence[dict[str, Any]]) -> list[float]:
    """The rewards when every prefix is read as a whole and alone."""
    rewards = []
    for prefix in prefixes:
        text = f"<|user|>{problem.question}<|assistant|>{''.join(prefix['steps'])}{'<|end|>' * prefix['ended']}"
        with torch.no_grad():
            logits = model(torch.tensor([TOKENIZER(text, add_special_tokens=False)["input_ids"]])).logits[0, -1]
        rewards.append(float(torch.softmax(logits.double(), -1)[1]))
    return rewards


def test_scores_agree_with_plain_forwards_and_each_prefix_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_reward(0).double()
    reward = LocalReward(model, TOKENIZER, rows=3)
    problem = WORLD.problem(3, 0)
    prefixes = asyncio.run(complete_prefixes(WORLD, DEMONSTRATOR, problem, 6, 1, Sampling()))
    sessions: list[LocalRewardSession] = []
    opened = reward.open

    def record(*arguments: Any) -> LocalRewardSession:
        sessions.append(opened(*arguments))
        return sessions[-1]

    monkeypatch.setattr(reward, "open", record)
    mixed = [prefixes[place] for place in np.random.default_rng(0).permutation(len(prefixes))]
    scores: Any = asyncio.run(score_prefixes(reward, problem, mixed))
    expected = plain_rewards(model, problem, [vars(prefix) for prefix in mixed])
    np.testing.assert_allclose(scores, expected, atol=1e-12)
    assert np.ptp(expected) > 0.1

    def length(text: str) -> int:
        return len(TOKENIZER(text, add_special_tokens=False)["input_ids"])

    new = sum(length(prefix.steps[-1]) + prefix.ended for prefix in prefixes)
    assert sessions[0].usage.prefilled == length(f"<|user|>{problem.question}<|assistant|>") + new


def test_a_prefix_is_scored_even_if_its_beginning_is_missing() -> None:
    model = new_reward(1).double()
    problem = WORLD.problem(2, 0)
    prefixes = asyncio.run(complete_prefixes(WORLD, DEMONSTRATOR, problem, 4, 1, Sampling()))
    some = [prefix for prefix in prefixes if prefix.depth != 2]
    assert {prefix.depth for prefix in some} >= {1, 3}
    scores: Any = asyncio.run(score_prefixes(LocalReward(model, TOKENIZER), problem, some))
    np.testing.assert_allclose(scores, plain_rewards(model, problem, [vars(prefix) for prefix in some]), atol=1e-12)
    assert asyncio.run(score_prefixes(LocalReward(model, TOKENIZER), problem, [])) == []


@pytest.fixture
def models(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> FilePath:
    """A folder of models: its policies are replaced by the demonstrator, and its reward models guess."""
    for size, hidden in zip(SHAPES, (16, 24, 32), strict=True):
        monkeypatch.setitem(SHAPES, size, PolicyShape(hidden, 1, 2, 24))
    folder = tmp_path / "models"

    def run(*parts: str, size: str | None = None) -> None:
        recipe = Recipe(seed=1, steps=10, size=size, problems=10, paths=1, completions=1)
        run_parts(WORLD, folder, parts, recipe, lambda *_: None)

    run("policy", size="small")
    run("policy", "completions", "reward", "weak")
    for seed, name in enumerate(("reward", "reward-weak")):
        new_reward(seed).save_pretrained(folder / name)
    monkeypatch.setattr("rollwise.training.measure.LocalPolicy.load", lambda *_: DEMONSTRATOR)
    return folder


def lines(file: FilePath) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def pairs_won(rewards: Sequence[float], true: Sequence[float], false: Sequence[float]) -> float:
    """The AUC by counting pairs; each reward has `true` and `false` outcomes."""
    table = [(a, b, n * m) for a, n in zip(rewards, true, strict=True) for b, m in zip(rewards, false, strict=True)]
    return sum(((a > b) + (a == b) / 2) * weight for a, b, weight in table) / sum(weight for *_, weight in table)


Judged = Sequence[tuple[dict[str, Any], float]]
"""Prefixes with their rewards."""


def gap(rewards: Sequence[float], judged: Judged) -> float:
    """The expected calibration error, bin by bin."""
    gaps: dict[int, float] = defaultdict(float)
    for reward, (prefix, _) in zip(rewards, judged, strict=True):
        gaps[min(int(reward * 10), 9)] += reward - prefix["right"] / prefix["completions"]
    return sum(map(abs, gaps.values())) / len(rewards)


def recalibrated(judged: Judged) -> list[float]:
    """The rewards after the isotonic map of the other half's prefixes of the same depth, by the min-max formula."""

    def fitted(other: Judged) -> dict[float, float]:
        rewards = sorted({reward for _, reward in other})

        def mean(low: float, high: float) -> float:
            inside = [prefix for prefix, reward in other if low <= reward <= high]
            return sum(prefix["right"] for prefix in inside) / sum(prefix["completions"] for prefix in inside)

        return {
            at: max(min(mean(low, high) for high in rewards if high >= at) for low in rewards if low <= at)
            for at in rewards
        }

    result = []
    for prefix, reward in judged:
        other = [
            (another, score)
            for another, score in judged
            if len(another["steps"]) == len(prefix["steps"]) and another["question"] % 2 != prefix["question"] % 2
        ]
        steps = fitted(other)
        result.append(float(np.interp(reward, [*steps], [*steps.values()])) if steps else reward)
    return result


def test_figures_agree_with_the_stored_lines(models: FilePath, tmp_path: FilePath) -> None:
    out = tmp_path / "out"
    figures = evaluate_models(WORLD, models, QUESTIONS, out, lambda *_: None)
    assert [*figures["policies"]] == ["policy-small", "policy"]
    assert [*figures["rewards"]] == ["reward", "reward-weak"]
    for name, levels in figures["policies"].items():
        (file,) = out.glob(f"rollouts-stories-{name}-????????-validation-3-2.jsonl")
        right = {level: [] for level in WORLD.levels}  # type: ignore[var-annotated]
        for row in lines(file):
            assert len(row["rollouts"]) == 64
            right[row["problem"]["level"]].append(
                [rollout["ended"] and rollout["reachable"][-1] for rollout in row["rollouts"]]
            )
        for level, outcomes in right.items():
            figure = levels[str(level)]
            assert figure["questions"] == len(outcomes) == 2
            assert figure["solved_at_1"] == pytest.approx(np.mean(outcomes), abs=1e-4)
            assert figure["solved_at_64"] == pytest.approx(np.mean([any(each) for each in outcomes]), abs=1e-4)
    (file,) = out.glob("prefixes-stories-policy-????????-validation-3-2x3x5.jsonl")
    rows, ids = lines(file), [problem.id for problem in QUESTIONS.drawn(WORLD)]
    for name, groups in figures["rewards"].items():
        model = AutoModelForTokenClassification.from_pretrained(models / name, local_files_only=True).float()
        judged = [
            (prefix | {"level": row["problem"]["level"], "question": ids.index(row["problem"]["id"])}, reward)
            for row in rows
            for prefix, reward in zip(
                row["prefixes"], plain_rewards(model, Problem(**row["problem"]), row["prefixes"]), strict=True
            )
        ]
        unfinished = [(prefix, reward) for prefix, reward in judged if not prefix["ended"]]
        chosen = {"all": unfinished, "finished": [pair for pair in judged if pair[0]["ended"]]}
        chosen |= {
            f"level {level}": [pair for pair in unfinished if pair[0]["level"] == level] for level in WORLD.levels
        }
        depths = {len(prefix["steps"]) for prefix, _ in unfinished}
        chosen |= {
            f"depth {depth}": [pair for pair in unfinished if len(pair[0]["steps"]) == depth] for depth in depths
        }
        assert set(groups) == set(chosen)
        for group, members in chosen.items():
            figure, prefixes = groups[group], [prefix for prefix, _ in members]
            rewards = [reward for _, reward in members]
            worth = [prefix["right"] / prefix["completions"] for prefix in prefixes]
            assert figure["prefixes"] == len(prefixes)
            assert figure["worth"] == pytest.approx(np.mean(worth), abs=1e-3)
            assert figure["valid"] == pytest.approx(np.mean([prefix["valid"] for prefix in prefixes]), abs=1e-3)
            if 0 < sum(worth) < len(worth):
                failed = [prefix["completions"] - prefix["right"] for prefix in prefixes]
                area = pairs_won(rewards, [prefix["right"] for prefix in prefixes], failed)
                assert figure["auc_outcome"] == pytest.approx(area, abs=2e-3)
            else:
                assert figure["auc_outcome"] is None
        valid = [float(prefix["valid"]) for prefix, _ in unfinished]
        rewards = [reward for _, reward in unfinished]
        area = pairs_won(rewards, valid, [1 - each for each in valid])
        assert groups["all"]["auc_validity"] == pytest.approx(area, abs=2e-3)
        assert groups["all"]["ece"] == pytest.approx(gap(rewards, unfinished), abs=1e-3)
        assert groups["all"]["ece_calibrated"] == pytest.approx(gap(recalibrated(unfinished), unfinished), abs=1e-3)
    assert figures["rewards"]["reward"] != figures["rewards"]["reward-weak"]


def test_a_stopped_evaluation_continues_and_gives_the_same_figures(
    models: FilePath, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    whole = evaluate_models(WORLD, models, QUESTIONS, out, lambda *_: None)
    (file,) = out.glob("prefixes-*.jsonl")
    file.write_text(file.read_text()[: len("".join(file.read_text().splitlines(True)[:4])) + 40])
    stored = {row["problem"]["id"] for row in map(json.loads, file.read_text().splitlines()[:4])}
    opened: list[str] = []
    plain = type(DEMONSTRATOR).open

    def record(self: Any, problem: Problem, sampling: Sampling) -> Any:
        opened.append(problem.id)
        return plain(self, problem, sampling)

    monkeypatch.setattr(type(DEMONSTRATOR), "open", record)
    assert evaluate_models(WORLD, models, QUESTIONS, out, lambda *_: None) == whole
    assert set(opened) == {problem.id for problem in QUESTIONS.drawn(WORLD)} - stored
    opened.clear()
    assert evaluate_models(WORLD, models, QUESTIONS, out, lambda *_: None) == whole
    assert opened == []


def test_the_card_describes_all_models(models: FilePath, tmp_path: FilePath) -> None:
    figures = evaluate_models(WORLD, models, QUESTIONS, tmp_path / "out", lambda *_: None)
    write_card(WORLD, models, figures)
    assert json.loads((models / "figures.json").read_text()) == figures
    training = json.loads((models / "training.json").read_text())
    card = (models / "README.md").read_text()
    assert card == render_card(WORLD, training, figures)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in card.splitlines() if line[:1] == "|"]
    row = figures["policies"]["policy"]["2"]
    line = next(each for each in cells if each[:2] == ["`policy`", "2"])
    assert line[2:5] == ["2", f"{row['solved_at_1']:.3f}", f"{row['solved_at_16']:.3f}"]
    for name, groups in figures["rewards"].items():
        for group, values in groups.items():
            line = next(each for each in cells if each[:2] == [f"`{name}`", group])
            shown = [value for kind, value in values.items() if kind not in ("prefixes", "auc_within")]
            assert line[2:] == [
                f"{values['prefixes']:,}",
                *("–" if value is None else f"{value:.3f}" for value in shown),
            ]
    made = training["completions"]
    learnt = next(each for each in cells if each[0] == "`reward-weak`")
    assert f"1 completions each of {made['prefixes']:,} prefixes of `policy`" in learnt[-1]
    assert "starts from `policy-small`" in learnt[-1]
    usual, few = "--seed 1 --steps 10", "--problems 10 --paths 1 --completions 1"
    assert card.split("```")[1].splitlines()[1:] == [
        f"rollwise world train stories --part policy {usual} --size small {few}",
        f"rollwise world train stories --part policy {usual} {few}",
        f"rollwise world train stories --part completions {usual} {few}",
        f"rollwise world train stories --part reward {usual} {few}",
        f"rollwise world train stories --part weak {usual} {few}",
        "rollwise world evaluate stories --first-seed 3 --questions 2 --paths 3 --completions 5 --card",
    ]
    assert str(tmp_path) not in card


@pytest.mark.parametrize("world", ["countdown", "stories"])
def test_the_bundled_cards_are_up_to_date(world: str) -> None:
    folder = bundled(world, "policy").parent
    training, figures = (json.loads((folder / f"{name}.json").read_text()) for name in ("training", "figures"))
    assert (folder / "README.md").read_text() == render_card(find_world(world), training, figures)


def test_missing_models_and_facts_are_named(models: FilePath, tmp_path: FilePath) -> None:
    def measured(folder: FilePath) -> Any:
        return evaluate_models(WORLD, folder, QUESTIONS, tmp_path / "out", lambda *_: None)

    with pytest.raises(InputError, match=r"holds no policy to measure.*--part policy"):
        measured(tmp_path / "nowhere")
    (models / "policy").rename(tmp_path / "policy")
    with pytest.raises(InputError, match=r"holds no policy to measure.*--part policy"):
        measured(models)
    for name in ("reward", "reward-weak"):
        (models / name).rename(tmp_path / name)
    figures = measured(models)
    assert [*figures["policies"]] == ["policy-small"]
    assert figures["rewards"] == {}
    write_card(WORLD, models, figures)
    assert "Reward models on" not in (models / "README.md").read_text()
    (models / "training.json").unlink()
    with pytest.raises(InputError, match=r"how policy-small was made.*--out"):
        write_card(WORLD, models, figures)


def test_prefixes_have_distinct_keys() -> None:
    """Finished and unfinished prefixes with equal text differ; each extends the key of the prefix it grew from."""

    def prefix(*steps: str, ended: bool = False) -> Prefix:
        return Prefix(steps, 1, 0, 1, "", True, True, ended)

    many = [prefix("a", "b"), prefix("a"), prefix("a", "b", ended=True), prefix("c", "b"), prefix("a", "b", "c")]
    paths = scoring._as_paths(many)
    assert len({path.key for path in paths}) == 5
    assert [len(path.key) for path in paths] == [2, 1, 2, 2, 3]
    assert paths[0].key[:1] == paths[2].key[:1] == paths[1].key
    assert paths[4].key[:2] == paths[0].key
    assert [path.ended for path in paths] == [False, False, True, False, False]
