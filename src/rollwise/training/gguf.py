"""Writes a small Llama as a GGUF file, which llama.cpp can serve. The package `gguf` writes the file format."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollwise.errors import InputError, MissingExtraError
from rollwise.worlds import literal_pattern

Weights = Mapping[str, NDArray[np.float32]]

NORMAL, UNKNOWN, CONTROL = 1, 2, 3
"""Token types in GGUF: text, the token for text that no other token spells, and control tokens."""
RULES = {("ByteLevel",): "gpt-2", ("Digits", "ByteLevel"): "smollm"}
"""How a byte-level tokenizer splits text before it merges bytes → llama.cpp's name for it."""


def write_gguf(folder: Path, out: Path, name: str) -> int:
    """Write the Llama policy in `folder` to the file `out`, in float32. Returns the file's size in bytes.

    Raises InputError if the folder holds another architecture, or a tokenizer that `vocabulary` refuses.
    """
    for package in ("gguf", "safetensors"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError("writing a GGUF file", "gguf")
    config = _read(folder / "config.json")
    if config.get("model_type") != "llama":
        raise InputError(
            f"{folder} holds {config.get('model_type', 'no known model')!r}, but only Llama policies can be "
            "exported; use convert_hf_to_gguf.py of llama.cpp for other models"
        )
    metadata = {**described(config, name), **vocabulary(folder)}
    partial = out.with_name(f"{out.name}.part")
    _write(partial, metadata, renamed(_loaded(folder), config))
    partial.replace(out)
    return out.stat().st_size


def _write(file: Path, metadata: Mapping[str, Any], weights: Weights) -> None:
    from gguf import GGUFValueType, GGUFWriter

    writer = GGUFWriter(file, "llama")
    for key, value in metadata.items():
        kind = GGUFValueType.UINT32 if type(value) is int else GGUFValueType.get_type(value)
        writer.add_key_value(key, value, kind)
    for name, weight in weights.items():
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def described(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The metadata that llama.cpp needs for a Llama, from a transformers configuration."""
    heads, width = config["num_attention_heads"], config["hidden_size"]
    size = config.get("head_dim") or width // heads
    own = {
        "vocab_size": config["vocab_size"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": width,
        "block_count": config["num_hidden_layers"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": config.get("num_key_value_heads") or heads,
        "attention.key_length": size,
        "attention.value_length": size,
        "rope.dimension_count": size,
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "rope.freq_base": _rope_base(config),
    }
    return {"general.name": name, "general.file_type": 0, **{f"llama.{key}": value for key, value in own.items()}}


def _rope_base(config: Mapping[str, Any]) -> float:
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        raise InputError(
            f"rotary positions of the type {rope['rope_type']!r} cannot be exported; use convert_hf_to_gguf.py of "
            "llama.cpp"
        )
    return float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0)


def vocabulary(folder: Path) -> dict[str, Any]:
    """The tokenizer and chat template of a policy, as llama.cpp reads them: a world's literals, or byte-level pairs.

    Raises InputError for any other tokenizer.
    """
    tokenizer, settings = _read(folder / "tokenizer.json"), _read(folder / "tokenizer_config.json")
    if not (held := _literals(tokenizer) or _byte_pairs(tokenizer)):
        raise InputError(
            f"{folder} holds a tokenizer that is neither built from a world's literals nor splits text as GPT-2 or "
            "SmolLM does; use convert_hf_to_gguf.py of llama.cpp instead"
        )
    tokens = _tokens(tokenizer)
    for place, name in (("bos", "bos_token"), ("eos", "eos_token"), ("unknown", "unk_token"), ("padding", "pad_token")):
        token = settings.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        if token in tokens:
            held[f"tokenizer.ggml.{place}_token_id"] = tokens.index(token)
    template = folder / "chat_template.jinja"
    if template.is_file():
        held["tokenizer.chat_template"] = template.read_text(encoding="utf-8")
    switches = ("add_space_prefix", "remove_extra_whitespaces", "add_bos_token", "add_eos_token")
    return held | {f"tokenizer.ggml.{switch}": False for switch in switches}


def _literals(tokenizer: Mapping[str, Any]) -> dict[str, Any] | None:
    """A world's literals as a unigram vocabulary; None if the tokenizer is another one.

    llama.cpp has no word-level vocabulary. Given pieces with equal scores, it splits text into the fewest pieces. For
    these literals that is the longest literal at each place, as in the world's tokenizer. Only numbers with four or
    more digits, which no world uses, may be split differently. Text that no literal spells becomes one unknown token,
    as in the world's tokenizer.
    """
    tokens, special = _tokens(tokenizer), _special(tokenizer)
    if not _is_literal(tokenizer, [token for token in tokens if token not in special]):
        return None
    unknown = tokenizer["model"]["unk_token"]
    # llama.cpp spells a space ▁ in such a vocabulary
    spelled = [token if token in special else token.replace(" ", "▁") for token in tokens]
    return {
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.tokens": spelled,
        "tokenizer.ggml.scores": [-1.0] * len(tokens),
        "tokenizer.ggml.token_type": [
            UNKNOWN if token == unknown else CONTROL if token in special else NORMAL for token in tokens
        ],
    }


def _byte_pairs(tokenizer: Mapping[str, Any]) -> dict[str, Any] | None:
    """A byte-level vocabulary with its merges; None if the tokenizer is another one, or splits text by another rule
    than those of RULES before it merges bytes.
    """
    splitting, model = tokenizer.get("pre_tokenizer") or {}, tokenizer["model"]
    parts = splitting["pretokenizers"] if splitting.get("type") == "Sequence" else [splitting]
    kinds = tuple(str(part.get("type")) for part in parts)
    byte_level = parts[-1]
    plain = byte_level.get("use_regex", True) and not byte_level.get("add_prefix_space", True)
    apart = all(part.get("individual_digits") for part in parts[:-1])
    if kinds not in RULES or not (plain and apart) or model.get("type") != "BPE" or tokenizer.get("normalizer"):
        return None
    tokens, special = _tokens(tokenizer), _special(tokenizer)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": RULES[kinds],
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [CONTROL if token in special else NORMAL for token in tokens],
        "tokenizer.ggml.merges": merges,
    }


def _tokens(tokenizer: Mapping[str, Any]) -> list[str]:
    """The tokens in the order of their ids."""
    ids: dict[str, int] = dict(tokenizer["model"].get("vocab") or {})
    ids |= {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    return sorted(ids, key=lambda token: ids[token])


def _special(tokenizer: Mapping[str, Any]) -> set[str]:
    return {token["content"] for token in tokenizer["added_tokens"] if token["special"]}


def _is_literal(tokenizer: Mapping[str, Any], literals: Sequence[str]) -> bool:
    splitting = tokenizer.get("pre_tokenizer") or {}
    expected = {
        "type": "Split",
        "pattern": {"Regex": literal_pattern(literals)},
        "behavior": "Isolated",
        "invert": False,
    }
    plain = tokenizer["model"].get("type") == "WordLevel" and tokenizer.get("normalizer") is None
    return plain and splitting == expected


def renamed(weights: Weights, config: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """The weights under the names of llama.cpp. Raises InputError for a weight that has no such name."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    heads = config["num_attention_heads"]
    heads_of = {"attn_q": heads, "attn_k": config.get("num_key_value_heads") or heads}
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    result = {}
    for name, weight in weights.items():
        new_name = names.get_name(name, try_suffixes=(".weight",))
        if new_name is None or not name.endswith(".weight") or "experts" in name or "block_sparse_moe" in name:
            raise InputError(
                f"the weights {name} have no place in a Llama's GGUF file; use convert_hf_to_gguf.py of llama.cpp"
            )
        layer = new_name.removesuffix(".weight").rpartition(".")[2]
        result[new_name] = interleaved(weight, heads_of[layer]) if layer in heads_of else weight
    return result


def interleaved(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """A query or key projection (heads · size, width) with its rows in the order that llama.cpp rotates them.

    llama.cpp rotates the pairs (2j, 2j + 1) of a head, and transformers rotates (j, j + size/2).
    """
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows, columns)


def _loaded(folder: Path) -> dict[str, NDArray[np.float32]]:
    from safetensors.numpy import load_file

    weights: dict[str, NDArray[np.float32]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= {name: weight.astype(np.float32) for name, weight in load_file(file).items()}
    if not weights:
        raise InputError(f"{folder} holds no weights as safetensors; give the folder of a trained policy")
    return weights


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file.parent} holds no policy of a world: {file.name} cannot be read; give the folder of a trained policy"
        ) from error
    return content
