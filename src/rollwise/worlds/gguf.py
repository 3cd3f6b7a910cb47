"""A bundled policy as one GGUF file (version 3, github.com/ggml-org/ggml docs/gguf.md), which llama.cpp serves."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollwise.errors import InputError, MissingExtraError
from rollwise.worlds.tokenizer import literal_pattern

Weights = Mapping[str, NDArray[np.float32]]

ALIGNMENT = 32
NORMAL, UNKNOWN, CONTROL = 1, 2, 3
"""Kinds of tokens: text, what stands for text that no token spells, and what is no text."""

_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
_PACKING = {_UINT32: "<I", _INT32: "<i", _FLOAT32: "<f", _BOOL: "<?"}

_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


@dataclass(frozen=True, slots=True)
class Typed:
    """A value of a GGUF file's metadata and its type's number; of a list, that of its members."""

    kind: int
    value: Any


def write_gguf(folder: Path, out: Path, name: str) -> int:
    """Write the Llama policy of a world that lies in `folder` to the file `out`, in float32; returns its bytes.

    Raises InputError where the folder holds another architecture, or a tokenizer that is not a world's own.
    """
    config = _read(folder / "config.json")
    if config.get("model_type") != "llama":
        raise InputError(
            f"{folder} holds {config.get('model_type', 'no known model')!r}, and only a world's own Llama policies are "
            "written here: take convert_hf_to_gguf.py of llama.cpp for other models"
        )
    metadata = {**described(config, name), **vocabulary(folder)}
    content = assembled(metadata, renamed(_loaded(folder), config))
    partial = out.with_name(f"{out.name}.part")
    partial.write_bytes(content)
    partial.replace(out)
    return len(content)


def described(config: Mapping[str, Any], name: str) -> dict[str, Typed]:
    """The metadata that llama.cpp reads of a Llama, from a transformers configuration."""
    heads, width = config["num_attention_heads"], config["hidden_size"]
    size = config.get("head_dim") or width // heads
    sizes = {
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
    }
    return {
        "general.architecture": Typed(_STRING, "llama"),
        "general.name": Typed(_STRING, name),
        "general.alignment": Typed(_UINT32, ALIGNMENT),
        "general.file_type": Typed(_UINT32, 0),
        **{f"llama.{key}": Typed(_UINT32, value) for key, value in sizes.items()},
        "llama.attention.layer_norm_rms_epsilon": Typed(_FLOAT32, config["rms_norm_eps"]),
        "llama.rope.freq_base": Typed(_FLOAT32, _rope_base(config)),
    }


def _rope_base(config: Mapping[str, Any]) -> float:
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        raise InputError(f"positions of the type {rope['rope_type']!r} are not written to GGUF here")
    return float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0)


def vocabulary(folder: Path) -> dict[str, Typed]:
    """A world's literals as a unigram vocabulary: llama.cpp has no words, but of pieces that all score alike it takes
    the fewest, which here is the longest literal at each place, as ours does (only a number of four digits and more,
    which no world knows, may be cut elsewhere). What no literal spells is one unknown token, as with us.
    """
    tokenizer, settings = _read(folder / "tokenizer.json"), _read(folder / "tokenizer_config.json")
    ids: dict[str, int] = tokenizer["model"].get("vocab") or {}
    special = {token["content"] for token in tokenizer["added_tokens"] if token["special"]}
    tokens = sorted(ids, key=lambda token: ids[token])
    if not _is_literal(tokenizer, [token for token in tokens if token not in special]):
        raise InputError(
            f"{folder} holds a tokenizer that is not made of a world's literals: take convert_hf_to_gguf.py of "
            "llama.cpp for it"
        )
    unknown = tokenizer["model"]["unk_token"]
    kinds = [UNKNOWN if token == unknown else CONTROL if token in special else NORMAL for token in tokens]
    # llama.cpp writes spaces ▁ in such a vocabulary
    spelled = [token if token in special else token.replace(" ", "▁") for token in tokens]
    switches = ("add_space_prefix", "remove_extra_whitespaces", "add_bos_token", "add_eos_token")
    return {
        "tokenizer.ggml.model": Typed(_STRING, "t5"),
        "tokenizer.ggml.tokens": Typed(_STRING, spelled),
        "tokenizer.ggml.scores": Typed(_FLOAT32, [-1.0] * len(tokens)),
        "tokenizer.ggml.token_type": Typed(_INT32, kinds),
        "tokenizer.ggml.unknown_token_id": Typed(_UINT32, ids[unknown]),
        "tokenizer.ggml.eos_token_id": Typed(_UINT32, ids[settings["eos_token"]]),
        "tokenizer.ggml.padding_token_id": Typed(_UINT32, ids[settings["pad_token"]]),
        **{f"tokenizer.ggml.{switch}": Typed(_BOOL, False) for switch in switches},
        "tokenizer.chat_template": Typed(_STRING, (folder / "chat_template.jinja").read_text(encoding="utf-8")),
    }


def _is_literal(tokenizer: Mapping[str, Any], literals: Sequence[str]) -> bool:
    cut = tokenizer.get("pre_tokenizer") or {}
    meant = {"type": "Split", "pattern": {"Regex": literal_pattern(literals)}, "behavior": "Isolated", "invert": False}
    plain = tokenizer["model"].get("type") == "WordLevel" and tokenizer.get("normalizer") is None
    return plain and cut == meant


def renamed(weights: Weights, config: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """The weights under llama.cpp's names. Raises InputError for one that has none."""
    heads = config["num_attention_heads"]
    turned = {"attn_q": heads, "attn_k": config.get("num_key_value_heads") or heads}
    found = {}
    for name, weight in weights.items():
        stem, _, part = name.rpartition(".")
        pieces = stem.split(".", 3)
        layered = stem.startswith("model.layers.") and len(pieces) == 4
        own = _LAYER.get(pieces[3]) if layered else _OUTSIDE.get(stem)
        if own is None or part != "weight":
            raise InputError(f"the weights {name} have no place in a Llama's GGUF file")
        kept = interleaved(weight, turned[own]) if own in turned else weight
        found[f"blk.{pieces[2]}.{own}.weight" if layered else f"{own}.weight"] = kept
    return found


