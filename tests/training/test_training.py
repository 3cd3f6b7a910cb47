"""The training of bundled models: training that can be stopped, keyed batches, and rollouts stored as lines."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import binom
from scipy.stats import betabinom
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

from rollwise.calibration.prefixes import Prefix, collect_prefixes, load_prefixes
from rollwise.calibration.rollouts import Rollout, collect_rollouts, label_rollout, load_rollouts
from rollwise.core import Path, Problem, Sampling, Step, Stop
from rollwise.engines.local.checkpoint import load_checkpoint
from rollwise.engines.local.policy import LocalPolicy
from rollwise.errors import InputError
from rollwise.names import FAMILY, WORLDS, bundled
from rollwise.registry import find_policy, find_reward, find_world
from rollwise.training import fitting
from rollwise.training.fitting import TrainingOptions, fit, use_threads
from rollwise.training.policy import SHAPES, PolicyShape, demonstration_batch, new_policy, policy_name, train_policy
from rollwise.training.recipe import PARTS, Recipe, run_parts, training_problems
from rollwise.training.reward import (
    REWARD_OPTIONS,
    Example,
    draw_examples,
    encode,
    encode_prefixes,
    label_loss,
    to_batch,
    train_reward,
)
from rollwise.worlds.countdown import Countdown
from rollwise.worlds.tokenizer import build_tokenizer

torch.set_num_threads(1)

WORLD = Countdown()
TOKENIZER: Any = build_tokenizer(WORLD.literals)
SHAPE = PolicyShape(hidden=16, layers=1, heads=2, feed_forward=24)
OPTIONS = TrainingOptions(steps=6, batch_tokens=300, warmup=2, checkpoint_every=3)


class PowerCutError(Exception):
    """Interrupts a training."""


def train(folder: FilePath, options: TrainingOptions = OPTIONS, seed: int = 0, stop_at: int | None = None) -> Any:
    """A tiny policy after its training; `stop_at` interrupts the training at that step."""
    model: Any = new_policy(SHAPE, TOKENIZER, seed)
    steps: list[int] = []

    def batch_at(step: int) -> dict[str, Any]:
        if step == stop_at:
            raise PowerCutError
        steps.append(step)
        return demonstration_batch(WORLD, TOKENIZER, options, step)

    def loss_of(trained: Any, batch: dict[str, Any]) -> Any:
        return trained(**batch, use_cache=False).loss

    model.loss = fit(model, batch_at, loss_of, options, folder, lambda done, total, loss: None)
    model.trained_steps = steps
    return model


def assert_same_weights(model: Any, other: Any) -> None:
    weights, others = model.state_dict(), other.state_dict()
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_a_resumed_training_equals_an_uninterrupted_one_bit_by_bit(tmp_path: FilePath) -> None:
    whole = train(tmp_path / "whole")
    with pytest.raises(PowerCutError):
        train(tmp_path / "cut", stop_at=4)
    resumed = train(tmp_path / "cut", seed=1)
    assert resumed.trained_steps == [3, 4, 5]
    assert_same_weights(resumed, whole)
    assert resumed.loss == whole.loss
    fresh: Any = new_policy(SHAPE, TOKENIZER, 0)
    assert not torch.equal(whole.lm_head.weight, fresh.lm_head.weight)
    finished = train(tmp_path / "cut", seed=2)
    assert finished.trained_steps == []
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

    reports: list[tuple[int, int, float]] = []
    mean = fit(model, batch_at, loss_of, options, tmp_path, lambda *report: reports.append(report))
    assert losses[0] == pytest.approx(np.log(len(TOKENIZER)), abs=0.5)
    assert np.mean(losses[-10:]) < 0.7 * losses[0]
    assert mean == pytest.approx(np.mean(losses))
    assert [report[:2] for report in reports] == [(step, 60) for step in range(1, 61)]
    assert reports[9][2] == pytest.approx(np.mean(losses[:10]))
    assert not model.training


@pytest.mark.parametrize("change", [{"steps": 7}, {"seed": 1}, {"learning_rate": 1e-3}, {"batch_tokens": 200}])
def test_a_checkpoint_with_other_options_is_refused(tmp_path: FilePath, change: dict[str, Any]) -> None:
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


def test_seed_and_step_determine_a_batch_and_the_prompt_has_no_labels() -> None:
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
        labelled = [token for token, label in zip(ids, labels, strict=True) if label != -100]
        assert TOKENIZER.decode(labelled) == solution + "<|end|>"
        assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))
        problem = WORLD.parse(prompt.removeprefix("<|user|>"))
        assert prompt == f"<|user|>{problem.question}"
        steps = solution.split(WORLD.separator)
        assert WORLD.step_is_valid(problem, steps)
        assert WORLD.reachable(problem, steps)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> FilePath:
    """A folder like that of `rollwise world train --part policy`."""
    out = tmp_path_factory.mktemp("made")
    facts = train_policy(WORLD, out, OPTIONS, SHAPE, lambda done, total, loss: None)
    assert (facts["steps"], facts["seed"]) == (6, 0)
    return out


def test_other_processes_make_the_same_batches() -> None:
    def batch_at(step: int) -> fitting.Batch:
        return demonstration_batch(WORLD, TOKENIZER, OPTIONS, step) | {"maker": torch.tensor(os.getpid())}

    turns, ahead = (list(fitting.batches(batch_at, range(3, 9), each)) for each in (False, True))
    assert {int(batch.pop("maker")) for batch in turns} == {os.getpid()}
    assert os.getpid() not in {int(batch.pop("maker")) for batch in ahead}
    for batch, other in zip(turns, ahead, strict=True):
        assert all(torch.equal(batch[name], other[name]) for name in ("input_ids", "labels"))


def test_an_error_in_another_process_is_raised_at_its_batch() -> None:
    def batch_at(step: int) -> fitting.Batch:
        if step == 2:
            raise InputError("no such step")
        return {"step": torch.tensor(step)}

    ahead = fitting.batches(batch_at, range(4), ahead=True)
    assert [int(next(ahead)["step"]) for _ in range(2)] == [0, 1]
    with pytest.raises(InputError) as error:
        next(ahead)
    assert str(error.value) == "no such step"


def test_the_saved_policy_is_the_trained_policy_in_half_precision(folder: FilePath, tmp_path: FilePath) -> None:
    saved = AutoModelForCausalLM.from_pretrained(folder / "policy", local_files_only=True)
    assert saved.dtype == torch.float16
    trained = train(tmp_path)
    fitting.save_half(trained, TOKENIZER, tmp_path / "half")
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
    """A policy that records the problems it is opened for."""

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
    """Collects the rollouts of the first `count` problems into a file, and reads the file."""
    file = tmp_path / "deep" / "rollouts.jsonl"

    def run(count: int) -> list[tuple[Problem, list[Rollout]]]:
        collect_rollouts(WORLD, policy, PROBLEMS[:count], 4, SAMPLING, file, lambda done, total: None)
        return list(load_rollouts(file))

    return run


def by_id(rows: list[tuple[Problem, list[Rollout]]]) -> dict[str, tuple[Problem, list[Rollout]]]:
    named = {problem.id: (problem, rollouts) for problem, rollouts in rows}
    assert len(named) == len(rows)
    return named


def test_stored_rollouts_are_not_collected_again(policy: Counting, collected: Collect, tmp_path: FilePath) -> None:
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


def test_a_last_line_that_was_cut_off_is_written_again(
    policy: Counting, collected: Collect, tmp_path: FilePath
) -> None:
    file = tmp_path / "deep" / "rollouts.jsonl"
    whole = by_id(collected(4))
    content = file.read_text()
    cut_problem = json.loads(content.splitlines()[-1])["problem"]["id"]
    file.write_text(content[:-40])
    assert len(list(load_rollouts(file))) == 3
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
def test_a_rollout_holds_the_truth_about_its_steps(
    texts: list[str], stop: Stop, reachable: tuple[bool, ...], right: bool
) -> None:
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
    examples = [encode(TOKENIZER, problem, one.steps, one.ended, one.reachable) for one in rollouts]
    for rollout, example in zip(rollouts, examples, strict=True):
        assert example.labels == rollout.reachable
        for depth, end in enumerate(example.ends, start=1):
            last = depth == len(rollout.steps)
            read = "".join(rollout.steps[:depth]) + "<|end|>" * (rollout.ended and last)
            assert TOKENIZER.decode(example.tokens[: end + 1]) == f"<|user|>{problem.question}<|assistant|>{read}"
    batch = to_batch(examples, TOKENIZER.pad_token_id)
    shown = [[(at, label) for at, label in enumerate(row) if label == label] for row in batch["labels"].tolist()]
    assert shown == [list(zip(example.ends, example.labels, strict=True)) for example in examples]
    assert batch["input_ids"][0].tolist() == list(examples[0].tokens)
    padding = len(examples[0].tokens) - len(examples[1].tokens)
    assert batch["input_ids"][1].tolist() == [*examples[1].tokens, *[TOKENIZER.pad_token_id] * padding]

    model: Any = Fixed(torch.full(batch["labels"].shape, 2.0))
    right, wrong = -np.log(1 / (1 + np.exp(-2))), -np.log(1 / (1 + np.exp(2)))
    assert float(label_loss(model, batch)) == pytest.approx((3 * right + 2 * wrong) / 5, abs=1e-6)


class Fixed:
    """A model whose log odds are given, and log κ."""

    def __init__(self, odds: Any, log_concentration: float = 2.0) -> None:
        self.logits = torch.stack([torch.zeros_like(odds), odds, torch.full_like(odds, log_concentration)], dim=-1)

    def __call__(self, **inputs: Any) -> Any:
        return self


def prefix(*steps: str, right: int, completions: int = 8, ended: bool = False) -> Prefix:
    return Prefix(steps, 1, right, completions, "()", valid=True, reachable=True, ended=ended)


WRONG = "4 − 2 = 2, left: 2 3\n\n"
COMPLETED = [
    prefix(SOLUTION[0], right=6),
    prefix(*SOLUTION[:2], right=7),
    prefix(*SOLUTION, right=1, completions=1, ended=True),
    prefix(*SOLUTION[:2], "Answer: \\boxed{4 × 5}", right=0, completions=1, ended=True),
    prefix(WRONG, SOLUTION[1], right=2),  # the prefix before it was not completed
]


def test_labels_are_the_worth_of_every_prefix_up_to_there() -> None:
    problem = WORLD.parse("Use 2, 3, 4 to make 20")
    right, wrong, cut = encode_prefixes(TOKENIZER, problem, COMPLETED)
    assert right.labels == (0.75, 0.875, 1.0)
    assert wrong.labels == (0.75, 0.875, 0.0)
    assert wrong.completions == (8, 8, 1)
    assert np.isnan(cut.labels[0])
    assert cut.labels[1:] == (0.25,)
    assert TOKENIZER.decode(right.tokens).endswith("".join(SOLUTION) + "<|end|>")
    assert TOKENIZER.decode(cut.tokens).endswith(WRONG + SOLUTION[1])
    assert all(example.ends[-1] == len(example.tokens) - 1 for example in (right, wrong, cut))


def test_a_text_that_ended_is_another_prefix_than_the_same_text_unfinished() -> None:
    problem = WORLD.parse("Use 2, 3, 4 to make 20")
    early = prefix(SOLUTION[0], right=0, completions=1, ended=True)
    examples = encode_prefixes(TOKENIZER, problem, [*COMPLETED[:3], early])
    assert [example.labels for example in examples] == [(0.75, 0.875, 1.0), (0.0,)]


def test_an_unknown_label_does_not_affect_the_loss() -> None:
    problem = WORLD.parse("Use 2, 3, 4 to make 20")
    batch = to_batch(encode_prefixes(TOKENIZER, problem, COMPLETED), TOKENIZER.pad_token_id)
    odds = torch.randn(batch["labels"].shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    model: Any = Fixed(odds)
    loss = label_loss(model, batch)
    loss.backward()
    known = ~batch["labels"].isnan()
    assert int(known.sum()) == 3 + 3 + 1
    assert torch.equal(odds.grad != 0, known)
    count = batch["completions"][known].numpy()
    right, reward = batch["labels"][known].numpy() * count, torch.sigmoid(odds.detach())[known].double().numpy()
    assert sorted(count) == [1, 1, 8, 8, 8, 8, 8]
    expected = -(log_chance(right, count, reward, np.exp(2.0)) - np.log(binom(count, right))).sum() / count.sum()
    assert float(loss.detach()) == pytest.approx(float(expected), abs=1e-6)


def log_chance(right: Any, count: Any, mean: Any, concentration: float) -> Any:
    return betabinom.logpmf(right, count, concentration * mean, concentration * (1 - mean))


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize(("worth", "concentration"), [(0.1, 1.0), (0.5, 8.0), (0.85, 30.0)])
def test_the_expected_loss_is_smallest_at_the_true_belief(worth: float, concentration: float, count: int) -> None:
    """The expectation is over all numbers of right completions. A single completion says nothing about κ."""
    rights = np.arange(count + 1)
    chance = np.exp(log_chance(rights, count, worth, concentration))
    labels = torch.tensor([(rights / count).tolist()])
    batch = {"input_ids": torch.zeros(1, 1), "completions": torch.full(labels.shape, float(count))}

    def expected(mean: float, log_concentration: float) -> float:
        model: Any = Fixed(torch.tensor([[np.log(mean / (1 - mean))]], dtype=torch.float64), log_concentration)
        losses = [float(label_loss(model, single)) for single in singles]
        return float(chance @ losses)

    singles = [{**batch, "labels": labels[:, [at]], "completions": batch["completions"][:, [at]]} for at in rights]
    means = np.linspace(0.05, 0.95, 19)
    logs = np.log(concentration) + np.linspace(-1.5, 1.5, 7)
    losses = np.array([[expected(mean, log) for log in logs] for mean in means])
    assert means[losses.min(axis=1).argmin()] == pytest.approx(worth)
    if count == 1:
        assert losses == pytest.approx(np.repeat(losses[:, :1], len(logs), axis=1))
    else:
        assert logs[losses.min(axis=0).argmin()] == pytest.approx(np.log(concentration))


def test_reward_batches_shift_from_attempts_to_the_policys_own_solutions() -> None:
    problem = WORLD.parse("Use 2, 3, 4 to make 20")
    own = encode(TOKENIZER, problem, SOLUTION, True, (0.75, 0.875, 1.0))
    sampled = {level: [own] for level in WORLD.levels}
    options = TrainingOptions(steps=400, batch_tokens=160)
    drawn = [draw_examples(WORLD, TOKENIZER, sampled, options, step) for step in range(400)]
    assert drawn[7] == draw_examples(WORLD, TOKENIZER, sampled, replace(options), 7)
    assert drawn[7] != draw_examples(WORLD, TOKENIZER, sampled, replace(options, seed=1), 7)
    assert all(len(batch) * max(len(example.tokens) for example in batch) > 80 for batch in drawn)
    kinds = [{example == own for example in batch} for batch in drawn]
    assert all(len(kind) == 1 for kind in kinds)
    whole = sum(share for (_, after), share in WORLD.curriculum.reward_kinds.items() if not after)
    shares = [sum(kind == {True} for kind in kinds[start : start + 100]) / 100 for start in (0, 300)]
    assert shares == pytest.approx([whole / 8, whole * 7 / 8], abs=0.13)
    fresh = [example for batch, kind in zip(drawn, kinds, strict=True) if kind == {False} for example in batch]
    assert len(set(fresh)) > 0.99 * len(fresh)
    labels = [label for example in fresh for label in example.labels]
    assert set(labels) == {0.0, 1.0}
    assert 0.3 < np.mean(labels) < 0.8


@pytest.fixture
def completed(policy: Counting, tmp_path: FilePath) -> Callable[[int], FilePath]:
    """Completes the prefixes of the first `count` problems, and returns the file."""
    file = tmp_path / "deep" / "prefixes.jsonl"

    def run(count: int) -> FilePath:
        collect_prefixes(WORLD, policy, PROBLEMS[:count], 3, 2, SAMPLING, file, lambda done, total: None)
        return file

    return run


def test_a_reward_model_is_trained_from_the_policy_and_loads_with_auto_classes(
    folder: FilePath, completed: Callable[[int], FilePath], tmp_path: FilePath
) -> None:
    file = completed(3)
    options = replace(OPTIONS, steps=4)
    facts = train_reward(WORLD, folder / "policy", file, tmp_path, options, lambda *_: None)
    ended = [prefix.ended for _, prefixes in load_prefixes(file) for prefix in prefixes]
    assert (facts["prefixes"], facts["finished"]) == (ended.count(False), ended.count(True))
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "reward", local_files_only=True)
    assert model.dtype == torch.float16
    assert [*model.config.id2label.values()] == ["wrong", "right", "log_concentration"]
    assert model.dropout.p == 0
    ids = torch.tensor([TOKENIZER(WORLD.problem(1, 0).question)["input_ids"]])
    with torch.no_grad():
        assert model.float()(ids).logits.shape == (1, ids.shape[1], 3)


def test_a_reward_checkpoint_from_other_completions_is_refused(
    folder: FilePath, completed: Callable[[int], FilePath], tmp_path: FilePath
) -> None:
    """Otherwise the old model would pass as a model that was trained on the new completions."""
    options = replace(OPTIONS, steps=2)
    train_reward(WORLD, folder / "policy", completed(2), tmp_path, options, lambda *_: None)
    with pytest.raises(InputError, match="other"):
        train_reward(WORLD, folder / "policy", completed(4), tmp_path, options, lambda *_: None)


@pytest.mark.parametrize("level", [None, 9])
def test_completions_of_problems_without_a_level_of_the_world_are_refused(
    folder: FilePath, tmp_path: FilePath, level: int | None
) -> None:
    """Batches are drawn by level, so such problems would silently be left out."""
    file = tmp_path / "own.jsonl"
    problem = {"id": "mine", "question": "Use 2, 3, 4 to make 20", "level": level}
    file.write_text(json.dumps({"problem": problem, "prefixes": [vars(COMPLETED[0])]}) + "\n")
    with pytest.raises(InputError, match=r"'mine' needs a level of countdown, one of \[1, 2, 3, 4, 5\]"):
        train_reward(WORLD, folder / "policy", file, tmp_path, OPTIONS, lambda *_: None)


def test_the_batches_of_the_numbers_game_have_not_changed() -> None:
    """The bundled models cite this recipe, so it has to give the same batches as when they were trained."""
    digest = hashlib.sha256()
    for step in (0, 2300, 7499):
        batch = demonstration_batch(WORLD, TOKENIZER, TrainingOptions(), step)
        digest.update(repr([batch[name].tolist() for name in ("input_ids", "labels")]).encode())
    for step in (0, 2500, 4999):
        drawn = draw_examples(WORLD, TOKENIZER, {}, REWARD_OPTIONS, step)
        assert {label for example in drawn for label in example.labels} <= {0, 1}
        whole = [Example(each.tokens, each.ends, tuple(map(int, each.labels)), each.completions) for each in drawn]
        digest.update(repr(whole).encode())
    assert digest.hexdigest() == "17a2b60bcce8f68bf1ee994316e8c3494ff42e39714ef42ffd35b4d9164f6e66"


@pytest.mark.parametrize(("size", "parameters"), [("small", 0.5e6), ("base", 2.4e6), ("large", 5e6)])
def test_the_sizes_have_about_the_stated_parameters(size: str, parameters: float) -> None:
    shape = SHAPES[size]
    model: Any = new_policy(shape, build_tokenizer(WORLD.literals), 0)
    assert model.num_parameters() == pytest.approx(parameters, rel=0.1)
    assert shape.hidden // shape.heads == 32


TINY = Recipe(steps=20, size="small", problems=10, paths=2, completions=3)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The three sizes, replaced by shapes that train quickly."""
    for size, shape in zip(SHAPES, (SHAPE, replace(SHAPE, hidden=24), replace(SHAPE, hidden=32)), strict=True):
        monkeypatch.setitem(SHAPES, size, shape)


