"""Kept prefixes of a transformers decoder: a tree of key-value segments, and an arena of rows to compute in.

A node owns the keys and values of its own tokens only and refers to its parent's, so a fork copies nothing and no
prefix is read twice. To compute, the arena copies a node's chain into a row, except for the part that the row still
holds. The decoder writes new keys and values into the row in place.
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
from rollwise.engines.local.linear import pack_linears

_serial = itertools.count()


def new_number() -> int:
    """A number that no other node has."""
    return next(_serial)


@dataclass(eq=False, frozen=True, slots=True)
class Node:
    """Tokens after a parent: their keys and values (2, layers, heads, tokens, dim), the length of the whole prefix, the
    last hidden state (dim), and the chain of the nodes' numbers from the root to this node.
    """

    parent: Node | None
    states: torch.Tensor
    length: int
    hidden: torch.Tensor
    chain: tuple[int, ...]


def prefix_length(node: Node | None) -> int:
    """Tokens of the whole prefix that ends at a node; 0 for None."""
    return 0 if node is None else node.length


def common_length(some: tuple[int, ...], others: tuple[int, ...]) -> int:
    """How many leading entries two tuples share."""
    if some == others[: len(some)]:
        return len(some)
    pairs = enumerate(zip(some, others, strict=False))
    return next((index for index, (first, second) in pairs if first != second), min(len(some), len(others)))


class _RowCache(Cache):  # type: ignore[misc]
    """The cache that a transformers decoder stores keys and values in: it writes them into the arena's leading rows."""

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
        """How many tokens a row has room for."""
        return self.arena.states.shape[4]

    @property
    def is_sliding(self) -> list[bool]:
        """No layer slides."""
        return [False] * self.arena.states.shape[1]

    is_linear = is_dummy = is_sliding


class Arena:
    """Rows of preallocated keys and values (2, layers, rows, heads, length, dim) for a decoder (a backbone without its
    head). `held` lists, for each row, the chain of nodes whose tokens the row begins with.
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
            pack_linears(backbone)
        self._storage = torch.zeros(math.prod(shape), device=self.device, dtype=self.dtype)
        self.states = self._storage.view(shape)
        self.held: list[tuple[int, ...]] = [()] * rows

    def _resize(self, length: int) -> None:
        """Make every row about `length` tokens long, with room for some tokens more. Tokens beyond that are lost.

        The storage stays, since fresh memory costs more than the copy. Layer after layer moves within it; if rows
        grow, the last layer moves first, so that no layer is overwritten before it has moved. Until all layers have
        moved, `held` says that no row holds anything: if a move raises, no leftover is mistaken for a prefix.
        """
        old, new_length = self.states, -(-(length + length // 8) // 16) * 16
        old_length = old.shape[4]
        kept, shape = min(new_length, old_length), (*old.shape[:4], new_length, old.shape[5])
        size = math.prod(shape)
        if size > self._storage.numel():
            self._storage = self._storage.new_zeros(size + size // 4)
        held, self.held = self.held, [()] * self.rows
        self.states = self._storage[:size].view(shape)
        before, after = old.flatten(0, 1), self.states.flatten(0, 1)
        for layer in sorted(range(len(after)), reverse=new_length > old_length):
            after[layer, :, :, :kept] = before[layer, :, :, :kept].clone()
        self.held = held

    def load(self, row: int, node: Node | None) -> None:
        """Copy a node's chain into a row, except for the part that the row holds already."""
        if node is None:
            self.held[row] = ()
            return
        if node.length > self.states.shape[4]:
            self._resize(node.length)
        shared = common_length(self.held[row], node.chain)
        self.held[row] = node.chain[:shared]
        part: Node | None = node
        while part is not None and len(part.chain) > shared:
            self.states[:, :, row, :, part.length - part.states.shape[3] : part.length] = part.states
            part = part.parent
        self.held[row] = node.chain

    def store(self, row: int, parent: Node | None, end: int, hidden: torch.Tensor) -> Node:
        """A new node with the row's tokens from the end of `parent` up to position `end`."""
        chain = (*(() if parent is None else parent.chain), new_number())
        states = self.states[:, :, row, :, prefix_length(parent) : end].clone()
        node = Node(parent, states, end, hidden, chain)
        self.held[row] = chain
        return node

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one row over another."""
        self.held[target] = ()
        self.states[:, :, target, :, :length] = self.states[:, :, source, :, :length]
        self.held[target] = self.held[source]

    def forward(self, tokens: torch.Tensor, starts: torch.Tensor, end: int) -> torch.Tensor:
        """Feed tokens (rows, count) to the leading rows, each from its own start (rows,); return the hidden states
        (rows, count, dim).

        The longest row ends at position `end`. A shorter row is padded on the right; its real tokens never attend to
        the padding. The decoder reads rows whole, since it reads memory without gaps at twice the speed; so rows are
        shortened again when half of their length lies idle.
        """
        length = self.states.shape[4]
        if not end <= length <= max(2 * end, 64):
            if length > end:
                self.held[len(tokens) :] = [()] * (self.rows - len(tokens))
            self._resize(end)
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


def feed(arena: Arena, parents: Sequence[Node | None], tokens: Sequence[Sequence[int]]) -> list[Node]:
    """Read known tokens after kept prefixes, as many at a time as the arena has rows; return a node for each.

    Token lists of similar length go together, so that padding stays short. Every list holds at least one token.
    """
    nodes: dict[int, Node] = {}
    order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
    for first in range(0, len(order), arena.rows):
        batch = order[first : first + arena.rows]
        nodes |= zip(batch, _feed_batch(arena, [(parents[index], tokens[index]) for index in batch]), strict=True)
    return [nodes[index] for index in range(len(tokens))]


def _feed_batch(arena: Arena, batch: Sequence[tuple[Node | None, Sequence[int]]]) -> list[Node]:
    """The nodes after one forward pass over a batch of (kept prefix, tokens), which is no longer than the arena."""
    lengths = [len(tokens) for _, tokens in batch]
    starts = [prefix_length(parent) for parent, _ in batch]
    padded = torch.zeros((len(batch), max(lengths)), dtype=torch.long)
    for row, (parent, tokens) in enumerate(batch):
        padded[row, : len(tokens)] = torch.tensor(tokens)
        arena.load(row, parent)
    end = max(starts) + max(lengths)
    hidden = arena.forward(padded.to(arena.device), torch.tensor(starts, device=arena.device), end)
    lasts = torch.tensor(lengths, device=arena.device) - 1
    last_hidden = hidden[torch.arange(len(batch), device=arena.device), lasts]
    return [
        arena.store(row, parent, starts[row] + lengths[row], last_hidden[row]) for row, (parent, _) in enumerate(batch)
    ]
