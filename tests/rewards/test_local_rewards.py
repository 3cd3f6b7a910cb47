"""The local process reward model against a plain forward pass, and the dial against its formula."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from tiny import tiny_model

from rollwise.allocation.exact_counts import optimal_counts
from rollwise.core import Failure, Judgement, Path, PathKey, Problem, Step, Stop
from rollwise.errors import InputError
from rollwise.registry import find_reward
from rollwise.rewards.dial import DialReward
from rollwise.rewards.local import LocalReward, LocalRewardSession
from rollwise.search.events import Allocated
from rollwise.search.runner import solve
from rollwise.worlds.countdown import Countdown
from rollwise.worlds.tokenizer import build_tokenizer

torch.set_num_threads(1)

WORLD = Countdown()
TOKENIZER: Any = build_tokenizer(WORLD.literals)
PROBLEM = WORLD.parse("Use 2, 3, 4, 5 to make 25")
GOOD = ["2 + 3 = 5, left: 4 5 5", "4 × 5 = 20, left: 5 20", "5 + 20 = 25, left: 25", r"Answer: \boxed{2 + 3 + 4 × 5}"]


def path_of(key: PathKey, *steps: str, stop: Stop = Stop.STEP, end: bool = False) -> Path:
    """A path of these steps. The separator closes each step, unless a length limit cut it or it ended the text."""
    grown = Path(key)
    for index, text in enumerate(steps):
        last = index == len(steps) - 1
        closed = text if (last and end) or stop is Stop.LENGTH else text + WORLD.separator
        grown = grown.grown(Step(closed, 1, Stop.END if last and end else stop, 0.0))
    return grown


@pytest.fixture(scope="module")
def reward() -> LocalReward:
    return LocalReward(tiny_model("LlamaForTokenClassification", TOKENIZER).double(), TOKENIZER, rows=3)


def plain_score(reward: LocalReward, path: Path, problem: Problem = PROBLEM) -> float:
    """The probability of label 1 at the last token after one forward pass over everything."""
    text = f"<|user|>{problem.question}<|assistant|>{path.text}"
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    if path.steps[-1].stop is Stop.END:
        ids.append(TOKENIZER.eos_token_id)
    with torch.no_grad():
        logits = reward.model(input_ids=torch.tensor([ids])).logits[0, -1]
    return float(torch.softmax(logits, -1)[1])


async def scores(session: LocalRewardSession, paths: Sequence[Path]) -> list[float]:
    results = await session.score(paths)
    assert not any(isinstance(result, Failure) for result in results)
    return [result for result in results if isinstance(result, float)]


@pytest.fixture(scope="module")
def sure() -> LocalReward:
    labels = {0: "wrong", 1: "right", 2: "log_concentration"}
    model = tiny_model("LlamaForTokenClassification", TOKENIZER, num_labels=3, id2label=labels)
    return LocalReward(model.double(), TOKENIZER, rows=3)


async def test_a_third_label_is_the_concentration_of_the_reward(sure: LocalReward) -> None:
    path = path_of((0,), *GOOD[:2])
    [judgement] = await sure.open(PROBLEM, 0).score([path])
    ids = TOKENIZER(f"<|user|>{PROBLEM.question}<|assistant|>{path.text}", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        wrong, right, log = sure.model(input_ids=torch.tensor([ids])).logits[0, -1].tolist()
    assert isinstance(judgement, Judgement)
    assert float(judgement) == judgement.reward == pytest.approx(1 / (1 + math.exp(wrong - right)), rel=1e-9)
    assert judgement.concentration == pytest.approx(math.exp(min(7.0, max(-3.0, log))), rel=1e-9)


def test_a_search_takes_its_belief_from_a_reward_model_that_states_its_concentration(
    sure: LocalReward, reward: LocalReward
) -> None:
    options: Any = {"budget": 8, "policy": "trained", "belief": "model", "max_steps": 2}
    solution = solve(PROBLEM, "optimal", reward=sure, **options)
    allocations = [event for event in solution.events if isinstance(event, Allocated)]
    assert allocations
    for event in allocations:
        belief = event.candidates.belief
        assert belief is not None
        assert belief.mean.tolist() == event.candidates.rewards.tolist()
        expected = optimal_counts(belief.mean, belief.concentration, event.width)
        assert sorted(event.allocation.counts) == sorted(expected)
    with pytest.raises(InputError, match="needs a belief"):
        solve(PROBLEM, "optimal", reward=reward, **options)


def forks() -> list[list[Path]]:
    """The paths of four rounds: seven roots; five copies of one root and two of another; two copies of three of these;
    ended copies of four of those.
    """
    texts = [f"{a} + {b} = {a + b}, left: {a + b} 9" for a in range(1, 8) for b in (2, 30)][:7]
    first = [path_of((index,), text) for index, text in enumerate(texts)]
    seconds = [f"5 × {index + 2} = {5 * (index + 2)}, left: 1" for index in range(7)]
    parents = [(3,)] * 5 + [(6,)] * 2
    second = [
        path_of((*key, index), texts[key[0]], text)
        for index, (key, text) in enumerate(zip(parents, seconds, strict=True))
    ]
    third = [
        path_of((*path.key, index), texts[path.key[0]], seconds[path.key[1]], f"{index} garbage")
        for path in second[3:6]
        for index in range(2)
    ]
    fourth = [
        path_of((*path.key, 0), texts[path.key[0]], seconds[path.key[1]], f"{path.key[2]} garbage", answer, end=True)
        for path, answer in zip(third[:4], [GOOD[3], r"Answer: \boxed{7}", "", "("], strict=True)
    ]
    return [first, second, third, fourth]


@pytest.mark.parametrize("keep", [True, False], ids=["kept caches", "dropped caches"])
async def test_new_steps_score_as_a_forward_pass_over_everything(reward: LocalReward, keep: bool) -> None:
    session = reward.open(PROBLEM, seed=0)
    seen: list[float] = []
    for paths, following in zip(forks(), [*forks()[1:], []], strict=True):
        rewards = await scores(session, paths)
        np.testing.assert_allclose(rewards, [plain_score(reward, path) for path in paths], atol=1e-10, rtol=0)
        seen += rewards
        session.retain({path.key[:-1] for path in following} if keep else [])
    assert len({round(score, 6) for score in seen}) == len(seen) == 24
    assert max(seen) - min(seen) > 0.2
    await session.close()


async def test_scores_depend_neither_on_the_order_nor_on_the_other_paths(reward: LocalReward) -> None:
    paths = forks()[0]
    alone = [(await scores(reward.open(PROBLEM, 0), [path]))[0] for path in paths]
    shuffled = random.Random(1).sample(paths, len(paths))
    together = dict(zip([path.key for path in shuffled], await scores(reward.open(PROBLEM, 0), shuffled), strict=True))
    assert [together[path.key] for path in paths] == pytest.approx(alone, abs=1e-12)


async def test_many_questions_at_once_do_not_mix(reward: LocalReward) -> None:
    problems = [WORLD.problem(level, 0) for level in WORLD.levels]
    paths = forks()[0]
    by_problem = await asyncio.gather(*(scores(reward.open(problem, 0), paths) for problem in problems))
    for problem, row in zip(problems, by_problem, strict=True):
        assert row == pytest.approx([plain_score(reward, path, problem) for path in paths], abs=1e-10)


async def test_a_step_cut_inside_a_number_scores_the_same_with_and_without_its_cache(reward: LocalReward) -> None:
    """The tokenizer may merge what a length limit cut apart: it reads 1 and 2 together as 12."""
    begun = path_of((0,), "2 + 3 = 1", stop=Stop.LENGTH)
    going = path_of((0, 0), "2 + 3 = 1", "2, left: 4", stop=Stop.LENGTH)
    session = reward.open(PROBLEM, 0)
    await scores(session, [begun])
    (kept,) = await scores(session, [going])
    (fresh,) = await scores(reward.open(PROBLEM, 0), [going])
    assert kept == pytest.approx(fresh, abs=1e-10)


async def test_every_token_is_read_once(reward: LocalReward) -> None:
    def length(text: str) -> int:
        return len(TOKENIZER(text, add_special_tokens=False)["input_ids"])

    prompt = length(f"<|user|>{PROBLEM.question}<|assistant|>")
    first, second, *_ = forks()
    session = reward.open(PROBLEM, 0)
    await session.score(first)
    prefilled, cached = prompt + sum(length(path.text) for path in first), prompt * len(first)
    assert (session.usage.prefilled, session.usage.cached, session.usage.calls) == (prefilled, cached, 1)
    session.retain([path.key[:-1] for path in second])
    await session.score(second)
    prefilled += sum(length(path.steps[-1].text) for path in second)
    cached += sum(prompt + length(path.steps[0].text) for path in second)
    assert (session.usage.prefilled, session.usage.cached, session.usage.calls) == (prefilled, cached, 2)
    assert session.usage.generated == 0


async def test_equal_text_after_an_equal_prefix_is_read_once(reward: LocalReward) -> None:
    def length(text: str) -> int:
        return len(TOKENIZER(text, add_special_tokens=False)["input_ids"])

    prompt = length(f"<|user|>{PROBLEM.question}<|assistant|>")
    first = [path_of((index,), GOOD[0]) for index in range(4)] + [path_of((4,), WRONG_STEP)]
    second = [path_of((index % 4, index), GOOD[0], GOOD[1]) for index in range(6)] + [path_of((4, 0), WRONG_STEP, "(")]
    session = reward.open(PROBLEM, 0)
    rewards = [*await scores(session, first), *await scores(session, second)]
    np.testing.assert_allclose(rewards, [plain_score(reward, path) for path in [*first, *second]], atol=1e-10, rtol=0)
    texts = [first[0].text, first[4].text, second[0].steps[-1].text, second[6].steps[-1].text]
    assert session.usage.prefilled == prompt + sum(map(length, texts))
    whole = sum(prompt + length(path.text) for path in [*first, *second])
    assert session.usage.cached == whole - sum(map(length, texts))


async def test_a_path_that_exceeds_the_context_fails_alone(reward: LocalReward) -> None:
    paths = [path_of((0,), GOOD[0]), path_of((1,), "( " * 100), path_of((2,), GOOD[1])]
    short, long, other = await reward.open(PROBLEM, 0).score(paths)
    assert isinstance(long, Failure)
    assert "160" in long.reason
    assert [short, other] == pytest.approx([plain_score(reward, paths[0]), plain_score(reward, paths[2])], abs=1e-10)


WRONG_STEP = "2 + 3 = 6, left: 4 5 6"


@pytest.mark.parametrize(
    ("path", "truth"),
    [
        (path_of((0,), GOOD[0]), 1.0),
        (path_of((0,), *GOOD[:2]), 1.0),
        (path_of((0,), *GOOD, end=True), 1.0),
        (path_of((0,), WRONG_STEP), 0.0),
        (path_of((0,), "4 × 5 = 20, left: 2 3 20", "2 × 3 = 6, left: 6 20"), 0.0),
        (path_of((0,), *GOOD[:3], r"Answer: \boxed{4 × 5 + 5}", end=True), 0.0),
        (path_of((0,), "no step at all"), 0.0),
    ],
)
async def test_a_dial_of_size_zero_is_the_truth(path: Path, truth: float) -> None:
    for shared in (0.0, 0.5, 1.0):
        assert await DialReward(WORLD, 0.0, shared).open(PROBLEM, seed=3).score([path]) == [truth]


async def test_a_dial_reads_answers_in_the_form_it_is_told() -> None:
    boxed, stated = (path_of((0,), *GOOD[:3], ending, end=True) for ending in (GOOD[3], "The answer is 2 + 3 + 4 × 5."))
    for form, truths in [("boxed", [1, 0]), ("answer-is", [0, 1]), ("auto", [1, 1]), ("gsm8k", [0, 0])]:
        dial = find_reward("dial(0)", "countdown", answer=form)
        assert await dial.open(PROBLEM, seed=3).score([boxed, stated]) == truths


async def dial_rewards(dial: DialReward, paths: Sequence[Path], seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(await dial.open(PROBLEM, seed).score(paths), dtype=np.float64)


@pytest.mark.parametrize("size", [0.2, 0.8])
@pytest.mark.parametrize("shared", [0.0, 0.4])
@pytest.mark.parametrize(("step", "truth"), [(GOOD[0], 1.0), (WRONG_STEP, 0.0)])
async def test_the_dials_mean_and_spread_are_the_clipped_normals(
    size: float, shared: float, step: str, truth: float
) -> None:
    """One path per seed, so that the noise of the state and of the path both vary. The size of their sum does not
    depend on the share.
    """
    dial, count = DialReward(WORLD, size, shared), 4000
    rewards = np.array([(await dial_rewards(dial, [path_of((1,), step)], seed))[0] for seed in range(count)])
    quantiles = stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    expected = np.clip(truth + size * quantiles, 0, 1)
    assert rewards.min() >= 0
    assert rewards.max() <= 1
    assert rewards.mean() == pytest.approx(expected.mean(), abs=4 * expected.std() / count**0.5)
    assert rewards.std() == pytest.approx(expected.std(), rel=0.05)
    assert np.mean(rewards == truth) == pytest.approx(0.5, abs=4 * 0.5 / count**0.5)


@pytest.mark.parametrize("shared", [0.0, 0.6, 1.0])
async def test_the_share_is_the_correlation_within_a_state(shared: float) -> None:
    dial, count = DialReward(WORLD, 0.3, shared), 3000
    paths = [path_of((0,), GOOD[0]), path_of((1,), "3 + 2 = 5, left: 4 5 5"), path_of((2,), "5 − 3 = 2, left: 2 2 4")]
    rewards = np.array([await dial_rewards(dial, paths, seed) for seed in range(count)])
    noise = np.random.default_rng(0).multivariate_normal([0, 0], [[1, shared], [shared, 1]], 200_000)
    clipped = np.clip(1 + 0.3 * noise, 0, 1)
    expected = stats.pearsonr(clipped[:, 0], clipped[:, 1]).statistic
    assert stats.pearsonr(rewards[:, 0], rewards[:, 1]).statistic == pytest.approx(expected, abs=0.06)
    assert stats.pearsonr(rewards[:, 0], rewards[:, 2]).statistic == pytest.approx(0, abs=0.07)


async def test_equal_states_err_together_only_if_the_noise_is_shared() -> None:
    twins = [path_of((index,), step) for index, step in enumerate([WRONG_STEP, "3 + 3 = 6, left: 4 5 6"] * 4)]
    together = await dial_rewards(DialReward(WORLD, 0.5, 1.0), twins, seed=4)
    apart = await dial_rewards(DialReward(WORLD, 0.5, 0.0), twins, seed=4)
    assert len(set(together)) == 1
    assert len(set(apart[apart > 0])) > 1


async def test_the_dial_is_keyed_and_not_drawn_in_order() -> None:
    dial = DialReward(WORLD, 0.4, 0.3)
    paths = [path_of((index,), GOOD[0]) for index in range(20)]
    forward = await dial_rewards(dial, paths)
    backward = await dial_rewards(dial, paths[::-1])
    singly = np.concatenate([await dial_rewards(dial, [path]) for path in paths])
    assert forward.tolist() == backward[::-1].tolist() == singly.tolist()
    assert forward.tolist() != (await dial_rewards(dial, paths, seed=1)).tolist()
    deeper = await dial_rewards(dial, [path_of((*path.key, 0), *GOOD[:2]) for path in paths])
    assert forward.tolist() != deeper.tolist()


@pytest.mark.parametrize(("size", "shared"), [(-0.1, 0.0), (0.1, -0.1), (0.1, 1.1), (float("nan"), 0.0)])
def test_a_dial_has_a_size_and_a_share(size: float, shared: float) -> None:
    with pytest.raises(InputError, match="dial"):
        DialReward(WORLD, size, shared)