def all_prefixes(file: FilePath) -> list[Prefix]:
    return [prefix for _, prefixes in load_prefixes(file) for prefix in prefixes]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", ["countdown", "stories"])
def test_the_recipe_trains_the_models_of_every_world(name: str, tmp_path: FilePath) -> None:
    world = find_world(name)
    facts = run_parts(world, tmp_path, PARTS, TINY, lambda *_: None)
    assert json.loads((tmp_path / "training.json").read_text()) == facts
    assert set(facts) == {"policy-small", "completions", "reward", "reward-weak"}
    made = facts["completions"]
    assert (made["policy"], made["paths"], made["completions"], made["seed"]) == ("policy-small", 2, 3, 0)
    rows = list(load_prefixes(tmp_path / made["file"]))
    assert {problem.id for problem, _ in rows} == {problem.id for problem in training_problems(world, 10, 0)}
    assert {problem.level for problem, _ in rows} == set(world.levels)
    ended = [prefix.ended for prefix in all_prefixes(tmp_path / made["file"])]
    assert (made["prefixes"], made["finished"]) == (ended.count(False), ended.count(True))
    for reward, steps in (("reward", 20), ("reward-weak", 2)):
        assert facts[reward]["steps"] == steps
        assert facts[reward]["trunk"] == "policy-small"
        assert facts[reward]["learnt_from"] == {**made, "command": facts["completions"]["command"]}
        assert facts[reward]["prefixes"] == made["prefixes"] > 0
        assert (tmp_path / reward / "model.safetensors").exists()
    assert facts["reward-weak"]["command"] == (
        f"rollwise world train {name} --part weak --steps 20 --size small --problems 10 --paths 2 --completions 3"
    )
    kept = (tmp_path / made["file"]).read_bytes()
    again = run_parts(world, tmp_path, PARTS, TINY, lambda *_: None)
    assert (tmp_path / made["file"]).read_bytes() == kept
    assert {part: each["loss"] for part, each in again.items() if "loss" in each} == {
        part: each["loss"] for part, each in facts.items() if "loss" in each
    }


