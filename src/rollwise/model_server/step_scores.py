"""A process reward model behind `POST /pooling`. It keeps what it has read, so a new step costs its own tokens only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rollwise.core import FloatArray
from rollwise.engines.local import (
    CONTINUES,
    ENDS,
    Arena,
    Batcher,
    Node,
    Prefixes,
    StopRule,
    StopTable,
    feed,
    prefix_length,
)
from rollwise.rewards import LocalReward

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class StepScores:
    """The probabilities (steps, 2) of wrong and right at each step's end, and how many tokens were cached."""

    rows: FloatArray
    cached: int


class StepScorer:
    """Scores a text at the token that completes each separator, at each end-of-text token, and at the last token.

    `prefixes` keeps up to `limit` tokens between requests; `read_tokens` counts the tokens that were not kept.
    """

    def __init__(self, reward: LocalReward, name: str, separator: str, limit: int, rows: int = 32) -> None:
        self.reward, self.name, self.tokenizer = reward, name, reward.tokenizer
        self.context, self.prefixes, self.read_tokens = reward.context, Prefixes(limit), 0
        self.vocabulary: int = reward.model.config.get_text_config().vocab_size
        self._rule = StopRule((separator,), frozenset({reward.tokenizer.eos_token_id} - {None}))
        self._stops = StopTable(reward.tokenizer, self.vocabulary)
        self._arena = Arena(reward.model.base_model, rows)
        self.batcher = Batcher(self.score, "rollwise-pooling")

    def step_ends(self, tokens: Sequence[int]) -> list[int]:
        """The lengths of the prefixes that end with a step; the last is the whole text."""
        slots = np.full(len(tokens), self._stops.slot(self._rule, ()))
        effects = self._stops.effects(slots, np.asarray(tokens, dtype=np.int64)).tolist()
        ends, start = list[int](), 0
        for place, effect in enumerate(effects, start=1):
            if effect == ENDS or (effect != CONTINUES and self._stops.completes(self._rule, tokens[start:place])):
                ends.append(place)
                start = place
        return ends if start == len(tokens) else [*ends, len(tokens)]

    def score(self, texts: Sequence[Tokens]) -> list[StepScores]:
        """Each text's step scores. All texts are read together, each from its longest kept prefix, step by step."""
        with torch.inference_mode():
            ends = [self.step_ends(tokens) for tokens in texts]
            kept = [
                _with_all_states(self.prefixes.find(tokens), text_ends)
                for tokens, text_ends in zip(texts, ends, strict=True)
            ]
            states = self._states_at(texts, ends, kept)
            right = self.reward.head(torch.cat(states))
            rows = torch.stack([1 - right, right], dim=-1).cpu().numpy()
        parts = np.split(rows, np.cumsum([len(text_ends) for text_ends in ends])[:-1])
        return [StepScores(part, prefix_length(node)) for part, node in zip(parts, kept, strict=True)]

    def _states_at(
        self, texts: Sequence[Tokens], ends: Sequence[Sequence[int]], kept: Sequence[Node | None]
    ) -> list[torch.Tensor]:
        """The hidden states (steps, dim) of each text at the ends of its steps, read from its kept prefix on."""
        nodes, states = list(kept), [_states(node) for node in kept]
        while unread := [index for index, tokens in enumerate(texts) if prefix_length(nodes[index]) < len(tokens)]:
            following = {index: _next_end(ends[index], nodes[index]) for index in unread}
            read = self._read({texts[index][:end]: nodes[index] for index, end in following.items()})
            for index, end in following.items():
                node = read[texts[index][:end]]
                nodes[index], states[index][end] = node, node.hidden
        return [torch.stack([known[end] for end in text_ends]) for known, text_ends in zip(states, ends, strict=True)]

    def _read(self, parents: Mapping[Tokens, Node | None]) -> dict[Tokens, Node]:
        """Read prefixes, each after a shorter kept prefix, and keep them: prefix → its node."""
        tokens = [prefix[prefix_length(parent) :] for prefix, parent in parents.items()]
        self.read_tokens += sum(map(len, tokens))
        nodes = feed(self._arena, list(parents.values()), tokens)
        return {prefix: self.prefixes.insert(prefix, node) for prefix, node in zip(parents, nodes, strict=True)}


def _next_end(ends: Sequence[int], node: Node | None) -> int:
    """The first end of a step after a kept prefix."""
    return next(end for end in ends if end > prefix_length(node))


def _states(node: Node | None) -> dict[int, torch.Tensor]:
    """The hidden states (dim) along a chain, by the length of the prefix that they follow."""
    states = {}
    while node is not None:
        if node.hidden.numel():
            states[node.length] = node.hidden
        node = node.parent
    return states


def _with_all_states(node: Node | None, ends: Sequence[int]) -> Node | None:
    """The longest part of a kept chain that has the hidden state at every step end within it.

    A state may be missing: if the cache drops a text's first steps before its last step is read, it keeps the steps as
    one segment, with the state at its end only.
    """
    states = _states(node)
    missing = next((end for end in ends if end <= prefix_length(node) and end not in states), None)
    while missing is not None and node is not None and node.length >= missing:
        node = node.parent
    return node
