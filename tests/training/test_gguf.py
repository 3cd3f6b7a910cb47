"""A policy as a GGUF file, read as the format is specified: its metadata, its computation and its tokenization."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reward_checkpoints import QWEN_SPECIAL
from safetensors.numpy import load_file
from tiny import CHATML, byte_tokenizer, saved, word_tokenizer, words_of
from typer.testing import CliRunner

from rollwise.cli import build_app
from rollwise.engines.local.policy import LocalPolicy
from rollwise.errors import InputError
from rollwise.models import convert
from rollwise.names import bundled
from rollwise.registry import find_world
from rollwise.training.gguf import renamed, write_gguf

FOLDER = bundled("countdown", "policy", "small")
WORLD = find_world("countdown")
Array = NDArray[np.float64]
ENDS = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
CHAT = [{"role": "user", "content": "How many nuts are 12 and 3?"}]


class Reader:
    """A GGUF file, read as the format is specified: metadata in `known`, weights in `held`."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0
        assert self.take("4s") == b"GGUF"
        version, weights, entries = self.take("I"), self.take("Q"), self.take("Q")
        assert version == 3
        self.known = {self.text(): self.value(self.take("I")) for _ in range(entries)}
        named = [(self.text(), [self.take("Q") for _ in range(self.take("I"))], *self.spot()) for _ in range(weights)]
        alignment = self.known.get("general.alignment", 32)
        start = -(-self.place // alignment) * alignment
        self.held = {}
        for name, sizes, kind, offset in named:
            assert kind == 0
            assert offset % alignment == 0
            flat = np.frombuffer(content, "<f4", int(np.prod(sizes)), start + offset)
            self.held[name] = flat.reshape(sizes[::-1]).astype(float)

    def take(self, kind: str) -> Any:
        (value,) = struct.unpack_from(f"<{kind}", self.content, self.place)
        self.place += struct.calcsize(f"<{kind}")
        return value

    def text(self) -> str:
        size = self.take("Q")
        return str(self.take(f"{size}s").decode())

    def spot(self) -> tuple[int, int]:
        return self.take("I"), self.take("Q")

    def value(self, kind: int) -> Any:
        if kind == 8:
            return self.text()
        if kind == 9:
            member, count = self.spot()
            return [self.value(member) for _ in range(count)]
        return self.take({4: "I", 5: "i", 6: "f", 7: "?"}[kind])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    out = tmp_path_factory.mktemp("gguf") / "small.gguf"
    write_gguf(FOLDER, out, "small")
    return Reader(out.read_bytes())


def normalised(values: Array, weight: Array, epsilon: float) -> Array:
    return values / np.sqrt((values**2).mean(-1, keepdims=True) + epsilon) * weight


def rotated(values: Array, base: float) -> Array:
    """(heads, places, size): the neighbours 2j and 2j + 1 are rotated by place · base^(−2j/size), as in llama.cpp."""
    angles = np.arange(values.shape[1])[:, None] * base ** (-np.arange(0, values.shape[2], 2) / values.shape[2])
    even, odd = values[..., ::2], values[..., 1::2]
    both = [even * np.cos(angles) - odd * np.sin(angles), even * np.sin(angles) + odd * np.cos(angles)]
    return np.stack(both, -1).reshape(values.shape)


def logits(file: Reader, ids: list[int]) -> Array:
    """(places, vocabulary): a Llama according to its definition, with llama.cpp's names."""
    known = {name.removeprefix("llama."): value for name, value in file.known.items() if name.startswith("llama.")}
    heads, epsilon, base = (
        known[name] for name in ("attention.head_count", "attention.layer_norm_rms_epsilon", "rope.freq_base")
    )
    state = file.held["token_embd.weight"][ids]
    mask = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    for layer in range(known["block_count"]):
        w = {name.split(".")[2]: held for name, held in file.held.items() if name.startswith(f"blk.{layer}.")}
        inputs = normalised(state, w["attn_norm"], epsilon)
        parts = [
            (inputs @ w[name].T).reshape(len(ids), heads, -1).swapaxes(0, 1) for name in ("attn_q", "attn_k", "attn_v")
        ]
        query, key = (rotated(part, base) for part in parts[:2])
        scores = query @ key.swapaxes(1, 2) / np.sqrt(known["attention.key_length"]) + mask
        chances = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (chances / chances.sum(-1, keepdims=True)) @ parts[2]
        state = state + mixed.swapaxes(0, 1).reshape(len(ids), -1) @ w["attn_output"].T
        inputs = normalised(state, w["ffn_norm"], epsilon)
        gate = inputs @ w["ffn_gate"].T
        state = state + (gate / (1 + np.exp(-gate)) * (inputs @ w["ffn_up"].T)) @ w["ffn_down"].T
    out = file.held.get("output.weight", file.held["token_embd.weight"])
    result: Array = normalised(state, file.held["output_norm.weight"], epsilon) @ out.T
    return result


def spelled(file: Reader, text: str) -> list[int]:
    """The ids of a text without special tokens: among all ways to split it into pieces, the one with the best score.

    A character that belongs to no piece costs 10 more than the worst piece. Several unknown characters in a row are
    one token.
    """
    tokens, scores, kinds = (file.known[f"tokenizer.ggml.{field}"] for field in ("tokens", "scores", "token_type"))
    pieces = {piece: place for place, piece in enumerate(tokens) if kinds[place] == 1}
    text, unknown = text.replace(" ", "▁"), file.known["tokenizer.ggml.unknown_token_id"]
    longest = max(map(len, pieces))
    best: list[tuple[float, list[int]]] = [(0.0, [])]
    for end in range(1, len(text) + 1):
        ways = [(best[end - 1][0] + min(scores) - 10.0, [*best[end - 1][1], unknown])]
        for size in range(1, min(end, longest) + 1):
            if (place := pieces.get(text[end - size : end])) is not None:
                ways.append((best[end - size][0] + scores[place], [*best[end - size][1], place]))
        best.append(max(ways, key=lambda way: way[0]))
    ids = best[-1][1]
    return [token for place, token in enumerate(ids) if not (place and token == unknown == ids[place - 1])]


def test_the_file_computes_the_same_logits_as_the_policy(file: Reader) -> None:
    local: Any = LocalPolicy.load(FOLDER, WORLD.separator, "float32")
    ids = local.prompt_tokens(WORLD.problem(5, 1)) + local.tokenizer.encode("2 + 3 = 5, left: 5 7 9\n\n")
    with torch.inference_mode():
        expected = local.model(input_ids=torch.tensor([ids])).logits[0].double().numpy()
    assert np.abs(logits(file, ids) - expected).max() < 2e-4 * np.abs(expected).max()


def test_the_file_holds_all_weights_of_the_policy(file: Reader) -> None:
    stored = load_file(FOLDER / "model.safetensors")
    assert sum(held.size for held in file.held.values()) == sum(weight.size for weight in stored.values())
    assert np.array_equal(file.held["token_embd.weight"], stored["model.embed_tokens.weight"].astype(float))


def test_the_file_tokenizes_text_like_the_policy(file: Reader) -> None:
    local: Any = LocalPolicy.load(FOLDER, WORLD.separator, "float32")
    for seed in range(200):
        question = WORLD.problem(1 + seed % 5, seed).question
        assert spelled(file, question) == local.tokenizer.encode(question), question
    for text in ("12 − 3 = 9, left: 9 100\n\nAnswer: \\boxed{(1 + 2) × 999}.", "What is 2 + 2?", "Ann × Use 7, "):
        assert spelled(file, text) == local.tokenizer.encode(text), text


def test_the_file_names_the_special_tokens(file: Reader) -> None:
    local: Any = LocalPolicy.load(FOLDER, WORLD.separator, "float32")
    known = {name.removeprefix("tokenizer."): value for name, value in file.known.items()}
    assert known["ggml.eos_token_id"] == local.tokenizer.eos_token_id
    assert known["ggml.padding_token_id"] == local.tokenizer.pad_token_id
    assert known["ggml.unknown_token_id"] == local.tokenizer.unk_token_id
    assert known["chat_template"] == local.tokenizer.chat_template
    control = [place for place, kind in enumerate(known["ggml.token_type"]) if kind != 1]
    assert control == sorted(local.tokenizer.all_special_ids)


def test_the_command_writes_a_file(tmp_path: Path) -> None:
    out = tmp_path / "policy.gguf"
    run = CliRunner().invoke(build_app(), ["world", "export", "countdown", "--policy", "small", "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert "llama-server -m" in run.output
    assert Reader(out.read_bytes()).known["general.name"] == "rollwise countdown small"
    assert [*tmp_path.iterdir()] == [out]


@pytest.mark.parametrize("digits", [True, False])
def test_a_byte_level_model_is_the_same_again_when_transformers_reads_the_file(tmp_path: Path, digits: bool) -> None:
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = byte_tokenizer(["1234 nuts and 56 more nuts"] * 9, QWEN_SPECIAL, chat_template=CHATML, **ENDS)
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    first = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*first, splitter])
    folder = saved(tmp_path / "model", "LlamaForCausalLM", tokenizer)
    write_gguf(folder, tmp_path / "model.gguf", "tiny")
    again = convert(tmp_path / "model.gguf", tmp_path / "again")
    tokenizers = [AutoTokenizer.from_pretrained(each) for each in (folder, again)]
    for text in (
        "nuts 1234 and 56",
        "1 2  34\n\n5é∑",
        "<|im_end|>\n",
        tokenizer.apply_chat_template(CHAT, tokenize=False),
    ):
        ids, ids_again = (each(text, add_special_tokens=False)["input_ids"] for each in tokenizers)
        assert ids == ids_again, text
    assert tokenizers[1].chat_template == CHATML
    assert (tokenizers[1].eos_token, tokenizers[1].pad_token) == (ENDS["eos_token"], ENDS["pad_token"])
    given = torch.tensor([ids])
    with torch.inference_mode():
        before, after = (
            AutoModelForCausalLM.from_pretrained(each, dtype=torch.float32)(given).logits for each in (folder, again)
        )
    assert torch.allclose(before, after, atol=5e-2)  # what is converted is stored in half precision


@pytest.mark.parametrize("name", ["model.layers.0.self_attn.rotary_emb.inv_freq", "score.weight"])
def test_weights_unknown_to_a_llama_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="no place in a Llama's GGUF file"):
        renamed({name: np.zeros((2, 2), dtype=np.float32)}, {"num_attention_heads": 1, "num_hidden_layers": 1})


def test_other_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        write_gguf(tmp_path, tmp_path / "out", "none")
    tokenizer = word_tokenizer(words_of("2 + 2 = 4"), eos_token="<unk>", pad_token="<unk>")
    for kind, reason in (
        ("Qwen2ForCausalLM", "'qwen2'.*convert_hf_to_gguf"),
        ("LlamaForCausalLM", "literals.*convert_"),
    ):
        with pytest.raises(InputError, match=reason):
            write_gguf(saved(tmp_path / kind, kind, tokenizer), tmp_path / "out", kind)
    assert not (tmp_path / "out").exists()
