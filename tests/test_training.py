"""How the bundled models are made: training that can be stopped, batches by name, rollouts kept as lines."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

from rollwise.core import Path, Problem, Sampling, Step, Stop
from rollwise.engines.checkpoint import load_checkpoint
from rollwise.engines.local import LocalPolicy
from rollwise.errors import InputError
from rollwise.registry import find_world
from rollwise.worlds import training
from rollwise.worlds.countdown import Countdown
from rollwise.worlds.recipe import PARTS, run_parts
from rollwise.worlds.reward_training import (
    REWARD_OPTIONS,
    draw_examples,
    encode,
    label_loss,
    to_batch,
    train_reward,
)
from rollwise.worlds.rollouts import Rollout, collect, label_rollout, load
from rollwise.worlds.tokenizer import build_tokenizer
from rollwise.worlds.training import (
    SHAPES,
    PolicyShape,
    TrainingOptions,
    demonstration_batch,
    fit,
    new_policy,
    train_policy,
)

torch.set_num_threads(1)

WORLD = Countdown()
TOKENIZER: Any = build_tokenizer(WORLD.literals)
SHAPE = PolicyShape(hidden=16, layers=1, heads=2, feed_forward=24)
OPTIONS = TrainingOptions(steps=6, batch_tokens=300, warmup=2, checkpoint_every=3)


class PowerCutError(Exception):
    """What interrupts a training here."""


def train(folder: FilePath, options: TrainingOptions = OPTIONS, seed: int = 0, stop_at: int | None = None) -> Any:
    """A tiny policy after its training; `stop_at` interrupts it at that step."""
    model: Any = new_policy(SHAPE, TOKENIZER, seed)
    seen: list[int] = []

    def batch_at(step: int) -> dict[str, Any]:
        if step == stop_at:
            raise PowerCutError
        seen.append(step)
        return demonstration_batch(WORLD, TOKENIZER, options, step)

    def loss_of(trained: Any, batch: dict[str, Any]) -> Any:
        return trained(**batch, use_cache=False).loss

    model.loss = fit(model, batch_at, loss_of, options, folder, lambda done, total, loss: None)
    model.seen = seen
    return model


def assert_same_weights(one: Any, other: Any) -> None:
    ones, others = one.state_dict(), other.state_dict()
    assert ones.keys() == others.keys()
    assert all(torch.equal(ones[name], others[name]) for name in ones)


def test_a_resumed_training_is_the_uninterrupted_one_bit_by_bit(tmp_path: FilePath) -> None:
    whole = train(tmp_path / "whole")
    with pytest.raises(PowerCutError):
        train(tmp_path / "cut", stop_at=4)
    resumed = train(tmp_path / "cut", seed=1)
    assert resumed.seen == [3, 4, 5]
    assert_same_weights(resumed, whole)
    assert resumed.loss == whole.loss
    fresh: Any = new_policy(SHAPE, TOKENIZER, 0)
    assert not torch.equal(whole.lm_head.weight, fresh.lm_head.weight)
    finished = train(tmp_path / "cut", seed=2)
    assert finished.seen == []
    assert_same_weights(finished, whole)
    assert finished.loss == whole.loss


def test_training_learns(tmp_path: FilePath) -> None:
    options = replace(OPTIONS, steps=60, learning_rate=1e-2)
    model: Any = new_policy(SHAPE, TOKENIZER, 0)
    losses: list[float] = []

    def loss_of(trained: Any, batch: dict[str, Any]) -> Any:
        loss = trained(**batch, use_cache=False).loss
        losses.append(float(loss.detach()))
        return loss

    def batch_at(step: int) -> dict[str, Any]:
        return demonstration_batch(WORLD, TOKENIZER, options, step)

    told: list[tuple[int, int, float]] = []
    mean = fit(model, batch_at, loss_of, options, tmp_path, lambda *facts: told.append(facts))
    assert losses[0] == pytest.approx(np.log(len(TOKENIZER)), abs=0.5)
    assert np.mean(losses[-10:]) < 0.7 * losses[0]
    assert mean == pytest.approx(np.mean(losses))
    assert [facts[:2] for facts in told] == [(step, 60) for step in range(1, 61)]
    assert told[9][2] == pytest.approx(np.mean(losses[:10]))
    assert not model.training


@pytest.mark.parametrize("change", [{"steps": 7}, {"seed": 1}, {"learning_rate": 1e-3}, {"batch_tokens": 200}])
def test_a_checkpoint_of_other_options_is_refused(tmp_path: FilePath, change: dict[str, Any]) -> None:
    train(tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(InputError, match="other options"):
        train(tmp_path, replace(OPTIONS, **change))
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_the_learning_rate_warms_up_and_falls_to_a_twentieth() -> None:
    options = TrainingOptions(steps=1000, warmup=100, learning_rate=1.0)
    rates = [options.rate_at(step) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99] == rates[100] == pytest.approx(1.0)
    assert rates[550] == pytest.approx((1 + 0.05) / 2)
    assert rates[1000] == pytest.approx(0.05)
    assert all(early >= late for early, late in pairwise(rates[100:]))


def test_a_batch_is_a_function_of_seed_and_step_and_hides_the_prompt() -> None:
    batch = demonstration_batch(WORLD, TOKENIZER, OPTIONS, 4)
    demonstration_batch(WORLD, TOKENIZER, OPTIONS, 5)
    again = demonstration_batch(WORLD, build_tokenizer(WORLD.literals), replace(OPTIONS), 4)
    assert all(torch.equal(batch[name], again[name]) for name in ("input_ids", "labels"))
    for other in (
        demonstration_batch(WORLD, TOKENIZER, OPTIONS, 5),
        demonstration_batch(WORLD, TOKENIZER, replace(OPTIONS, seed=1), 4),
    ):
        assert TOKENIZER.decode(other["input_ids"][0]) != TOKENIZER.decode(batch["input_ids"][0])
    for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        text = TOKENIZER.decode(ids)
        prompt, solution = text.split("<|assistant|>")
        solution, padding = solution.split("<|end|>")
        assert padding == "<|pad|>" * (padding.count("<|pad|>"))
        asked = [token for token, label in zip(ids, labels, strict=True) if label != -100]
        assert TOKENIZER.decode(asked) == solution + "<|end|>"
        assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))
        problem = WORLD.parse(prompt.removeprefix("<|user|>"))
        assert prompt == f"<|user|>{problem.question}"
        steps = solution.split(WORLD.separator)
        assert WORLD.step_is_valid(problem, steps)
        assert WORLD.reachable(problem, steps)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> FilePath:
    """A folder as `rollwise world train --part policy` leaves it."""
    out = tmp_path_factory.mktemp("made")
    facts = train_policy(WORLD, out, OPTIONS, SHAPE, lambda done, total, loss: None)
    assert (facts["steps"], facts["seed"]) == (6, 0)
    return out


def test_the_saved_policy_is_the_trained_one_in_half_precision(folder: FilePath, tmp_path: FilePath) -> None:
    saved = AutoModelForCausalLM.from_pretrained(folder / "policy", local_files_only=True)
    assert saved.dtype == torch.float16
    trained = train(tmp_path)
    training.save_half(trained, TOKENIZER, tmp_path / "half")
    assert trained.dtype == torch.float32
    assert_same_weights(saved, trained.half())
    assert saved.config.eos_token_id == TOKENIZER.eos_token_id
    assert not [file for file in (folder / "policy").iterdir() if file.suffix in (".bin", ".pt", ".pkl")]
    model, tokenizer = load_checkpoint(folder / "policy", "AutoModelForCausalLM", "float32")
    assert model.dtype == torch.float32
    assert_same_weights(model, saved.float())
    assert tokenizer.get_vocab() == TOKENIZER.get_vocab()
    ids = torch.tensor([TOKENIZER(WORLD.problem(1, 0).question)["input_ids"]])
    with torch.no_grad():
        difference = model(ids).logits - trained.float()(ids).logits
    assert float(difference.abs().max()) < 1e-5


def test_a_folder_without_a_model_is_refused(tmp_path: FilePath) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        load_checkpoint(tmp_path, "AutoModelForCausalLM")


class Counting(LocalPolicy):
    """A policy that notes which problems it is opened for."""

    opened: list[str]

    def open(self, problem: Problem, sampling: Sampling) -> Any:
        self.opened.append(problem.id)
        return super().open(problem, sampling)


@pytest.fixture
def policy(folder: FilePath) -> Counting:
    counting = Counting(*load_checkpoint(folder / "policy", "AutoModelForCausalLM", "float64"), WORLD.separator, 16)
    counting.opened = []
    return counting


PROBLEMS = [WORLD.problem(1, seed, "train") for seed in range(6)]
SAMPLING = Sampling(1.0, max_step_tokens=6)
Collect = Callable[[int], list[tuple[Problem, list[Rollout]]]]


@pytest.fixture
def collected(policy: Counting, tmp_path: FilePath) -> Collect:
    """Collects the rollouts of the first so many problems into one file, and reads it."""
    file = tmp_path / "deep" / "rollouts.jsonl"

    def run(count: int) -> list[tuple[Problem, list[Rollout]]]:
        collect(WORLD, policy, PROBLEMS[:count], 4, SAMPLING, file, lambda done, total: None)
        return list(load(file))

    return run


def by_id(rows: list[tuple[Problem, list[Rollout]]]) -> dict[str, tuple[Problem, list[Rollout]]]:
    named = {problem.id: (problem, rollouts) for problem, rollouts in rows}
    assert len(named) == len(rows)
    return named


def test_rollouts_are_collected_once(policy: Counting, collected: Collect, tmp_path: FilePath) -> None:
    file = tmp_path / "deep" / "rollouts.jsonl"
    some = by_id(collected(3))
    assert set(some) == {problem.id for problem in PROBLEMS[:3]}
    lines = file.read_text().splitlines()
    everything = by_id(collected(6))
    assert file.read_text().splitlines()[:3] == lines
    assert Counter(policy.opened) == Counter(problem.id for problem in PROBLEMS)
    assert [problem for problem, _ in everything.values() if problem not in PROBLEMS] == []
    assert all(everything[name] == row for name, row in some.items())
    for problem, rollouts in everything.values():
        assert len(rollouts) == 4
        for rollout in rollouts:
            assert len(rollout.steps) == len(rollout.reachable)
            assert not (rollout.right and not rollout.ended)
            texts = "".join(rollout.steps).split(WORLD.separator)[:-1]
            assert rollout.ended or rollout.reachable[-1] == WORLD.reachable(problem, texts)


def test_a_last_line_that_was_cut_off_is_made_again(policy: Counting, collected: Collect, tmp_path: FilePath) -> None:
    file = tmp_path / "deep" / "rollouts.jsonl"
    whole = by_id(collected(4))
    content = file.read_text()
    cut_problem = json.loads(content.splitlines()[-1])["problem"]["id"]
    file.write_text(content[:-40])
    assert len(list(load(file))) == 3
    policy.opened.clear()
    rows = by_id(collected(5))
    assert set(rows) == {problem.id for problem in PROBLEMS[:5]}
    assert {name: rows[name] for name in whole} == whole
    assert set(policy.opened) == {cut_problem, PROBLEMS[4].id}


SOLUTION = ["2 + 3 = 5, left: 4 5\n\n", "4 × 5 = 20, left: 20\n\n", "Answer: \\boxed{4 × (2 + 3)}"]


@pytest.mark.parametrize(
    ("texts", "stop", "reachable", "right"),
    [
        (SOLUTION, Stop.END, (True, True, True), True),
        (SOLUTION[:2], Stop.STEP, (True, True), False),
        ([*SOLUTION[:2], "Answer: \\boxed{4 × 5}"], Stop.END, (True, True, False), False),
        (["2 + 3 = 5, left: 4 5\n\n", "5 − 4 = 1, left: 1\n\n"], Stop.STEP, (True, False), False),
        (["2 + 3 = 6, left: 4 6\n\n", SOLUTION[2]], Stop.END, (False, True), True),
        (SOLUTION[:2], Stop.END, (True, False), False),
    ],
)
def test_a_rollout_carries_the_truth(texts: list[str], stop: Stop, reachable: tuple[bool, ...], right: bool) -> None:
    problem = WORLD.parse("Use 2, 3, 4 to make 20")
    stops = [Stop.STEP] * (len(texts) - 1) + [stop]
    path = Path((0,), tuple(Step(text, 1, why) for text, why in zip(texts, stops, strict=True)))
    rollout = label_rollout(WORLD, problem, path)
    assert rollout == Rollout(tuple(texts), reachable, stop is Stop.END)
    assert rollout.right == right


def test_reward_labels_stand_at_the_ends_of_steps() -> None:
    problem = WORLD.parse("Use 2, 3, 4 to make 20")
    rollouts = [
        Rollout(tuple(SOLUTION), (True, True, True), True),
        Rollout(("2 + 3 = 6, left: 4 6\n\n", "4 + 6 = 10, left: 10\n\n"), (False, False), False),
    ]
    examples = [encode(TOKENIZER, problem, rollout) for rollout in rollouts]
    for rollout, example in zip(rollouts, examples, strict=True):
        assert example.labels == rollout.reachable
        for depth, end in enumerate(example.ends, start=1):
            last = depth == len(rollout.steps)
            read = "".join(rollout.steps[:depth]) + "<|end|>" * (rollout.ended and last)
            assert TOKENIZER.decode(example.tokens[: end + 1]) == f"<|user|>{problem.question}<|assistant|>{read}"
    batch = to_batch(examples, TOKENIZER.pad_token_id)
    shown = [[(at, label) for at, label in enumerate(row) if label != -100] for row in batch["labels"].tolist()]
    assert shown == [list(zip(example.ends, example.labels, strict=True)) for example in examples]
    assert batch["input_ids"][0].tolist() == list(examples[0].tokens)
    padding = len(examples[0].tokens) - len(examples[1].tokens)
    assert batch["input_ids"][1].tolist() == [*examples[1].tokens, *[TOKENIZER.pad_token_id] * padding]

    class Fixed:
        """A model whose logits are given."""

        logits: Any = torch.zeros(*batch["labels"].shape, 2)

        def __call__(self, **inputs: Any) -> Any:
            return self

    model: Any = Fixed()
    model.logits[..., 1] = 2.0
    right, wrong = -np.log(1 / (1 + np.exp(-2))), -np.log(1 / (1 + np.exp(2)))
    assert float(label_loss(model, batch)) == pytest.approx((3 * right + 2 * wrong) / 5, abs=1e-6)


def test_reward_batches_go_from_fresh_attempts_to_the_policys_own_rollouts() -> None:
    problem = WORLD.parse("Use 2, 3, 4 to make 20")
    own = encode(TOKENIZER, problem, Rollout(tuple(SOLUTION), (True, True, True), True))
    sampled = {level: [own] for level in WORLD.levels}
    options = TrainingOptions(steps=400, batch_tokens=160)
    drawn = [draw_examples(WORLD, TOKENIZER, sampled, options, step) for step in range(400)]
    assert drawn[7] == draw_examples(WORLD, TOKENIZER, sampled, replace(options), 7)
    assert drawn[7] != draw_examples(WORLD, TOKENIZER, sampled, replace(options, seed=1), 7)
    assert all(len(batch) * max(len(one.tokens) for one in batch) > 80 for batch in drawn)
    kinds = [{example == own for example in batch} for batch in drawn]
    assert all(len(kind) == 1 for kind in kinds)
    whole = sum(share for (_, after), share in WORLD.curriculum.reward_kinds.items() if not after)
    shares = [sum(kind == {True} for kind in kinds[start : start + 100]) / 100 for start in (0, 300)]
    assert shares == pytest.approx([whole / 8, whole * 7 / 8], abs=0.13)
    fresh = [example for batch, kind in zip(drawn, kinds, strict=True) if kind == {False} for example in batch]
    assert len(set(fresh)) > 0.99 * len(fresh)
    labels = [label for example in fresh for label in example.labels]
    assert 0.3 < np.mean(labels) < 0.8


def test_a_reward_model_is_trained_from_the_policy_and_loads_by_auto(
    folder: FilePath, collected: Collect, tmp_path: FilePath
) -> None:
    collected(3)
    options = replace(OPTIONS, steps=4)
    facts = train_reward(
        WORLD, folder / "policy", tmp_path / "deep" / "rollouts.jsonl", tmp_path, options, lambda *_: None
    )
    assert facts["rollouts"] == 12
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "reward", local_files_only=True)
    assert model.dtype == torch.float16
    assert model.config.num_labels == 2
    assert model.dropout.p == 0
    ids = torch.tensor([TOKENIZER(WORLD.problem(1, 0).question)["input_ids"]])
    with torch.no_grad():
        assert model.float()(ids).logits.shape == (1, ids.shape[1], 2)


def test_a_reward_checkpoint_of_other_rollouts_is_refused(
    folder: FilePath, collected: Collect, tmp_path: FilePath
) -> None:
    """Else the old model would be handed out as one trained on the new rollouts."""
    file, options = tmp_path / "deep" / "rollouts.jsonl", replace(OPTIONS, steps=2)
    collected(2)
    train_reward(WORLD, folder / "policy", file, tmp_path, options, lambda *_: None)
    collected(4)
    with pytest.raises(InputError, match="other"):
        train_reward(WORLD, folder / "policy", file, tmp_path, options, lambda *_: None)


def test_the_numbers_game_is_trained_on_what_its_recipe_always_trained_on() -> None:
    """Bundled models name this recipe; their batches must stay what they were."""
    digest = hashlib.sha256()
    for step in (0, 2300, 7499):
        batch = demonstration_batch(WORLD, TOKENIZER, TrainingOptions(), step)
        digest.update(repr([batch[name].tolist() for name in ("input_ids", "labels")]).encode())
    for step in (0, 2500, 4999):
        digest.update(repr(draw_examples(WORLD, TOKENIZER, {}, REWARD_OPTIONS, step)).encode())
    assert digest.hexdigest() == "42bf4487aceeb017d19f1e8d0da05a9517582b15e2ef4deba8551a8d30fe0e0c"


@pytest.mark.parametrize(("size", "parameters"), [("small", 0.5e6), ("base", 2.4e6), ("large", 5e6)])
def test_the_sizes_are_one_family(size: str, parameters: float) -> None:
    shape = SHAPES[size]
    model: Any = new_policy(shape, build_tokenizer(find_world("stories").literals), 0)
    assert model.num_parameters() == pytest.approx(parameters, rel=0.1)
    assert shape.hidden // shape.heads == 32


def test_a_world_of_stories_is_trained_by_the_same_recipe(tmp_path: FilePath) -> None:
    world = find_world("stories")
    facts = run_parts(world, tmp_path, PARTS, 0, 2, 10, 2, "small", lambda *_: None)
    assert facts["policy"]["parameters"] < 6e5
    rows = list(load(tmp_path / "rollouts-0-10x2.jsonl"))
    assert 0 < facts["reward"]["rollouts"] == sum(len(rollouts) for _, rollouts in rows)
    assert {problem.level for problem, _ in rows} == set(world.levels)
    assert (tmp_path / "reward" / "model.safetensors").exists()
    with pytest.raises(InputError, match="small, base, large"):
        run_parts(world, tmp_path, PARTS, 0, 2, 10, 2, "huge", lambda *_: None)
