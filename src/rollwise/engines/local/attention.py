"""Attention for one new token per row on a CPU, as two batched products; transformers computes every other case."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "rollwise"
_SPAN = 8  # rows that are computed together
_CALL = 1 << 17  # numbers that are read in the time that one more call takes


def use_token_attention(config: PreTrainedConfig) -> None:
    """Make a decoder use `token_attention` if it attends with PyTorch's scaled dot product; leave others unchanged."""
    if config._attn_implementation == "sdpa":
        AttentionInterface.register(_NAME, token_attention)
        AttentionMaskInterface.register(_NAME, sdpa_mask)
        config._attn_implementation = _NAME


def token_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """softmax(q·Kᵀ · scaling + mask)·V for a query (rows, heads, 1, dim) and keys and values (rows, key-value heads,
    length, dim) → (rows, 1, heads, dim).

    PyTorch's own kernel computes two small products for each row and head; starting them costs more than computing
    them. Two batched products cost less. Queries of several tokens go to PyTorch's kernel.
    """
    if query.shape[2] != 1 or attention_mask is None or not attention_mask.is_floating_point():
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    parts = [
        _attend(query[rows] * scale, key[rows, :, :end], value[rows, :, :end], attention_mask[rows, ..., :end])
        for rows, end in _spans(attention_mask, key)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts), None


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """softmax(q·Kᵀ + mask)·V, (rows, 1, heads, dim), as `token_attention` says."""
    rows, heads, _, dim = query.shape
    key_heads = key.shape[1]
    shared = heads // key_heads  # query heads that share a key-value head
    queries = query.reshape(rows * key_heads, shared, dim)
    scores = torch.bmm(queries, key.flatten(0, 1).transpose(1, 2)).view(rows, key_heads, shared, -1)
    weights = scores.add_(mask).softmax(-1).flatten(0, 1)
    return torch.bmm(weights, value.flatten(0, 1)).view(rows, 1, heads, dim)


def _spans(mask: torch.Tensor, key: torch.Tensor) -> list[tuple[slice, int]]:
    """Neighbouring rows that are computed together, with the end of what they see.

    A long row does not make all others long: what the rows of a span do not see is not read. All rows are one span if
    that saves less than the calls for several cost.
    """
    rows, key_heads, length, dim = key.shape
    whole = [(slice(0, rows), length)]
    if rows <= _SPAN or len(mask) < rows or rows * length * key_heads * dim < _CALL:
        return whole
    seen = mask[:, 0, 0] > torch.finfo(mask.dtype).min / 2
    ends = (seen * torch.arange(1, length + 1, device=mask.device)).amax(-1).tolist()
    spans = [(slice(start, start + _SPAN), max(ends[start : start + _SPAN])) for start in range(0, rows, _SPAN)]
    saved = sum((length - end) * len(ends[rows]) for rows, end in spans) * key_heads * dim
    return spans if saved > _CALL * len(spans) else whole
