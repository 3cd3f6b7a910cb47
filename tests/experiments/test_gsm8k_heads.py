"""A reward model's head on a frozen policy: its states, its fit and the model that it makes, on random numbers."""

import asyncio
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reward_checkpoints import QWEN_SPECIAL
from scipy.optimize import minimize
from scipy.stats import betabinom
from tiny import CHATML, byte_tokenizer, tiny_model

from rollwise.calibration import load_rollouts, score_prefixes
from rollwise.calibration.prefixes import Prefix
from rollwise.core import Judgement, Problem
from rollwise.engines.local import load_checkpoint
from rollwise.models.adapters import merge_adapter
from rollwise.rewards import LocalReward

ROOT = Path(__file__).parents[2]
WIDTH = 6


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "experiments" / "gsm8k"))


def heads() -> Any:
    return importlib.import_module("heads")


def labelled(count: int = 400, completions: int = 1, seed: int = 0) -> Any:
    """States whose worth is logistic in their first two numbers."""
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(count, WIDTH)) * [1, 2, 1, 1, 5, 1] + [0, 1, 0, 3, 0, 0]
    worth = 1 / (1 + np.exp(-(2 * states[:, 0] - states[:, 1] - 1)))
    right = rng.binomial(completions, worth).astype(float)
    return heads().Labelled(states, right, np.full(count, float(completions)), np.arange(count) // 4)


def test_the_head_is_the_penalised_logistic_regression() -> None:
    """scipy minimises the same loss, written for single outcomes, without gradients of ours."""
    given, penalty = labelled(), 0.01
    scaled = (given.states - given.states.mean(0)) / (given.states.std(0) + 1e-6)

    def loss(parameters: np.ndarray) -> float:
        logit = scaled @ parameters[:-1] + parameters[-1]
        return float(np.mean(np.logaddexp(0, logit) - given.right * logit) + penalty * (parameters[:-1] ** 2).sum() / 2)

    best = minimize(loss, np.zeros(WIDTH + 1)).x
    expected = 1 / (1 + np.exp(-(scaled @ best[:-1] + best[-1])))
    assert heads().fit_head(given, penalty).worth(given.states) == pytest.approx(expected, abs=1e-3)


def test_the_loss_is_that_of_a_beta_binomial() -> None:
    given = labelled(completions=8)
    head = heads().Head(np.array([1.0, -0.5, 0, 0, 0, 0]), 0.3, 1.2)
    values = (torch.tensor(each, dtype=torch.float64) for each in (head.weight, head.bias, head.log_concentration))
    worth, concentration = head.worth(given.states), np.exp(1.2)
    chances = betabinom(8, concentration * worth, concentration * (1 - worth)).logpmf(given.right)
    known = np.log([float(np.prod([(8 - i) / (i + 1) for i in range(int(c))])) for c in given.right])
    assert float(heads().loss_of(given, *values)) == pytest.approx(-(chances - known).sum() / given.completions.sum())


def test_a_penalty_is_chosen_on_other_questions() -> None:
    noise = labelled(60)
    rng = np.random.default_rng(1)
    pure = heads().Labelled(rng.normal(size=(60, 40)), noise.right, noise.completions, noise.question)
    assert heads().choose_penalty(pure, (1e-4, 10.0))[0] == 10.0
    assert heads().choose_penalty(labelled(), (1e-3, 10.0))[0] == 1e-3


@pytest.fixture
def trunk(tmp_path: Path) -> Path:
    tokenizer = byte_tokenizer(
        ["How many nuts?\n\nShe has 3. The answer is \\boxed{3}."],
        QWEN_SPECIAL,
        pad_token="<pad>",
        eos_token="<|im_end|>",
        chat_template=CHATML,
    )
    model = tiny_model("LlamaForCausalLM", tokenizer, max_position_embeddings=512, initializer_range=0.2)
    model.half().save_pretrained(tmp_path / "policy")
    tokenizer.save_pretrained(tmp_path / "policy")
    return tmp_path / "policy"


def sampled(file: Path) -> Path:
    """Plain samples of six questions; those that say 3 are right."""
    with file.open("w", encoding="utf-8") as out:
        for number in range(6):
            problem = {"id": f"q{number}", "question": f"How many nuts? {number}", "answer": "3", "world": "gsm8k"}
            rollouts = [
                {
                    "steps": [f"She has {start}.\n\n", f"The answer is {end}."],
                    "reachable": [True, end == 3],
                    "ended": True,
                }
                for start, end in ((number, 3), (number, 4), (number + 1, 3))
            ]
            rollouts[1]["steps"] = ["It is 4."]
            rollouts[1]["reachable"] = [False]
            out.write(json.dumps({"problem": problem, "rollouts": rollouts, "source": {}}) + "\n")
    return file


def completed(file: Path) -> None:
    """One prefix of a seventh question, completed four times."""
    problem = {"id": "q7", "question": "How many nuts? 7", "answer": "3", "world": "gsm8k"}
    prefix = {"steps": ["She has 7.\n\n"], "size": 1, "right": 2, "completions": 4, "ended": False}
    file.write_text(json.dumps({"problem": problem, "prefixes": [prefix], "source": {}}) + "\n")


def test_states_are_those_of_the_model(trunk: Path, tmp_path: Path) -> None:
    model, tokenizer = load_checkpoint(trunk, "AutoModelForCausalLM", "float32")
    groups = heads().examples_of(tokenizer, sampled(tmp_path / "sampled.jsonl"), None)
    read = heads().read_states(model, groups, lambda done, total: None)
    expected, right, question = [], [], []
    for number, examples in enumerate(groups):
        for example in examples:
            with torch.inference_mode():
                states = model.base_model(torch.tensor([example.tokens])).last_hidden_state[0]
            expected += [states[end].numpy() for end in example.ends]
            right += example.labels
            question += [number] * len(example.ends)
    assert read.states == pytest.approx(np.stack(expected), abs=1e-4)
    assert read.right.tolist() == right
    assert read.question.tolist() == question
    assert set(read.completions) == {1.0}


def test_the_reward_model_scores_as_the_head_does(
    trunk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = sampled(tmp_path / "sampled.jsonl")
    given = ["reward", "--method", "head", "--outcomes", str(file), "--policy", str(trunk), "--out", str(tmp_path)]
    assert importlib.import_module("recipe").main([each for each in given if each not in ("--method", "head")]) == 2
    assert "--method head" in capsys.readouterr().err
    assert importlib.import_module("recipe").main(given) == 2
    assert "no prefix was completed several times" in capsys.readouterr().err
    completed(tmp_path / "completions-reward.jsonl")
    assert importlib.import_module("recipe").main(given) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["questions"], facts["solutions"], facts["labels"]) == (7, 19, 31)
    reward = LocalReward.load(tmp_path / "reward")
    assert reward.states_concentration
    scores, rights = [], []
    for problem, rollouts in load_rollouts(file):
        for rollout in rollouts:
            prefix = Prefix(rollout.steps, 1, int(rollout.right), 1, ended=True)
            (score,) = asyncio.run(score_prefixes(reward, problem, [prefix]))
            assert isinstance(score, Judgement)
            scores.append(score.reward)
            rights.append(rollout.right)
    # the last steps of right solutions differ from those of wrong ones, so a fit has to find them
    assert min(score for score, right in zip(scores, rights, strict=True) if right) > max(
        score for score, right in zip(scores, rights, strict=True) if not right
    )
    assert importlib.import_module("recipe").main(["pack", "--out", str(tmp_path)]) == 0
    merge_adapter(trunk, tmp_path / "adapters" / "reward", tmp_path / "again")
    again, whole = (
        load_checkpoint(tmp_path / name, "AutoModelForTokenClassification")[0] for name in ("again", "reward")
    )
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name)


