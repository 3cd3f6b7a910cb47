"""Examples from the model cards of reward model families, and tiny random checkpoints as the families publish them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import torch
from safetensors.torch import save_file
from tiny import CHATML, LLAMA3, byte_tokenizer, saved, tiny_model, word_tokenizer, words_of

from rollwise.core import Path, Step, Stop
from rollwise.rewards.layouts import MATH_SHEPHERD, QWEN_PRM, RLHFLOW, SKYWORK, TRL


def path_of(*steps: str, key: tuple[int, ...] = (0,), end: bool = True) -> Path:
    """A path of these steps. A blank line closes each step, except the last step of a finished path."""
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
    """A card's example: its question and steps, the texts that the reference code tokenizes, the positions of the
    scores in those tokens, and the reference code that computes the scores from ids in one forward pass.
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
    """The config and the weights of a Qwen2 decoder whose head transformers does not know."""
    base = tiny_model("Qwen2ForCausalLM", tokenizer, max_position_embeddings=400, num_labels=2)
    states = {f"model.{name}": value for name, value in base.model.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    states |= {name: torch.randn(shape, generator=generator) / 5 for name, shape in head.items()}
    return base.config.to_dict(), states


def checkpoint(folder: FilePath, name: str) -> FilePath:
    """A tiny checkpoint as the family publishes them: architecture, names of the weights, a config that names remote
    code (which is missing).
    """
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


def forks(example: Example) -> list[list[Path]]:
    """The paths of three rounds: three roots; two copies of the first root and three of the last, with other steps; and
    three of these copies with a last step.
    """
    steps = example.steps
    roots = [path_of(text, key=(index,), end=False) for index, text in enumerate(steps[:3])]
    copies = [
        path_of(steps[root], steps[following], key=(root, copy), end=False)
        for root, copy, following in [(0, 0, 1), (0, 1, 2), (2, 0, 0), (2, 1, 3), (2, 2, 1)]
    ]
    ended = [
        path_of(*(step.text.strip("\n") for step in path.steps), steps[3], key=(*path.key, 0)) for path in copies[1:4]
    ]
    return [roots, copies, ended]


def ids_of(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """The tokens of texts one after the other."""
    return [token for text in texts for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
