"""Attention for one new token per row on a CPU, as two batched products; transformers computes every other case."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "rollwise"


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
    rows, heads, count, dim = query.shape
    if count != 1 or attention_mask is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    key_heads = key.shape[1]
    shared = heads // key_heads  # query heads that share a key-value head
    queries = query.reshape(rows * key_heads, shared, dim) * (dim**-0.5 if scaling is None else scaling)
    scores = torch.bmm(queries, key.flatten(0, 1).transpose(1, 2)).view(rows, key_heads, shared, -1)
    weights = scores.add_(attention_mask).softmax(-1).flatten(0, 1)
    return torch.bmm(weights, value.flatten(0, 1)).view(rows, 1, heads, dim), None