def test_several_completions_tell_how_sure_a_worth_is(trunk: Path, tmp_path: Path) -> None:
    """Worths drawn from Beta(κm, κ(1 - m)) give κ back."""
    rng = np.random.default_rng(5)
    states = rng.normal(size=(3000, WIDTH))
    mean = 1 / (1 + np.exp(-states[:, 0]))
    right = rng.binomial(16, rng.beta(5 * mean, 5 * (1 - mean))).astype(float)
    head = heads().fit_head(heads().Labelled(states, right, np.full(3000, 16.0), np.arange(3000)), 1e-6)
    assert np.exp(head.log_concentration) == pytest.approx(5, rel=0.1)
    wide = heads().Head(np.linspace(-1, 1, 32), 0.3, head.log_concentration)
    made = heads().headed(trunk, wide)
    load_checkpoint(trunk, "AutoModelForCausalLM")[1].save_pretrained(tmp_path / "sure")
    made.save_pretrained(tmp_path / "sure")
    problem = Problem("q", "How many nuts?", "3")
    judged = asyncio.run(score_prefixes(LocalReward.load(tmp_path / "sure"), problem, [Prefix(("It is 3.",), 1, 1, 1)]))
    assert isinstance(judged[0], Judgement)
    assert judged[0].concentration == pytest.approx(5, rel=0.1)


