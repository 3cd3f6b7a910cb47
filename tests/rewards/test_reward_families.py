"""Families of reward models: tokens and tag positions against the model cards' own examples, scores against the cards'
own formula by one forward over everything, on tiny checkpoints with the weights' real names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tiny import CHATML, LLAMA3, byte_tokenizer, saved, tiny_model, word_tokenizer, words_of
from torch import nn
from transformers import Qwen2Config, Qwen2Model

from rollwise.core import Failure, Path, Problem, Step, Stop
from rollwise.errors import InputError
from rollwise.registry import find_reward
from rollwise.rewards.layouts import MATH_SHEPHERD, QWEN_PRM, RLHFLOW, SKYWORK, TRL, solution_steps, trl
from rollwise.rewards.local import LocalReward

torch.set_num_threads(1)


def path_of(*steps: str, key: tuple[int, ...] = (0,), end: bool = True) -> Path:
    """A path of these steps, each closed by a blank line but the last one of a finished path."""
    path = Path(key)
    for index, text in enumerate(steps):
        last = end and index == len(steps) - 1
        path = path.grown(Step(text if last else f"{text}\n\n", 1, Stop.END if last else Stop.STEP))
    return path


# From the model card of Qwen/Qwen2.5-Math-PRM-7B, its example of four steps.
SUE = (
    "Sue lives in a fun neighborhood.  One weekend, the neighbors decided to play a prank on Sue.  On Friday morning, "
    "the neighbors placed 18 pink plastic flamingos out on Sue's front yard.  On Saturday morning, the neighbors took "
    "back one third of the flamingos, painted them white, and put these newly painted white flamingos back out on "
    "Sue's front yard.  Then, on Sunday morning, they added another 18 pink plastic flamingos to the collection. At "
    "noon on Sunday, how many more pink plastic flamingos were out than white plastic flamingos?"
)
SUE_STEPS = [
    "To find out how many more pink plastic flamingos were out than white plastic flamingos at noon on Sunday, we can "
    "break down the problem into steps. First, on Friday, the neighbors start with 18 pink plastic flamingos.",
    "On Saturday, they take back one third of the flamingos. Since there were 18 flamingos, (1/3 \\times 18 = 6) "
    "flamingos are taken back. So, they have (18 - 6 = 12) flamingos left in their possession. Then, they paint these "
    "6 flamingos white and put them back out on Sue's front yard. Now, Sue has the original 12 pink flamingos plus the "
    "6 new white ones. Thus, by the end of Saturday, Sue has (12 + 6 = 18) pink flamingos and 6 white flamingos.",
    "On Sunday, the neighbors add another 18 pink plastic flamingos to Sue's front yard. By the end of Sunday morning, "
    "Sue has (18 + 18 = 36) pink flamingos and still 6 white flamingos.",
    "To find the difference, subtract the number of white flamingos from the number of pink flamingos: (36 - 6 = 30). "
    "Therefore, at noon on Sunday, there were 30 more pink plastic flamingos out than white plastic flamingos. The "
    "answer is (\\boxed{30}).",
]
SUE_TEXT = (
    "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
    f"<|im_start|>user\n{SUE}<|im_end|>\n"
    "<|im_start|>assistant\n"
    f"{SUE_STEPS[0]}<extra_0>{SUE_STEPS[1]}<extra_0>{SUE_STEPS[2]}<extra_0>{SUE_STEPS[3]}<extra_0><|im_end|>\n"
)

# From the model card of peiyi9979/math-shepherd-mistral-7b-prm.
JANET = (
    "Janet’s ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends "
    "every day with four. She sells the remainder at the farmers' market daily for $2 per fresh duck egg. How much in "
    "dollars does she make every day at the farmers' market?"
)
JANET_STEPS = [
    "Step 1: Janet's ducks lay 16 eggs per day.",
    "Step 2: She eats three for breakfast every morning, so she has 16 - 3 = 13 eggs left.",
    "Step 3: She bakes muffins for her friends every day with four eggs, so she has 13 - 4 = 9 eggs left.",
    "Step 4: She sells the remainder at the farmers' market daily for $2 per fresh duck egg, so she makes 9 * $2 = $18 "
    "every day at the farmers' market. The answer is: 18",
]
JANET_TEXT = (
    f"{JANET} Step 1: Janet's ducks lay 16 eggs per day. ки\n"
    "Step 2: She eats three for breakfast every morning, so she has 16 - 3 = 13 eggs left. ки\n"
    "Step 3: She bakes muffins for her friends every day with four eggs, so she has 13 - 4 = 9 eggs left. ки\n"
    "Step 4: She sells the remainder at the farmers' market daily for $2 per fresh duck egg, so she makes 9 * $2 = $18 "
    "every day at the farmers' market. The answer is: 18 ки"
)

LLAMA3_HEAD = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "Today Date: 26 Jul 2024\n\n<|eot_id|>"
)
USER = "<|start_header_id|>user<|end_header_id|>\n\n"
PLUS = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n+<|eot_id|>"

QWEN_SPECIAL = ("<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>")
LLAMA_SPECIAL = ("<pad>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")


@dataclass(frozen=True)
class Example:
    """A card's example: its question and steps, the texts that the reference code tokenizes, where in those tokens the
    scores are read, and how the reference code computes them from ids (one forward over everything).
    """

    family: Any
    question: str
    steps: Sequence[str]
    texts: Sequence[str]
    tokenizer: Any
    positions: Sequence[int]
    reference: Callable[[Any, Any, Sequence[int], Sequence[int]], list[float]]


def qwen_scores(model: Any, tokenizer: Any, ids: Sequence[int], positions: Sequence[int]) -> list[float]:
    hidden = model.model(input_ids=torch.tensor([ids])).last_hidden_state
    hidden = torch.relu(hidden @ model.score[0].weight.T + model.score[0].bias)
    logits = hidden @ model.score[2].weight.T + model.score[2].bias
    return torch.softmax(logits, -1)[0, list(positions), 1].tolist()


def word_scores(model: Any, tokenizer: Any, ids: Sequence[int], positions: Sequence[int]) -> list[float]:
    chat = tokenizer.chat_template is not None
    candidates = tokenizer.convert_tokens_to_ids(["+", "-"] if chat else [" +", " -"])
    logits = model(input_ids=torch.tensor([ids])).logits[0, :, candidates]
    return torch.softmax(logits, -1)[list(positions), 0].tolist()


def value_scores(model: Any, tokenizer: Any, ids: Sequence[int], positions: Sequence[int]) -> list[float]:
    hidden = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    value = hidden @ model.v_head.summary.weight[0] + model.v_head.summary.bias
    return torch.sigmoid(value)[list(positions)].tolist()


def label_scores(model: Any, tokenizer: Any, ids: Sequence[int], positions: Sequence[int]) -> list[float]:
    logits = model(input_ids=torch.tensor([ids])).logits[0]
    return torch.softmax(logits, -1)[list(positions), 1].tolist()


def qwen_tokenizer(*texts: str) -> Any:
    words = ["system", "\n", "user", "assistant", *words_of(*texts)]
    return word_tokenizer(words, QWEN_SPECIAL, pad_token="<pad>", eos_token="<|im_end|>", chat_template=CHATML)


def shepherd_tokenizer(*texts: str) -> Any:
    special = ("<pad>", "<s>", "</s>")
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return word_tokenizer([" +", " -", "+", "-", " ки", "ки", *words_of(*texts)], special, opened_by="<s>", **names)


def llama_tokenizer(*texts: str) -> Any:
    words = ["+", "-", "system", "user", "assistant", "\n", "\n\n", *words_of(*texts)]
    names = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<pad>"}
    return word_tokenizer(words, LLAMA_SPECIAL, opened_by="<|begin_of_text|>", chat_template=LLAMA3, **names)


# From the README of SkyworkAI/skywork-o1-prm-inference.
MARKET = (
    "To determine how much money Janet makes every day at the farmers' market, we need to follow these steps:\n"
    "1. **Calculate the total number of eggs laid by the ducks per day.**\n"
    "   Janet's ducks lay 16 eggs per day.\n"
    "2. **Determine the number of eggs Janet uses each day.**\n"
    "   - She eats 3 eggs for breakfast every morning.\n"
    "   - She bakes muffins for her friends every day with 4 eggs.\n"
    "   So, the total number of eggs used per day is:\n"
    "   \\[\n   3 + 4 = 7 \\text{ eggs}\n   \\]\n"
    "3. **Calculate the number of eggs Janet sells at the farmers' market each day.**\n"
    "   Subtract the number of eggs used from the total number of eggs laid:\n"
    "   \\[\n   16 - 7 = 9 \\text{ eggs}\n   \\]\n"
    "4. **Determine how much money Janet makes from selling the eggs.**\n"
    "   She sells each egg for $2, so the total amount of money she makes is:\n"
    "   \\[\n   9 \\times 2 = 18 \\text{ dollars}\n   \\]\n"
    "Therefore, the amount of money Janet makes every day at the farmers' market is \\(\\boxed{18}\\)."
)
LINES = MARKET.split("\n")
MARKET_STEPS = ["\n".join(LINES[:3]), "\n".join(LINES[3:10]), "\n".join(LINES[10:15]), "\n".join(LINES[15:])]
JANET_CHAT = (
    f"{LLAMA3_HEAD}{USER}{JANET} {JANET_STEPS[0]}{PLUS}{USER}{JANET_STEPS[1]}{PLUS}{USER}{JANET_STEPS[2]}{PLUS}"
    f"{USER}{JANET_STEPS[3]}{PLUS}"
)
EXAMPLES = {
    "qwen_prm": Example(
        QWEN_PRM, SUE, SUE_STEPS, [SUE_TEXT], qwen_tokenizer(SUE_TEXT), [157, 244, 279, 322], qwen_scores
    ),
    "math_shepherd": Example(
        MATH_SHEPHERD,
        JANET,
        JANET_STEPS,
        [f"<s>{JANET_TEXT}"],
        shepherd_tokenizer(JANET_TEXT),
        [62, 83, 108, 145],
        word_scores,
    ),
    "rlhflow": Example(
        RLHFLOW, JANET, JANET_STEPS, [JANET_CHAT], llama_tokenizer(JANET_CHAT), [87, 117, 151, 197], word_scores
    ),
    "skywork": Example(
        SKYWORK,
        JANET,
        MARKET_STEPS,
        [f"<|endoftext|>{JANET}\n", *(text for line in LINES for text in (line, "\n"))],
        word_tokenizer(
            words_of(JANET, MARKET), QWEN_SPECIAL, bos_token="<|endoftext|>", pad_token="<pad>", eos_token="<|im_end|>"
        ),
        [97, 166, 215, 279],
        value_scores,
    ),
    "trl": Example(
        TRL,
        JANET,
        JANET_STEPS,
        ["<|begin_of_text|>", JANET, *(text for step in JANET_STEPS for text in (step, "\n"))],
        llama_tokenizer(JANET, *JANET_STEPS),
        [62, 82, 106, 142],
        label_scores,
    ),
}
NAMES = sorted(EXAMPLES)
BYTES = byte_tokenizer(
    ["a b. 12 + 1 = 13", "ab ab\n\nba", SUE, MARKET], QWEN_SPECIAL, pad_token="<pad>", chat_template=CHATML
)


def weights(tokenizer: Any, head: dict[str, tuple[int, ...]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config and the weights of a Qwen2 decoder with a head that transformers does not have."""
    base = tiny_model("Qwen2ForCausalLM", tokenizer, max_position_embeddings=400, num_labels=2)
    states = {f"model.{name}": value for name, value in base.model.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    states |= {name: torch.randn(shape, generator=generator) / 5 for name, shape in head.items()}
    return base.config.to_dict(), states


def checkpoint(folder: FilePath, name: str) -> FilePath:
    """A tiny checkpoint as the family's are published: architecture, names of the weights, remote code not needed."""
    tokenizer = BYTES if name in ("qwen_prm", "skywork") else EXAMPLES[name].tokenizer
    room = {"max_position_embeddings": 400}
    if name == "math_shepherd":
        return saved(folder, "MistralForCausalLM", tokenizer, sliding_window=320, **room)
    if name == "rlhflow":
        return saved(folder, "LlamaForCausalLM", tokenizer, **room)
    if name == "trl":
        return saved(folder, "LlamaForTokenClassification", tokenizer, **room)
    architecture, head = {
        "qwen_prm": (
            "Qwen2ForProcessRewardModel",
            {"score.0.weight": (32, 32), "score.0.bias": (32,), "score.2.weight": (2, 32), "score.2.bias": (2,)},
        ),
        "skywork": ("Qwen2ForPrmModel", {"v_head.summary.weight": (1, 32), "v_head.summary.bias": (1,)}),
    }[name]
    config, states = weights(tokenizer, head)
    remote = {"AutoConfig": "configuration.Config", "AutoModel": f"modeling.{architecture}"}
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config | {"architectures": [architecture], "auto_map": remote}))
    save_file(states, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FilePath]:
    return {name: checkpoint(tmp_path_factory.mktemp(name), name) for name in NAMES}