@pytest.mark.usefixtures("tiny")
def test_all_models_lie_in_a_folder_and_reward_models_choose_their_trunk(tmp_path: FilePath) -> None:
    def run(part: str, **options: Any) -> Any:
        recipe = Recipe(**{"steps": 2, "problems": 10, "paths": 1, "completions": 2} | options)
        return run_parts(WORLD, tmp_path, [part], recipe, lambda *_: None)

    with pytest.raises(InputError, match=r"holds no policy yet.*--part policy$"):
        run("completions")
    with pytest.raises(InputError, match=r"holds no policy yet.*--part policy$"):
        run("reward")
    for size in SHAPES:
        run("policy", size=size)
    names = ["policy-small", "policy", "policy-large"]
    assert [policy_name(size) for size in SHAPES] == names
    assert {each.name for each in tmp_path.iterdir()} == {
        "training.json",
        *names,
        *(f"{name}-checkpoint" for name in names),
    }
    with pytest.raises(InputError, match=r"--part completions.*--prefixes FILE"):
        run("reward")
    assert run("completions")["completions"]["policy"] == "policy"
    assert run("reward")["reward"]["trunk"] == "policy-large"
    assert run("weak")["reward-weak"]["trunk"] == "policy-small"
    with pytest.raises(InputError, match="other shape, source"):
        run("reward", size="base")
    made = tmp_path / run("completions", size="large")["completions"]["file"]
    assert "policy-large" in made.name
    own = made.rename(tmp_path / "own.jsonl")
    (tmp_path / "reward-weak-checkpoint" / "checkpoint.safetensors").unlink()
    facts = run("weak", size="large", prefixes=own)["reward-weak"]
    assert (facts["trunk"], facts["learnt_from"]) == ("policy-large", {"file": "own.jsonl"})
    with pytest.raises(InputError, match="--part reward or --part weak"):
        run("completions", prefixes=own)
    with pytest.raises(InputError, match="small, base, large"):
        run("policy", size="huge")


