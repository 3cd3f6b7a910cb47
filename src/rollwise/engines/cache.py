"""Kept prefixes for a transformers decoder: a tree of key-value segments, and an arena of rows to compute in.

A node owns the keys and values of its own tokens only and shares its parent's by reference, so a fork copies nothing
and no prefix is read twice. To compute, a node's chain is laid into a row of the arena; rows are written in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from transformers import Cache, PreTrainedModel


@dataclass(eq=False, frozen=True, slots=True)
class Node:
    """Tokens after a parent: their keys and values (layers, heads, tokens, dim), the length of the whole prefix, and
    the last hidden state (dim).
    """

    parent: Node | None
    keys: torch.Tensor
    values: torch.Tensor
    length: int
    hidden: torch.Tensor


class _RowCache(Cache):  # type: ignore[misc]
    """What a transformers decoder calls to store keys and values: writes them into the arena's leading rows."""

    def __init__(self, arena: Arena, positions: torch.Tensor, end: int) -> None:
        self.arena, self.positions, self.end = arena, positions, end
        self.rows = torch.arange(len(positions), device=positions.device)[:, None]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store (rows, heads, tokens, dim) at each row's positions; return all of the rows up to `end`."""
        count = len(self.positions)
        stored = []
        for buffer, states in ((self.arena.keys, key_states), (self.arena.values, value_states)):
            buffer[layer_idx][self.rows, :, self.positions] = states.transpose(1, 2)
            stored.append(buffer[layer_idx][:count, :, : self.end])
        return stored[0], stored[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens in the longest row."""
        return self.end

    @property
    def is_sliding(self) -> list[bool]:
        """No layer slides."""
        return [False] * len(self.arena.keys)

    is_linear = is_dummy = is_sliding


class Arena:
    """Rows of preallocated keys and values for a decoder (backbone without its head)."""

    def __init__(self, backbone: PreTrainedModel, rows: int, length: int = 128) -> None:
        config = backbone.config.get_text_config()
        parameter = next(backbone.parameters())
        self.backbone, self.rows, self.length = backbone, rows, 0
        self.device, self.dtype = parameter.device, parameter.dtype
        self.heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        self.dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.keys = [self._buffer(0) for _ in range(config.num_hidden_layers)]
        self.values = [self._buffer(0) for _ in range(config.num_hidden_layers)]
        self._grow(length)

    def _buffer(self, length: int) -> torch.Tensor:
        return torch.zeros(self.rows, self.heads, length, self.dim, device=self.device, dtype=self.dtype)

    def _grow(self, length: int) -> None:
        if length <= self.length:
            return
        doubled = max(length, 2 * self.length)
        for buffers in (self.keys, self.values):
            for layer, old in enumerate(buffers):
                buffers[layer] = self._buffer(doubled)
                buffers[layer][:, :, : self.length] = old
        self.length = doubled

    def load(self, row: int, node: Node | None) -> None:
        """Lay a node's whole chain into a row."""
        if node is not None:
            self._grow(node.length)
        while node is not None:
            start = node.length - node.keys.shape[2]
            for layer in range(len(self.keys)):
                self.keys[layer][row, :, start : node.length] = node.keys[layer]
                self.values[layer][row, :, start : node.length] = node.values[layer]
            node = node.parent

    def store(self, row: int, parent: Node | None, end: int, hidden: torch.Tensor) -> Node:
        """A node of what the row holds after its parent, up to `end`."""
        start = 0 if parent is None else parent.length
        keys = torch.stack([buffer[row, :, start:end] for buffer in self.keys])
        values = torch.stack([buffer[row, :, start:end] for buffer in self.values])
        return Node(parent, keys, values, end, hidden)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one row over another."""
        for buffers in (self.keys, self.values):
            for buffer in buffers:
                buffer[target, :, :length] = buffer[source, :, :length]

    def forward(self, tokens: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Feed tokens (rows, count) to the leading rows, each from its own start; hidden states (rows, count, dim).

        A short row is padded on the right; what it computes there is never attended to by its real tokens.
        """
        count = tokens.shape[1]
        positions = starts[:, None] + torch.arange(count, device=self.device)
        end = int(starts.max()) + count
        self._grow(end)
        visible = torch.arange(end, device=self.device) <= positions[:, None, :, None]
        mask = torch.zeros(visible.shape, device=self.device, dtype=self.dtype)
        mask.masked_fill_(~visible, torch.finfo(self.dtype).min)
        output = self.backbone(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=_RowCache(self, positions, end),
            use_cache=True,
        )
        return cast(torch.Tensor, output.last_hidden_state)


def feed(arena: Arena, parents: Sequence[Node | None], tokens: Sequence[Sequence[int]]) -> list[Node]:
    """Read known tokens after kept prefixes, as many rows at a time as the arena has; one node for each.

    Rows of like length go together, so that little is padded. Every token list holds at least one token.
    """
    nodes: dict[int, Node] = {}
    order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
    for first in range(0, len(order), arena.rows):
        batch = order[first : first + arena.rows]
        width = max(len(tokens[index]) for index in batch)
        starts = torch.tensor([parent.length if (parent := parents[index]) else 0 for index in batch])
        padded = torch.tensor([[*tokens[index], *[0] * (width - len(tokens[index]))] for index in batch])
        for row, index in enumerate(batch):
            arena.load(row, parents[index])
        hidden = arena.forward(padded.to(arena.device), starts.to(arena.device))
        for row, index in enumerate(batch):
            end = int(starts[row]) + len(tokens[index])
            nodes[index] = arena.store(row, parents[index], end, hidden[row, len(tokens[index]) - 1].clone())
    return [nodes[index] for index in range(len(tokens))]
