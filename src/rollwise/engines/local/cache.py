"""Kept prefixes for a transformers decoder: a tree of key-value segments, and an arena of rows to compute in.

A node owns the keys and values of its own tokens only and shares its parent's by reference, so a fork copies nothing
and no prefix is read twice. To compute, a node's chain is laid into a row of the arena, but for what the row still
holds of it; rows are written in place.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from transformers import Cache, PreTrainedModel

from rollwise.engines.local.attention import use_token_attention

_serial = itertools.count()


def new_number() -> int:
    """A number that names one node and no other."""
    return next(_serial)


@dataclass(eq=False, frozen=True, slots=True)
class Node:
    """Tokens after a parent: their keys and values (2, layers, heads, tokens, dim), the length of the whole prefix, the
    last hidden state (dim), and the chain of numbers that name the nodes from the root to this one.
    """

    parent: Node | None
    states: torch.Tensor
    length: int
    hidden: torch.Tensor
    chain: tuple[int, ...]


class _RowCache(Cache):  # type: ignore[misc]
    """What a transformers decoder calls to store keys and values: writes them into the arena's leading rows."""

    def __init__(self, arena: Arena, positions: torch.Tensor) -> None:
        self.arena, self.rows = arena, len(positions)
        _, _, rows, heads, length, _ = arena.states.shape
        firsts = torch.arange(0, rows * heads * length, length, device=positions.device).view(rows, heads, 1)
        self.places = (firsts[: self.rows] + positions[:, None]).flatten()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store (rows, heads, tokens, dim) at each row's positions; return the rows."""
        stored = []
        for kind, states in enumerate((key_states, value_states)):
            buffer = self.arena.states[kind, layer_idx]
            buffer.view(-1, buffer.shape[-1]).index_copy_(0, self.places, states.reshape(-1, states.shape[-1]))
            stored.append(buffer[: self.rows])
        return stored[0], stored[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens that a row has room for."""
        return self.arena.states.shape[4]

    @property
    def is_sliding(self) -> list[bool]:
        """No layer slides."""
        return [False] * self.arena.states.shape[1]

    is_linear = is_dummy = is_sliding


class Arena:
    """Rows of preallocated keys and values (2, layers, rows, heads, length, dim) for a decoder (backbone without its
    head). `held` says which nodes' tokens a row starts with.
    """

    def __init__(self, backbone: PreTrainedModel, rows: int, length: int = 64) -> None:
        config = backbone.config.get_text_config()
        parameter = next(backbone.parameters())
        self.backbone, self.rows = backbone, rows
        self.device, self.dtype = parameter.device, parameter.dtype
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shape = (2, config.num_hidden_layers, rows, heads, length, dim)
        if self.device.type == "cpu":
            use_token_attention(config)
        self._storage = torch.zeros(math.prod(shape), device=self.device, dtype=self.dtype)
        self.states = self._storage.view(shape)
        self.held: list[tuple[int, ...]] = [()] * rows

    def _fit(self, length: int) -> None:
        """Make the rows about as long as that, with room for some tokens more. What a row held beyond is lost.

        The storage stays, since fresh memory costs more than the copy: layer after layer moves within it, the last
        first where rows grow, so that none is written over before it has moved. Until all have moved no row holds
        anything: what raises midway leaves nothing that could be taken for a prefix.
        """
        old, new = self.states, -(-(length + length // 8) // 16) * 16
        kept, shape = min(new, old.shape[4]), (*old.shape[:4], new, old.shape[5])
        size = math.prod(shape)
        if size > self._storage.numel():
            self._storage = self._storage.new_zeros(size + size // 4)
        held, self.held = self.held, [()] * self.rows
        self.states = self._storage[:size].view(shape)
        before, after = old.flatten(0, 1), self.states.flatten(0, 1)
        for layer in sorted(range(len(after)), reverse=new > old.shape[4]):
            after[layer, :, :, :kept] = before[layer, :, :, :kept].clone()
        self.held = held

    def load(self, row: int, node: Node | None) -> None:
        """Lay a node's chain into a row, but for what the row holds of it already."""
        if node is None:
            self.held[row] = ()
            return
        if node.length > self.states.shape[4]:
            self._fit(node.length)
        shared = _common(self.held[row], node.chain)
        self.held[row] = node.chain[:shared]
        part: Node | None = node
        while part is not None and len(part.chain) > shared:
            self.states[:, :, row, :, part.length - part.states.shape[3] : part.length] = part.states
            part = part.parent
        self.held[row] = node.chain

    def store(self, row: int, parent: Node | None, end: int, hidden: torch.Tensor) -> Node:
        """A node of what the row holds after its parent, up to `end`."""
        start = 0 if parent is None else parent.length
        chain = (*(() if parent is None else parent.chain), new_number())
        node = Node(parent, self.states[:, :, row, :, start:end].clone(), end, hidden, chain)
        self.held[row] = chain
        return node

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one row over another."""
        self.held[target] = ()
        self.states[:, :, target, :, :length] = self.states[:, :, source, :, :length]
        self.held[target] = self.held[source]

    def forward(self, tokens: torch.Tensor, starts: torch.Tensor, end: int) -> torch.Tensor:
        """Feed tokens (rows, count) to the leading rows, each from its own start; hidden states (rows, count, dim).

        `end` is where the longest row ends. A short row is padded on the right; what it computes there is never
        attended to by its real tokens. All of a row is read, since memory without gaps is read at twice the speed; so
        rows are made shorter again when half of them lies idle.
        """
        length = self.states.shape[4]
        if not end <= length <= max(2 * end, 64):
            if length > end:
                self.held[len(tokens) :] = [()] * (self.rows - len(tokens))
            self._fit(end)
        positions = starts[:, None] + torch.arange(tokens.shape[1], device=self.device)
        visible = torch.arange(self.states.shape[4], device=self.device) <= positions[:, None, :, None]
        mask = torch.zeros(visible.shape, device=self.device, dtype=self.dtype)
        mask.masked_fill_(~visible, torch.finfo(self.dtype).min)
        output = self.backbone(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=_RowCache(self, positions),
            use_cache=True,
        )
        return cast(torch.Tensor, output.last_hidden_state)


def _common(some: Sequence[int], others: Sequence[int]) -> int:
    """How many entries two sequences begin with alike."""
    pairs = enumerate(zip(some, others, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(some), len(others)))


def feed(arena: Arena, parents: Sequence[Node | None], tokens: Sequence[Sequence[int]]) -> list[Node]:
    """Read known tokens after kept prefixes, as many rows at a time as the arena has; one node for each.

    Rows of like length go together, so that little is padded. Every token list holds at least one token.
    """
    nodes: dict[int, Node] = {}
    order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
    for first in range(0, len(order), arena.rows):
        batch = order[first : first + arena.rows]
        width = max(len(tokens[index]) for index in batch)
        begun = [parent.length if (parent := parents[index]) else 0 for index in batch]
        starts = torch.tensor(begun, device=arena.device)
        padded = torch.zeros((len(batch), width), dtype=torch.long)
        for row, index in enumerate(batch):
            padded[row, : len(tokens[index])] = torch.tensor(tokens[index])
            arena.load(row, parents[index])
        hidden = arena.forward(padded.to(arena.device), starts, max(begun) + width)
        lasts = torch.tensor([len(tokens[index]) - 1 for index in batch], device=arena.device)
        last_hidden = hidden[torch.arange(len(batch), device=arena.device), lasts]
        for row, index in enumerate(batch):
            nodes[index] = arena.store(row, parents[index], begun[row] + len(tokens[index]), last_hidden[row])
    return [nodes[index] for index in range(len(tokens))]
