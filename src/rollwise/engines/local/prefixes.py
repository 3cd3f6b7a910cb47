"""Kept prefixes, found by their tokens: a radix tree of key-value segments with a size limit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from rollwise.engines.local.cache import Node, common_length, new_number


@dataclass(eq=False)
class _Entry:
    """Tokens after a parent, their keys and values, and the hidden state after the last token, None if unknown."""

    tokens: tuple[int, ...]
    states: torch.Tensor
    hidden: torch.Tensor | None
    number: int
    parent: _Entry | None
    children: dict[int, _Entry] = field(default_factory=dict)


class Prefixes:
    """A cache of token sequences that were read or generated: at most `limit` tokens. For use from one thread.

    `find` matches token by token, so requests share prefixes whoever sent them. When the cache is full, the least
    recently used tokens go first. `kept_tokens` counts the tokens in the cache.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.kept_tokens = limit, 0
        self._roots: dict[int, _Entry] = {}
        self._order: OrderedDict[_Entry, None] = OrderedDict()

    def find(self, tokens: Sequence[int]) -> Node | None:
        """The node of the longest kept prefix of `tokens`; None if nothing is kept.

        The node covers all tokens only if the hidden state after the last is known.
        """
        path = self._walk(tokens)
        if path and path[-1].hidden is None and _length(path) == len(tokens):
            path = self._walk(tokens[:-1])
        self._touch(path)
        return _node(path)

    def insert(self, tokens: Sequence[int], node: Node) -> Node:
        """Keep what a node holds of all these tokens; return the node as the cache holds it."""
        path = self._walk(tokens)
        known = _length(path)
        if known < len(tokens):
            entry = self._new_entry(path, tuple(tokens[known:]), known, node)
            self._children(entry.parent)[tokens[known]] = entry
            self.kept_tokens += len(entry.tokens)
            path.append(entry)
        else:
            path[-1].hidden = node.hidden
        self._touch(path)
        self._evict()
        kept = _node(path)
        assert kept is not None
        return kept

    def _new_entry(self, path: Sequence[_Entry], tokens: tuple[int, ...], known: int, node: Node) -> _Entry:
        """An entry for the tokens of a node after the `known` tokens of a path.

        It takes over the node's number if node and path agree up to there: a row that holds the node's chain is then
        recognised.
        """
        same_parent = node.parent is not None and node.parent.chain == tuple(entry.number for entry in path)
        same_root = node.parent is None and not path
        number = node.chain[-1] if same_parent or same_root else new_number()
        return _Entry(tokens, _states_after(node, known), node.hidden, number, path[-1] if path else None)

    def _children(self, entry: _Entry | None) -> dict[int, _Entry]:
        return self._roots if entry is None else entry.children

    def _walk(self, tokens: Sequence[int]) -> list[_Entry]:
        """The entries that these tokens begin with, from the root. An entry that only begins alike is split there."""
        path: list[_Entry] = []
        place = 0
        while place < len(tokens):
            entry = self._children(path[-1] if path else None).get(tokens[place])
            if entry is None:
                break
            count = common_length(entry.tokens, tuple(tokens[place : place + len(entry.tokens)]))
            path.append(entry if count == len(entry.tokens) else self._split(entry, count))
            place += count
            if path[-1] is not entry:
                break
        return path

    def _split(self, entry: _Entry, count: int) -> _Entry:
        """Split an entry after `count` tokens; return the upper part."""
        first, rest = entry.states[..., :count, :].clone(), entry.states[..., count:, :].clone()
        upper = _Entry(entry.tokens[:count], first, None, new_number(), entry.parent)
        self._children(entry.parent)[entry.tokens[0]] = upper
        upper.children[entry.tokens[count]] = entry
        entry.tokens, entry.states, entry.parent, entry.number = entry.tokens[count:], rest, upper, new_number()
        self._order[upper] = None
        return upper

    def _touch(self, path: Sequence[_Entry]) -> None:
        """Mark entries as just used, a parent always after its children: the least recently used entry is a leaf."""
        for entry in reversed(path):
            self._order[entry] = None
            self._order.move_to_end(entry)

    def _evict(self) -> None:
        while self.kept_tokens > self.limit:
            entry, _ = self._order.popitem(last=False)
            del self._children(entry.parent)[entry.tokens[0]]
            self.kept_tokens -= len(entry.tokens)


def _length(path: Sequence[_Entry]) -> int:
    return sum(len(entry.tokens) for entry in path)


def _node(path: Sequence[_Entry]) -> Node | None:
    """A path of entries as a chain of nodes; None for an empty path."""
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
