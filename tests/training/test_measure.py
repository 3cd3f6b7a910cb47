"""Measuring a family of models: figures against what the kept lines say, rewards against plain forwards."""

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
ASKED = Questions(first_seed=3, questions=2, paths=3, completions=5)


def new_reward(seed: int) -> Any:
    """A reward model with opinions, and no ground for them."""
    longest = {"max_position_embeddings": TOKENIZER.model_max_length}
    return tiny_model("LlamaForTokenClassification", TOKENIZER, seed, initializer_range=0.5, **longest)


def plain_rewards(model: Any, problem: Problem, prefixes: Sequence[dict[str, Any]]) -> list[float]:
    """Every prefix read as a whole, by itself."""
    rewards = []
    for prefix in prefixes:
        text = f"<|user|>{problem.question}<|assistant|>{''.join(prefix['steps'])}{'<|end|>' * prefix['ended']}"
        with torch.no_grad():
            logits = model(torch.tensor([TOKENIZER(text, add_special_tokens=False)["input_ids"]])).logits[0, -1]
        rewards.append(float(torch.softmax(logits.double(), -1)[1]))
    return rewards


def test_prefixes_are_scored_as_by_plain_forwards_and_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_reward(0).double()
    reward = LocalReward(model, TOKENIZER, rows=3)
    problem = WORLD.problem(3, 0)
    prefixes = asyncio.run(complete_prefixes(WORLD, DEMONSTRATOR, problem, 6, 1, Sampling()))
    sessions: list[LocalRewardSession] = []
    opened = reward.open

    def noted(*arguments: Any) -> LocalRewardSession:
        sessions.append(opened(*arguments))
        return sessions[-1]

    monkeypatch.setattr(reward, "open", noted)
    mixed = [prefixes[place] for place in np.random.default_rng(0).permutation(len(prefixes))]
    scores: Any = asyncio.run(score_prefixes(reward, problem, mixed))
    expected = plain_rewards(model, problem, [vars(prefix) for prefix in mixed])
    np.testing.assert_allclose(scores, expected, atol=1e-12)
    assert np.ptp(expected) > 0.1

    def length(text: str) -> int:
        return len(TOKENIZER(text, add_special_tokens=False)["input_ids"])

    new = sum(length(prefix.steps[-1]) + prefix.ended for prefix in prefixes)
    assert sessions[0].usage.prefilled == length(f"<|user|>{problem.question}<|assistant|>") + new


def test_a_prefix_whose_beginning_is_not_there_is_scored_too() -> None:
    model = new_reward(1).double()
    problem = WORLD.problem(2, 0)
    prefixes = asyncio.run(complete_prefixes(WORLD, DEMONSTRATOR, problem, 4, 1, Sampling()))
    some = [prefix for prefix in prefixes if prefix.depth != 2]
    assert {prefix.depth for prefix in some} >= {1, 3}
    scores: Any = asyncio.run(score_prefixes(LocalReward(model, TOKENIZER), problem, some))
    np.testing.assert_allclose(scores, plain_rewards(model, problem, [vars(one) for one in some]), atol=1e-12)
    assert asyncio.run(score_prefixes(LocalReward(model, TOKENIZER), problem, [])) == []


