"""Kept prefixes found by their tokens: a radix tree of key-value segments under one limit, the least used go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from rollwise.engines.local.cache import Node, new_number


@dataclass(eq=False)
class _Entry:
    """Tokens after a parent, their keys and values, and the hidden state after the last of them where it is known."""

    tokens: tuple[int, ...]
    states: torch.Tensor
    hidden: torch.Tensor | None
    number: int
    parent: _Entry | None
    children: dict[int, _Entry] = field(default_factory=dict)


class Prefixes:
    """What was read or generated once, to go on from: at most `limit` tokens of it. For one thread.

    A prefix is found down to the token, whoever asked for it first. `held` says how many tokens are kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0
        self._roots: dict[int, _Entry] = {}
        self._order: OrderedDict[_Entry, None] = OrderedDict()

    def find(self, tokens: Sequence[int]) -> Node | None:
        """The node of the longest kept prefix; that of all the tokens only where the hidden state after the last is
        known.
        """
        path = self._walk(tokens)
        if path and path[-1].hidden is None and _length(path) == len(tokens):
            path = self._walk(tokens[:-1])
        self._touch(path)
        return _node(path)

    def insert(self, tokens: Sequence[int], node: Node) -> Node:
        """Keep what a node holds of all these tokens; the node as it is kept."""
        path = self._walk(tokens)
        known = _length(path)
        if known < len(tokens):
            states, parent = _states_after(node, known), path[-1] if path else None
            unbroken = node.parent is not None and node.parent.chain == tuple(entry.number for entry in path)
            own = unbroken or (not path and node.parent is None)
            number = node.chain[-1] if own else new_number()
            entry = _Entry(tuple(tokens[known:]), states, node.hidden, number, parent)
            self._children(parent)[tokens[known]] = entry
            self.held += len(entry.tokens)
            path.append(entry)
        else:
            path[-1].hidden = node.hidden
        self._touch(path)
        self._evict()
        kept = _node(path)
        assert kept is not None
        return kept

    def _children(self, entry: _Entry | None) -> dict[int, _Entry]:
        return self._roots if entry is None else entry.children

    def _walk(self, tokens: Sequence[int]) -> list[_Entry]:
        """The entries that these tokens begin with, from the root; one that they leave midway is split there."""
        path: list[_Entry] = []
        place = 0
        while place < len(tokens):
            entry = self._children(path[-1] if path else None).get(tokens[place])
            if entry is None:
                break
            count = _common(entry.tokens, tokens, place)
            path.append(entry if count == len(entry.tokens) else self._split(entry, count))
            place += count
            if path[-1] is not entry:
                break
        return path

    def _split(self, entry: _Entry, count: int) -> _Entry:
        """Part an entry after `count` tokens; the upper part."""
        first, rest = entry.states[..., :count, :].clone(), entry.states[..., count:, :].clone()
        upper = _Entry(entry.tokens[:count], first, None, new_number(), entry.parent)
        self._children(entry.parent)[entry.tokens[0]] = upper
        upper.children[entry.tokens[count]] = entry
        entry.tokens, entry.states, entry.parent, entry.number = entry.tokens[count:], rest, upper, new_number()
        self._order[upper] = None
        return upper

    def _touch(self, path: Sequence[_Entry]) -> None:
        """Mark entries as used just now, a parent always after its children, so that the least used is a leaf."""
        for entry in reversed(path):
            self._order[entry] = None
            self._order.move_to_end(entry)

    def _evict(self) -> None:
        while self.held > self.limit:
            entry, _ = self._order.popitem(last=False)
            del self._children(entry.parent)[entry.tokens[0]]
            self.held -= len(entry.tokens)


def _common(some: tuple[int, ...], tokens: Sequence[int], start: int) -> int:
    """How many entries `some` and the tokens from `start` begin with alike."""
    if tuple(tokens[start : start + len(some)]) == some:
        return len(some)
    count = 0
    for one, other in zip(some, tokens[start : start + len(some)], strict=False):
        if one != other:
            break
        count += 1
    return count


def _length(path: Sequence[_Entry]) -> int:
    return sum(len(entry.tokens) for entry in path)


def _node(path: Sequence[_Entry]) -> Node | None:
    """The chain of nodes that a path of entries is."""
    node: Node | None = None
    for entry in path:
        length, chain = (node.length, node.chain) if node else (0, ())
        hidden = entry.states.new_zeros(0) if entry.hidden is None else entry.hidden
        node = Node(node, entry.states, length + len(entry.tokens), hidden, (*chain, entry.number))
    return node


def _states_after(node: Node, start: int) -> torch.Tensor:
    """Keys and values (2, layers, heads, tokens, dim) of a node's chain from position `start` on."""
    parts: list[torch.Tensor] = []
    part: Node | None = node
    while part is not None and part.length > start:
        begin = part.length - part.states.shape[3]
        parts.append(part.states if begin >= start else part.states[..., start - begin :, :].clone())
        part = part.parent
    return parts[0] if len(parts) == 1 else torch.cat(parts[::-1], dim=3)
