"""Reward models behind a real vLLM, compared with the same checkpoints in this process.

Set ROLLWISE_VLLM to the vllm executable of a separate environment. Two checkpoints are tiny and random. The first has
the weights' names, the head and the tag's id of Qwen2.5-Math-PRM; vLLM gets only its folder. The second is a chat model
that scores by the next word, with the template and the control tokens of RLHFlow's models. The third is bundled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import pytest
import torch
import transformers
from reward_checkpoints import (
    BYTES,
    EXAMPLES,
    JANET,
    JANET_STEPS,
    LLAMA_SPECIAL,
    QWEN_SPECIAL,
    SUE,
    forks,
    path_of,
)
from safetensors.torch import save_file
from tiny import CHATML, LLAMA3, byte_tokenizer, tiny_model
from vllm_server import GIVEN, vllm
from walking import walk

from rollwise.core import Failure, Path, Problem, Sampling
from rollwise.names import bundled
from rollwise.registry import find_policy, find_reward, find_world
from rollwise.rewards.judge import messages
from rollwise.rewards.local import LocalReward

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        not GIVEN or GIVEN.startswith("http"), reason="set ROLLWISE_VLLM to the vllm executable of an environment"
    ),
]
torch.set_num_threads(1)
TAG = 151651
"""The id of `<extra_0>` in the vocabulary of Qwen2.5, which is vLLM's default."""
SHAPE = {  # vLLM's attention on CPUs takes heads of 32 numbers and more
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 2048,
}
NEAR = 2e-5
"""float32 there against float64 here."""


def qwen_tokenizer() -> Any:
    """The tokenizer of bytes, with the tag at the id that Qwen2.5 gives it."""
    from tokenizers import Tokenizer

    settings = json.loads(BYTES.backend_tokenizer.to_str())
    settings["model"]["vocab"]["<extra_0>"] = TAG
    for added in settings["added_tokens"]:
        added["id"] = TAG if added["content"] == "<extra_0>" else added["id"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(settings)),
        additional_special_tokens=list(QWEN_SPECIAL),
        pad_token="<pad>",
        eos_token="<|im_end|>",
        chat_template=CHATML,
    )


def save_qwen_prm(folder: FilePath) -> FilePath:
    """A tiny checkpoint as Qwen2.5-Math-PRM is published, without the remote code that its config names."""
    tokenizer = qwen_tokenizer()
    base = tiny_model("Qwen2ForCausalLM", tokenizer, vocab_size=TAG + 14, num_labels=2, **SHAPE)
    states = {f"model.{name}": value for name, value in base.model.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    head = {"score.0.weight": (64, 64), "score.0.bias": (64,), "score.2.weight": (2, 64), "score.2.bias": (2,)}
    states |= {name: torch.randn(shape, generator=generator) / 8 for name, shape in head.items()}
    tokenizer.save_pretrained(folder)
    published = {
        "architectures": ["Qwen2ForProcessRewardModel"],
        "auto_map": {
            "AutoConfig": "configuration_qwen2_rm.Qwen2RMConfig",
            "AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel",
        },
    }
    (folder / "config.json").write_text(json.dumps(base.config.to_dict() | published))
    save_file(states, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def save_words(folder: FilePath) -> FilePath:
    """A tiny chat model whose vocabulary has +, -, Yes and No."""
    names = {"pad_token": "<pad>", "bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
    tokenizer = byte_tokenizer([JANET, *JANET_STEPS, "Yes No Yes No"], LLAMA_SPECIAL, chat_template=LLAMA3, **names)
    model = tiny_model("LlamaForCausalLM", tokenizer, **SHAPE)
    rows = model.get_output_embeddings().weight.data
    yes, no = tokenizer.convert_tokens_to_ids(["Yes", "No"])
    rows[yes] *= 6.0  # so that at every second prompt both words are among the likeliest tokens
    rows[no] = 0.95 * rows[yes]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FilePath, str]]:
    """The folder of the first checkpoint, and the URL of vLLM that pools with it."""
    root = tmp_path_factory.mktemp("qwen")
    folder = save_qwen_prm(root / "model")
    with vllm(folder, root / "log", "--runner", "pooling") as url:
        yield folder, url


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FilePath, str]]:
    """The folder of the second checkpoint, and the URL of vLLM that completes with it."""
    root = tmp_path_factory.mktemp("words")
    folder = save_words(root / "model")
    with vllm(folder, root / "log", "--enable-prompt-tokens-details") as url:
        yield folder, url