def test_too_few_questions_say_so(trunk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = sampled(tmp_path / "sampled.jsonl")
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:3]))
    given = ["reward", "--method", "head", "--policy", str(trunk), "--out", str(tmp_path)]
    recipe = importlib.import_module("recipe")
    assert recipe.main([*given, "--outcomes", str(file)]) == 2
    assert "3 questions are too few" in capsys.readouterr().err
    assert recipe.main(given) == 2
    assert "run evaluate --part-of reward" in capsys.readouterr().err


def test_log_probabilities_are_those_of_a_plain_forward_pass(trunk: Path, tmp_path: Path) -> None:
    model, tokenizer = load_checkpoint(trunk, "AutoModelForCausalLM", "float32")
    (problem, rollouts), *_ = load_rollouts(sampled(tmp_path / "sampled.jsonl"))
    steps = rollouts[0].steps
    prompt = f"<|im_start|>user\n{problem.question}<|im_end|>\n<|im_start|>assistant\n"
    start, text = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prompt, "".join(steps)))
    tokens = torch.tensor([[*start, *text, tokenizer.eos_token_id]])
    with torch.inference_mode():
        table = torch.log_softmax(model(tokens).logits[0].double(), -1)
    expected = np.mean([float(table[place - 1, tokens[0, place]]) for place in range(len(start), tokens.shape[1])])
    found = importlib.import_module("outcomes").mean_logprobs(model, tokenizer, problem, [steps])
    assert found == pytest.approx([expected], abs=1e-4)


def test_figures_of_outcomes_tell_a_good_value_from_noise() -> None:
    rng = np.random.default_rng(0)
    question, right = np.repeat(np.arange(50), 8), rng.integers(2, size=400)
    values = {"reward": right + rng.normal(size=400), "log-probability": rng.normal(size=400)}
    figures = importlib.import_module("outcomes").outcome_figures(values, right, question)
    assert figures["reward"]["auc"] == pytest.approx(0.76, abs=0.05)  # Φ(1/√2)
    assert figures["reward"]["auc within a question"] == pytest.approx(0.76, abs=0.05)
    low, high = figures["log-probability"]["interval"]
    assert low < figures["log-probability"]["auc"] < high < 0.6
    assert figures["difference"][0] > 0
    none = importlib.import_module("outcomes").outcome_figures(values, np.zeros(400, dtype=np.int64), question)
    assert none["reward"]["auc"] is None
    assert none["difference"] == [None, None]