def test_completions_of_another_policy_go_to_another_file(tmp_path: FilePath) -> None:
    """Otherwise a newly trained policy would be paired with the completions of the old policy."""
    files = []
    for seed in (0, 1):
        where = tmp_path / str(seed)
        train_policy(WORLD, where, replace(OPTIONS, steps=1, seed=seed), SHAPE, lambda *_: None)
        files.append(run_parts(WORLD, where, ["completions"], replace(TINY, size=None), lambda *_: None))
    assert files[0]["completions"]["file"] != files[1]["completions"]["file"]


def test_use_threads_sets_the_threads_of_torch() -> None:
    use_threads(2)
    assert torch.get_num_threads() == 2
    use_threads(1)
    assert torch.get_num_threads() == 1
    with pytest.raises(InputError, match="at least 1"):
        use_threads(0)


@pytest.mark.parametrize("world", WORLDS)
def test_bundled_models_are_found_by_name_or_the_error_says_how_to_train_them(
    world: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [bundled(world, "policy", name).name for name in FAMILY["policy"]] == [
        "policy",
        "policy-small",
        "policy-large",
    ]
    assert [bundled(world, "reward", name).name for name in FAMILY["reward"]] == ["reward", "reward-weak"]
    monkeypatch.setattr("rollwise.names.bundled", lambda *_: FilePath("nowhere"))
    for size in ("small", "large"):
        with pytest.raises(
            InputError, match=rf"no {size} policy.*world train {world} --part policy --size {size}`"
        ) as raised:
            find_policy(size, world)
        assert ("--policy 'demonstrator'" in str(raised.value)) == (find_world(world).demonstrator() is not None)
    with pytest.raises(InputError, match=rf"no weak reward.*world train {world}`"):
        find_reward("weak", world)
    with pytest.raises(InputError, match=r"trained, weak, gsm8k, dial\(SIZE,SHARED\), hf:owner/name, or the folder"):
        find_reward("strong", world)


def test_a_bundled_model_is_loaded_from_its_folder(folder: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollwise.names.bundled", lambda world, part, name: folder / FAMILY[part]["trained"])
    find_policy.cache_clear()
    small: Any = find_policy("small", "countdown")
    find_policy.cache_clear()
    assert small.parameters == new_policy(SHAPE, TOKENIZER, 0).num_parameters()