@pytest.fixture(scope="module")
def bundled_reward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of vLLM that pools with the reward model of the numbers game, which has a third label."""
    with vllm(bundled("countdown", "reward"), tmp_path_factory.mktemp("bundled") / "log", "--runner", "pooling") as url:
        yield url


async def test_pooling_gives_the_scores_of_this_process_and_reads_every_prefix_again(
    qwen: tuple[FilePath, str],
) -> None:
    folder, url = qwen
    reward: Any = find_reward(str(folder), "countdown", "float64")
    assert reward.family.name == "qwen_prm"
    problem, example = Problem("sue", SUE), EXAMPLES["qwen_prm"]
    here: Any = reward.open(problem, 0)
    there: Any = find_reward(f"qwen_prm@{url}", "countdown").open(problem, 0)
    lengths = []
    for paths in forks(example):
        expected, found = await here.score(paths), await there.score(paths)
        assert found == pytest.approx(expected, abs=NEAR)
        assert len({round(score, 4) for score in found}) == len(paths)
        lengths += [len(reward.tokens(reward.family.solution(SUE, path))) for path in paths]
    assert (there.usage.prefilled, there.usage.cached, there.usage.calls) == (sum(lengths), 0, len(lengths))
    assert here.usage.prefilled < there.usage.prefilled / 2
    await there.close()


async def test_the_bundled_token_classifier_scores_as_in_this_process(bundled_reward: str) -> None:
    world = find_world("countdown")
    problem = world.problem(3, 4)
    policy = find_policy("trained", "countdown", "float32")
    path = await walk(policy, problem, Sampling(max_step_tokens=64, max_tokens=200, seed=1))
    grown = [Path((0,) * count, path.steps[:count]) for count in range(1, len(path.steps) + 1)]
    here: Any = find_reward("trained", "countdown", "float64").open(problem, 0)
    there: Any = find_reward(f"chat@{bundled_reward}", "countdown").open(problem, 0)
    expected, found = await here.score(grown), await there.score(grown)
    await there.close()
    assert found == pytest.approx([float(score) for score in expected], abs=NEAR)
    assert there.usage.cached == 0


async def test_a_solution_that_is_too_long_for_vllm_costs_one_rollout(qwen: tuple[FilePath, str]) -> None:
    _, url = qwen
    session = find_reward(f"qwen_prm@{url}", "countdown").open(Problem("sue", SUE), 0)
    long, short = await session.score([path_of("so " * 3000, key=(0,)), path_of("so", key=(1,))])
    await session.close()
    assert isinstance(long, Failure)
    assert long.reason.endswith("tokens, and the reward model reads 2048")
    assert isinstance(short, float)


@pytest.mark.parametrize("route", ["one_token", "generative_scoring"])
async def test_scores_by_the_next_word_equal_those_of_this_process(words: tuple[FilePath, str], route: str) -> None:
    folder, url = words
    reward = LocalReward.load(folder, "float64", family="rlhflow")
    problem, example = Problem("janet", JANET), EXAMPLES["rlhflow"]
    here, there = reward.open(problem, 0), find_reward(f"rlhflow/{route}@{url}", "countdown").open(problem, 0)
    lengths = []
    for paths in forks(example):
        expected, found = await here.score(paths), await there.score(paths)
        assert found == pytest.approx(expected, abs=NEAR)
        lengths += [len(reward.tokens(reward.family.solution(JANET, path))) for path in paths]
    await there.close()
    usage = there.usage
    assert (usage.prefilled + usage.cached, usage.calls) == (sum(lengths), len(lengths))
    if route == "one_token":  # the other route does not count cached tokens
        assert usage.cached > sum(lengths) / 2


async def test_a_yes_no_judge_weighs_the_probabilities_of_both_words(words: tuple[FilePath, str]) -> None:
    folder, url = words
    judge: Any = find_reward(f"judge/yes_no@{url}", "countdown")
    session = judge.open(Problem("janet", JANET), 0)
    judged = 0
    for count in range(1, 5):
        (found,) = await session.score([path_of(*JANET_STEPS[:count])])
        expected = yes_share(folder, messages(JANET, JANET_STEPS[:count], "yes_no"))
        if expected is None:
            assert isinstance(found, Failure)
            assert "neither yes nor no" in found.reason
        else:
            judged += 1
            assert found == pytest.approx(expected, abs=NEAR)
    await session.close()
    assert judged > 0
    assert (session.usage.calls, session.usage.generated) == (4, 4)
    assert session.usage.cached > 0


def yes_share(folder: FilePath, chat: list[dict[str, str]]) -> float | None:
    """P(yes) / (P(yes) + P(no)) over the 20 likeliest tokens after a chat, from a plain forward; None without both."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    ids = tokenizer(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))["input_ids"]
    with torch.no_grad():
        likely = torch.softmax(model(input_ids=torch.tensor([ids])).logits[0, -1], -1)
    shares = {"yes": 0.0, "no": 0.0}
    for place in likely.topk(20).indices.tolist():
        word = tokenizer.decode([place]).strip().lower()
        if word in shares:
            shares[word] += float(likely[place])
    return shares["yes"] / sum(shares.values()) if sum(shares.values()) else None