@pytest.fixture
def models(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> FilePath:
    """A family whose policies, once trained, do as the demonstrator does, and reward models that guess."""
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
    """AUC by counting: `true` and `false` outcomes stand behind each reward."""
    table = [(a, b, n * m) for a, n in zip(rewards, true, strict=True) for b, m in zip(rewards, false, strict=True)]
    return sum(((a > b) + (a == b) / 2) * weight for a, b, weight in table) / sum(weight for *_, weight in table)


Told = Sequence[tuple[dict[str, Any], float]]


def gap(rewards: Sequence[float], told: Told) -> float:
    """The expected calibration error, bin by bin."""
    gaps: dict[int, float] = defaultdict(float)
    for reward, (one, _) in zip(rewards, told, strict=True):
        gaps[min(int(reward * 10), 9)] += reward - one["right"] / one["completions"]
    return sum(map(abs, gaps.values())) / len(rewards)


def recalibrated(told: Told) -> list[float]:
    """Rewards through the isotonic map of the other half's prefixes of like depth, as min-max formula."""

    def fitted(other: Told) -> dict[float, float]:
        rewards = sorted({reward for _, reward in other})

        def mean(low: float, high: float) -> float:
            inside = [one for one, reward in other if low <= reward <= high]
            return sum(one["right"] for one in inside) / sum(one["completions"] for one in inside)

        return {
            at: max(min(mean(low, high) for high in rewards if high >= at) for low in rewards if low <= at)
            for at in rewards
        }

    result = []
    for one, reward in told:
        other = [
            (another, score)
            for another, score in told
            if len(another["steps"]) == len(one["steps"]) and another["question"] % 2 != one["question"] % 2
        ]
        steps = fitted(other)
        result.append(float(np.interp(reward, [*steps], [*steps.values()])) if steps else reward)
    return result


def test_figures_are_those_of_the_kept_lines(models: FilePath, tmp_path: FilePath) -> None:
    out = tmp_path / "out"
    figures = evaluate_models(WORLD, models, ASKED, out, lambda *_: None)
    assert [*figures["policies"]] == ["policy-small", "policy"]
    assert [*figures["rewards"]] == ["reward", "reward-weak"]
    for name, levels in figures["policies"].items():
        (file,) = out.glob(f"rollouts-stories-{name}-????????-validation-3-2.jsonl")
        right = {level: [] for level in WORLD.levels}  # type: ignore[var-annotated]
        for row in lines(file):
            assert len(row["rollouts"]) == 64
            right[row["problem"]["level"]].append([one["ended"] and one["reachable"][-1] for one in row["rollouts"]])
        for level, outcomes in right.items():
            told = levels[str(level)]
            assert told["questions"] == len(outcomes) == 2
            assert told["solved_at_1"] == pytest.approx(np.mean(outcomes), abs=1e-4)
            assert told["solved_at_64"] == pytest.approx(np.mean([any(one) for one in outcomes]), abs=1e-4)
    (file,) = out.glob("prefixes-stories-policy-????????-validation-3-2x3x5.jsonl")
    rows, ids = lines(file), [problem.id for problem in ASKED.drawn(WORLD)]
    for name, groups in figures["rewards"].items():
        model = AutoModelForTokenClassification.from_pretrained(models / name, local_files_only=True).float()
        judged = [
            (one | {"level": row["problem"]["level"], "question": ids.index(row["problem"]["id"])}, reward)
            for row in rows
            for one, reward in zip(
                row["prefixes"], plain_rewards(model, Problem(**row["problem"]), row["prefixes"]), strict=True
            )
        ]
        going = [(one, reward) for one, reward in judged if not one["ended"]]
        chosen = {"all": going, "finished": [pair for pair in judged if pair[0]["ended"]]}
        chosen |= {f"level {level}": [pair for pair in going if pair[0]["level"] == level] for level in WORLD.levels}
        depths = {len(one["steps"]) for one, _ in going}
        chosen |= {f"depth {depth}": [pair for pair in going if len(pair[0]["steps"]) == depth] for depth in depths}
        assert set(groups) == set(chosen)
        for group, members in chosen.items():
            told, ones = groups[group], [one for one, _ in members]
            rewards = [reward for _, reward in members]
            worth = [one["right"] / one["completions"] for one in ones]
            assert told["prefixes"] == len(ones)
            assert told["worth"] == pytest.approx(np.mean(worth), abs=1e-3)
            assert told["valid"] == pytest.approx(np.mean([one["valid"] for one in ones]), abs=1e-3)
            if 0 < sum(worth) < len(worth):
                failed = [one["completions"] - one["right"] for one in ones]
                area = pairs_won(rewards, [one["right"] for one in ones], failed)
                assert told["auc_outcome"] == pytest.approx(area, abs=2e-3)
            else:
                assert told["auc_outcome"] is None
        valid = [float(one["valid"]) for one, _ in going]
        area = pairs_won([reward for _, reward in going], valid, [1 - one for one in valid])
        assert groups["all"]["auc_validity"] == pytest.approx(area, abs=2e-3)
        told = groups["all"]
        assert told["ece"] == pytest.approx(gap([reward for _, reward in going], going), abs=1e-3)
        assert told["ece_calibrated"] == pytest.approx(gap(recalibrated(going), going), abs=1e-3)
    assert figures["rewards"]["reward"] != figures["rewards"]["reward-weak"]


def test_a_stopped_evaluation_goes_on_and_comes_to_the_same(
    models: FilePath, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    whole = evaluate_models(WORLD, models, ASKED, out, lambda *_: None)
    (file,) = out.glob("prefixes-*.jsonl")
    file.write_text(file.read_text()[: len("".join(file.read_text().splitlines(True)[:4])) + 40])
    kept = {row["problem"]["id"] for row in map(json.loads, file.read_text().splitlines()[:4])}
    opened: list[str] = []
    plain = type(DEMONSTRATOR).open

    def noted(self: Any, problem: Problem, sampling: Sampling) -> Any:
        opened.append(problem.id)
        return plain(self, problem, sampling)

    monkeypatch.setattr(type(DEMONSTRATOR), "open", noted)
    assert evaluate_models(WORLD, models, ASKED, out, lambda *_: None) == whole
    assert set(opened) == {problem.id for problem in ASKED.drawn(WORLD)} - kept
    opened.clear()
    assert evaluate_models(WORLD, models, ASKED, out, lambda *_: None) == whole
    assert opened == []


def test_the_card_tells_the_whole_family(models: FilePath, tmp_path: FilePath) -> None:
    figures = evaluate_models(WORLD, models, ASKED, tmp_path / "out", lambda *_: None)
    write_card(WORLD, models, figures)
    assert json.loads((models / "figures.json").read_text()) == figures
    training = json.loads((models / "training.json").read_text())
    card = (models / "README.md").read_text()
    assert card == render_card(WORLD, training, figures)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in card.splitlines() if line[:1] == "|"]
    row = figures["policies"]["policy"]["2"]
    told = next(each for each in cells if each[:2] == ["`policy`", "2"])
    assert told[2:5] == ["2", f"{row['solved_at_1']:.3f}", f"{row['solved_at_16']:.3f}"]
    for name, groups in figures["rewards"].items():
        for group, values in groups.items():
            told = next(each for each in cells if each[:2] == [f"`{name}`", group])
            assert told[2:] == [
                f"{values['prefixes']:,}",
                *("–" if one is None else f"{one:.3f}" for one in [*values.values()][1:]),
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


def test_what_is_not_there_is_named(models: FilePath, tmp_path: FilePath) -> None:
    def measured(folder: FilePath) -> Any:
        return evaluate_models(WORLD, folder, ASKED, tmp_path / "out", lambda *_: None)

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
    assert "reward models on" not in (models / "README.md").read_text()
    (models / "training.json").unlink()
    with pytest.raises(InputError, match=r"how policy-small was made.*--out"):
        write_card(WORLD, models, figures)


def test_prefixes_are_keyed_apart() -> None:
    """A text that ended and the same one going on are two, and each continues the key of what it grew from."""

    def prefix(*steps: str, ended: bool = False) -> Prefix:
        return Prefix(steps, 1, 0, 1, "", True, True, ended)

    many = [prefix("a", "b"), prefix("a"), prefix("a", "b", ended=True), prefix("c", "b"), prefix("a", "b", "c")]
    paths = scoring._as_paths(many)
    assert len({path.key for path in paths}) == 5
    assert [len(path.key) for path in paths] == [2, 1, 2, 2, 3]
    assert paths[0].key[:1] == paths[2].key[:1] == paths[1].key
    assert paths[4].key[:2] == paths[0].key
    assert [path.ended for path in paths] == [False, False, True, False, False]
