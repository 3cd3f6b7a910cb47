"""A process reward model behind `POST /pooling`: what was read once is kept, so a further step costs its own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rollwise.core import FloatArray
from rollwise.engines.local import ENDS, GOES_ON, Arena, Batcher, Node, Prefixes, StopRule, StopTable, feed
from rollwise.rewards import LocalReward

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Judged:
    """The probabilities (steps, 2) of wrong and right at each step's end, and how many tokens were kept from before."""

    rows: FloatArray
    cached: int


class Judge:
    """Judges a text at the token that completes each separator, at each end-of-text token, and at the last token.

    `prefixes` are what is kept between requests, `read` counts tokens that were read anew.
    """

    def __init__(self, reward: LocalReward, name: str, separator: str, kept: int, rows: int = 32) -> None:
        self.reward, self.name, self.tokenizer = reward, name, reward.tokenizer
        self.context, self.prefixes, self.read = reward.context, Prefixes(kept), 0
        self.vocabulary: int = reward.model.config.get_text_config().vocab_size
        self._rule = StopRule((separator,), frozenset({reward.tokenizer.eos_token_id} - {None}))
        self._stops = StopTable(reward.tokenizer, self.vocabulary)
        self._arena = Arena(reward.model.base_model, rows)
        self.batcher = Batcher(self.judge, "rollwise-pooling")

    def marks(self, tokens: Sequence[int]) -> list[int]:
        """How long each prefix is that ends where a step does; the last is the whole."""
        slots = np.full(len(tokens), self._stops.slot(self._rule, ()))
        kinds = self._stops.kinds(slots, np.asarray(tokens, dtype=np.int64)).tolist()
        marks, begun = list[int](), 0
        for place, kind in enumerate(kinds, start=1):
            if kind == ENDS or (kind != GOES_ON and self._stops.closes(self._rule, tokens[begun:place])):
                marks.append(place)
                begun = place
        return marks if begun == len(tokens) else [*marks, len(tokens)]

    def judge(self, texts: Sequence[Tokens]) -> list[Judged]:
        """Each text's rows. All texts are read together, each from its longest kept prefix, stretch by stretch."""
        with torch.inference_mode():
            marks = [self.marks(tokens) for tokens in texts]
            nodes = [_known(self.prefixes.find(tokens), each) for tokens, each in zip(texts, marks, strict=True)]
            states = [_states(node) for node in nodes]
            cached = [_length(node) for node in nodes]
            while unread := [index for index, tokens in enumerate(texts) if _length(nodes[index]) < len(tokens)]:
                ends = {index: next(end for end in marks[index] if end > _length(nodes[index])) for index in unread}
                fresh = self._read({texts[index][:end]: nodes[index] for index, end in ends.items()})
                for index, end in ends.items():
                    nodes[index] = fresh[texts[index][:end]]
                    states[index][end] = fresh[texts[index][:end]].hidden
            hidden = [torch.stack([known[end] for end in ends]) for known, ends in zip(states, marks, strict=True)]
            right = self.reward.head(torch.cat(hidden))
            rows = torch.stack([1 - right, right], dim=-1).cpu().numpy()
        parts = np.split(rows, np.cumsum([len(places) for places in marks])[:-1])
        return [Judged(*each) for each in zip(parts, cached, strict=True)]

    def _read(self, wanted: dict[Tokens, Node | None]) -> dict[Tokens, Node]:
        """Prefixes, each after a kept shorter one, read and kept."""
        tokens = [prefix[_length(parent) :] for prefix, parent in wanted.items()]
        self.read += sum(map(len, tokens))
        nodes = feed(self._arena, list(wanted.values()), tokens)
        return {prefix: self.prefixes.insert(prefix, node) for prefix, node in zip(wanted, nodes, strict=True)}


def _length(node: Node | None) -> int:
    return node.length if node else 0


def _states(node: Node | None) -> dict[int, torch.Tensor]:
    """The hidden states (dim) that a chain holds, by how many tokens they come after."""
    found = {}
    while node is not None:
        if node.hidden.numel():
            found[node.length] = node.hidden
        node = node.parent
    return found


def _known(node: Node | None, marks: Sequence[int]) -> Node | None:
    """The longest part of a kept chain that holds the state at every mark in it. What was read in stretches and dropped
    before its end is kept as one.
    """
    held = _states(node)
    missing = next((mark for mark in marks if mark <= _length(node) and mark not in held), None)
    while missing is not None and node is not None and node.length >= missing:
        node = node.parent
    return node