def interleaved(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows (heads · size,) of a query or key projection in the order in which llama.cpp turns them: pairs (2j, 2j + 1)
    of a head, where transformers turns (j, j + size/2).
    """
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows, columns)


def assembled(metadata: Mapping[str, Typed], weights: Weights) -> bytes:
    """A GGUF file of these entries and of float32 weights."""
    head = [b"GGUF", struct.pack("<IQQ", 3, len(weights), len(metadata))]
    head += [_string(key) + _entry(typed) for key, typed in metadata.items()]
    body: list[bytes] = []
    offset = 0
    for name, weight in weights.items():
        sizes = weight.shape[::-1]  # the size that varies fastest comes first
        head.append(_string(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, 0, offset))
        body.append(_padded(weight.astype("<f4").tobytes()))
        offset += len(body[-1])
    return _padded(b"".join(head)) + b"".join(body)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % ALIGNMENT)


def _string(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content)) + content


def _packed(kind: int, value: Any) -> bytes:
    return _string(value) if kind == _STRING else struct.pack(_PACKING[kind], value)


def _entry(typed: Typed) -> bytes:
    if not isinstance(typed.value, Sequence) or isinstance(typed.value, str):
        return struct.pack("<I", typed.kind) + _packed(typed.kind, typed.value)
    members = b"".join(_packed(typed.kind, one) for one in typed.value)
    return struct.pack("<IIQ", _ARRAY, typed.kind, len(typed.value)) + members


def _loaded(folder: Path) -> dict[str, NDArray[np.float32]]:
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise MissingExtraError("writing a GGUF file", "local") from error
    found: dict[str, NDArray[np.float32]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= {name: weight.astype(np.float32) for name, weight in load_file(file).items()}
    if not found:
        raise InputError(f"{folder} holds no weights as safetensors")
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file.parent} holds no policy of a world: {file.name} cannot be read") from error
    return content