@pytest.fixture(scope="module")
def rewards(folders: dict[str, FilePath]) -> dict[str, LocalReward]:
    """One reward model of every family, loaded from its folder in float64, with the example's tokenizer."""
    made = {}
    for name, folder in folders.items():
        shows = name not in ("math_shepherd", "rlhflow")
        found: Any = find_reward(str(folder) if shows else f"{name}:{folder}", "countdown", "float64")
        assert found.family.name == name
        made[name] = LocalReward(found.model, EXAMPLES[name].tokenizer, rows=3, family=found.family)
    return made


def ids_of(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """The tokens of texts one after the other."""
    return [token for text in texts for token in tokenizer(text, add_special_tokens=False)["input_ids"]]


@pytest.mark.parametrize("name", NAMES)
def test_tokens_and_tag_positions_are_those_of_the_card(rewards: dict[str, LocalReward], name: str) -> None:
    example, reward = EXAMPLES[name], rewards[name]
    ids = ids_of(example.tokenizer, example.texts)
    assert example.tokenizer.unk_token_id not in ids
    for count, position in enumerate(example.positions, start=1):
        for end in (False, True):
            path = path_of(*example.steps[:count], end=end)
            tokens = reward.tokens(reward.family.solution(example.question, path))
            assert list(tokens) == ids[: position + 1]


WHICH = {
    **{"Which": 23085, " number": 1372, " is": 374, " larger": 8131, ",": 11, " ": 220, "9": 24, ".": 13, "8": 23},
    **{" or": 476, "1": 16, "?": 30, " greater": 7046, " than": 1091, "\n": 198, "H": 39, "ence": 763, " >": 861},
}


def test_tokens_of_trls_own_example_are_the_ids_that_its_documentation_prints() -> None:
    """Docstring of PRMTrainer.tokenize_row, by the tokenizer of Qwen2.5-0.5B, of which this is the part it needs."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    cutter = Tokenizer(models.WordLevel(WHICH | {"<unk>": 0}, unk_token="<unk>"))
    cutter.pre_tokenizer = pre_tokenizers.Split(Regex(r"H|ence| ?[A-Za-z>]+| |\d|[.,?\n]"), behavior="isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=cutter, unk_token="<unk>", pad_token="<unk>")
    model = tiny_model("Qwen2ForTokenClassification", tokenizer, vocab_size=24_000, hidden_size=8)
    path = path_of("11 is greater than 8.", "Hence, 9.11 > 9.8.")
    layout = TRL.solution("Which number is larger, 9.8 or 9.11?", path)
    assert LocalReward(model, tokenizer, family=TRL).tokens(layout) == (
        *(23085, 1372, 374, 8131, 11, 220, 24, 13, 23, 476, 220, 24, 13, 16, 16, 30),
        *(16, 16, 374, 7046, 1091, 220, 23, 13, 198),
        *(39, 763, 11, 220, 24, 13, 16, 16, 861, 220, 24, 13, 23, 13, 198),
    )


def forks(example: Example) -> list[list[Path]]:
    """Three rounds: three roots, one copied twice and one thrice with other texts, the last of them ended."""
    one, two, three, four = example.steps
    first = [path_of(text, key=(index,), end=False) for index, text in enumerate([one, two, three])]
    second = [
        path_of(example.steps[key[0]], text, key=key, end=False)
        for key, text in zip([(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)], [two, three, one, four, two], strict=True)
    ]
    third = [path_of(*(step.text.strip("\n") for step in path.steps), four, key=(*path.key, 0)) for path in second[1:4]]
    return [first, second, third]


def plain_score(reward: LocalReward, example: Example, path: Path) -> float:
    """The reference formula by one forward over the whole of the path's own text, as the card would render it."""
    steps = [step.text.strip("\n") for step in path.steps]
    texts = {
        "qwen_prm": [SUE_TEXT.split(SUE_STEPS[0])[0] + "".join(f"{step}<extra_0>" for step in steps)],
        "math_shepherd": [f"<s>{JANET} " + "\n".join(f"{step} ки" for step in steps)],
        "rlhflow": [f"{LLAMA3_HEAD}{USER}{JANET} " + f"{PLUS}{USER}".join(steps) + PLUS.removesuffix("+<|eot_id|>")],
        "skywork": [f"<|endoftext|>{JANET}\n", *(f"{step}\n" for step in steps)],
        "trl": ["<|begin_of_text|>", JANET, *(text for step in steps for text in (step, "\n"))],
    }
    ids = ids_of(example.tokenizer, texts[reward.family.name])
    with torch.no_grad():
        return example.reference(reward.model, reward.tokenizer, ids, [len(ids) - 1])[0]


@pytest.mark.parametrize("keep", [True, False], ids=["kept caches", "dropped caches"])
@pytest.mark.parametrize("name", NAMES)
async def test_new_steps_score_as_a_plain_forward_over_everything(
    rewards: dict[str, LocalReward], name: str, keep: bool
) -> None:
    example, reward = EXAMPLES[name], rewards[name]
    session = reward.open(Problem("card", example.question), seed=0)
    seen: list[float] = []
    for paths, following in zip(forks(example), [*forks(example)[1:], []], strict=True):
        found: Any = await session.score(paths)
        np.testing.assert_allclose(found, [plain_score(reward, example, path) for path in paths], atol=1e-10, rtol=0)
        seen += found
        session.retain({path.key[:-1] for path in following} if keep else [])
    assert len({round(score, 6) for score in seen}) == len(seen) == 11
    await session.close()
    assert not session.kept
    assert session.prompt_kept is None


@pytest.mark.parametrize("name", NAMES)
async def test_the_cards_example_scores_as_the_cards_formula(rewards: dict[str, LocalReward], name: str) -> None:
    example, reward = EXAMPLES[name], rewards[name]
    with torch.no_grad():
        expected = example.reference(
            reward.model, reward.tokenizer, ids_of(example.tokenizer, example.texts), example.positions
        )
    session = reward.open(Problem("card", example.question), seed=0)
    for count, score in enumerate(expected, start=1):
        (found,) = await session.score([path_of(*example.steps[:count], key=(0,) * count, end=count == 4)])
        assert found == pytest.approx(score, abs=1e-10)


@pytest.mark.parametrize("name", NAMES)
async def test_only_new_tokens_are_read(rewards: dict[str, LocalReward], name: str) -> None:
    """Of all that the card's example holds, every token once; what opens the next step belongs to that."""
    example, reward = EXAMPLES[name], rewards[name]
    session = reward.open(Problem("card", example.question), seed=0)
    for count, position in enumerate(example.positions, start=1):
        await session.score([path_of(*example.steps[:count], key=(0,) * count, end=False)])
        assert session.usage.prefilled == position + 1
        session.retain([(0,) * count])


@pytest.mark.parametrize("name", NAMES)
async def test_a_solution_beyond_the_context_fails_alone_and_says_so(
    rewards: dict[str, LocalReward], name: str
) -> None:
    example, reward = EXAMPLES[name], rewards[name]
    limit = 320 if name == "math_shepherd" else 400
    assert reward.context == limit
    long, short = path_of("so " * 500, key=(0,)), path_of(example.steps[0], key=(1,))
    failed, score = await reward.open(Problem("card", example.question), seed=0).score([long, short])
    assert isinstance(failed, Failure)
    assert failed.reason.endswith(f"tokens, and the reward model reads {limit}")
    assert score == pytest.approx(plain_score(reward, example, short), abs=1e-10)
    with pytest.raises(InputError, match=f"reads {limit} at most"):
        reward.open(Problem("long", "so " * 500), seed=0)


@pytest.mark.parametrize("name", NAMES)
async def test_blank_steps_and_blank_ends_add_no_tag(rewards: dict[str, LocalReward], name: str) -> None:
    example, reward = EXAMPLES[name], rewards[name]
    one, two = example.steps[:2]

    def tokens(*steps: Step) -> tuple[int, ...]:
        return reward.tokens(reward.family.solution(example.question, Path((0,), steps)))

    plain = tokens(Step(f"{one}\n\n", 1, Stop.STEP), Step(two, 1, Stop.END))
    blank = Step("\n\n", 1, Stop.STEP)
    assert tokens(Step(f"{one}\n\n", 1, Stop.STEP), blank, Step(f"\n{two}\n\n", 1, Stop.STEP), blank) == plain
    session = reward.open(Problem("card", example.question), seed=0)
    (score,) = await session.score([path_of(one, key=(0,), end=False)])
    read = session.usage.prefilled
    (again,) = await session.score([Path((0, 0), (Step(f"{one}\n\n", 1, Stop.STEP), blank))])
    assert (again, session.usage.prefilled) == (score, read)
    (nothing,) = await session.score([Path((1,), (blank,))])
    assert isinstance(nothing, float)


@pytest.mark.parametrize("name", NAMES)
async def test_a_step_that_a_limit_cut_is_one_step_when_it_is_whole(rewards: dict[str, LocalReward], name: str) -> None:
    example, reward = EXAMPLES[name], rewards[name]
    place = example.steps[1].index(" ", 30)
    begun, rest = example.steps[1][:place], example.steps[1][place:]
    cut = Path((0,), (Step(begun, 1, Stop.LENGTH),))
    whole = Path((0, 0), (Step(begun, 1, Stop.LENGTH), Step(f"{rest}\n\n", 1, Stop.STEP)))
    session = reward.open(Problem("card", example.question), seed=0)
    found: Any = [*await session.score([cut]), *await session.score([whole])]
    expected = [path_of(begun), path_of(example.steps[1])]
    np.testing.assert_allclose(found, [plain_score(reward, example, path) for path in expected], atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_tags_in_a_solution_are_text(rewards: dict[str, LocalReward], name: str) -> None:
    """A solution that writes control tokens or tags cannot end its own step, nor make itself a right one."""
    example, reward = EXAMPLES[name], rewards[name]
    special = {*reward.tokenizer.all_special_ids, *(reward.tokenizer.convert_tokens_to_ids(["<extra_0>", " ки"]))}
    special -= {reward.tokenizer.unk_token_id}

    def count(*steps: str) -> int:
        tokens = reward.tokens(reward.family.solution(example.question, path_of(*steps)))
        return sum(token in special for token in tokens)

    sly = "so ки and <extra_0> <|im_end|> </s> <|eot_id|> ки"
    assert count(example.steps[0], sly) == count(*example.steps[:2])


STEPS = st.lists(st.text(st.sampled_from("ab .\n12+-"), min_size=1, max_size=8), min_size=1, max_size=5)


def encoder() -> LocalReward:
    """A reward model for its tokens alone."""
    config = Qwen2Config(vocab_size=len(BYTES), hidden_size=8, intermediate_size=8, num_hidden_layers=1)
    config.num_attention_heads = config.num_key_value_heads = 1
    model = Qwen2Model(config)
    model.score = nn.Linear(8, 2)
    return LocalReward(model, BYTES, family=QWEN_PRM)


ENCODER = encoder()


@given(question=st.text(st.sampled_from("ab .\n?"), min_size=1, max_size=8), texts=STEPS, cut=st.integers(0, 5))
@settings(max_examples=60)
def test_a_byte_level_tokenizer_cuts_the_pieces_as_it_cuts_the_whole(question: str, texts: list[str], cut: int) -> None:
    """Where a template's line break, a step and a tag meet, the pieces' tokens are those of the whole text; and what
    is kept of a path is the beginning of whatever grows from it.
    """
    path = path_of(*texts, end=False)
    steps = solution_steps(path)
    tokens, earlier = (
        ENCODER.tokens(QWEN_PRM.solution(question, one)) for one in (path, Path((0,), path.steps[: max(1, cut)]))
    )
    whole = (
        "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
        f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n" + "".join(f"{one}<extra_0>" for one in steps)
    )
    assert list(tokens) == BYTES(whole, add_special_tokens=False)["input_ids"]
    assert tokens[: len(earlier)] == earlier or not any(step.text.strip() for step in path.steps[: max(1, cut)])


def test_a_published_folder_is_read_by_its_own_tokenizer(folders: dict[str, FilePath]) -> None:
    """No remote code, though the config names some; and the tokens are those of the whole text."""
    reward: Any = find_reward(str(folders["qwen_prm"]), "countdown", "float32")
    layout = QWEN_PRM.solution(SUE, path_of(*SUE_STEPS))
    whole = SUE_TEXT.removesuffix("<|im_end|>\n")
    assert list(reward.tokens(layout)) == BYTES(whole, add_special_tokens=False)["input_ids"]
    assert reward.parameters == sum(one.numel() for one in reward.model.parameters())


def test_what_cannot_be_of_a_family_is_refused(folders: dict[str, FilePath], tmp_path: FilePath) -> None:
    def found(name: str) -> Any:
        return find_reward(name, "countdown")

    causal, labels = folders["rlhflow"], folders["trl"]
    with pytest.raises(InputError, match="family of reward model does not show: name it, as in math_shepherd:"):
        found(str(causal))
    with pytest.raises(InputError, match=r"holds LlamaForCausalLM, and Qwen2ForPrmModel is wanted"):
        found(f"skywork:{causal}")
    with pytest.raises(InputError, match="no token ки"):
        found(f"math_shepherd:{causal}")
    with pytest.raises(InputError, match=r"no family of reward models is called 'qwen'; there are: .*qwen_prm"):
        found(f"qwen:{labels}")
    with pytest.raises(InputError, match="LlamaForCausalLM is wanted"):
        found(f"rlhflow:{labels}")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text((labels / "config.json").read_text())
    (pickled / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match="no weights as safetensors"):
        found(str(pickled))


@pytest.mark.parametrize(("names", "right"), [(("wrong", "right"), 1), (("+", "-"), 0), (("LABEL_0", "LABEL_1"), 1)])
async def test_the_right_label_is_the_one_that_says_so(names: tuple[str, str], right: int) -> None:
    example = EXAMPLES["trl"]
    model = tiny_model("LlamaForTokenClassification", example.tokenizer, id2label=dict(enumerate(names))).double()
    (found,) = (
        await LocalReward(model, example.tokenizer, family=TRL)
        .open(Problem("one", JANET), 0)
        .score([path_of(*JANET_STEPS[:1])])
    )
    ids = ids_of(example.tokenizer, [*example.texts[:3], "\n"])
    with torch.no_grad():
        expected = torch.softmax(model(input_ids=torch.tensor([ids])).logits[0, -1], -1)[right]
    assert found == pytest.approx(float(expected), abs=1e-10)


def test_trls_separator_is_the_trainers() -> None:
    example = EXAMPLES["trl"]
    family = trl("\n\n")
    reward = LocalReward(tiny_model("LlamaForTokenClassification", example.tokenizer), example.tokenizer, family=family)
    tokens = reward.tokens(family.solution(JANET, path_of(*JANET_STEPS[:2])))
    assert list(tokens) == ids_of(
        example.tokenizer, ["<|begin_of_text|>", JANET, JANET_STEPS[0], "\n\n", JANET_STEPS[1], "\n\n"]
    )


def test_an_encoder_that_reads_both_ways_is_refused() -> None:
    with pytest.raises(InputError, match="no decoder"):
        LocalReward(
            tiny_model("BertForTokenClassification", EXAMPLES["trl"].tokenizer), EXAMPLES["trl"].tokenizer, family=TRL
        )
