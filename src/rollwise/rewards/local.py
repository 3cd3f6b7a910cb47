"""A process reward model in this process that reads only each path's new step, on kept prefixes."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from pathlib import Path as FilePath
from typing import Any

import torch

from rollwise.core import Failure, Path, PathKey, Problem, Usage
from rollwise.engines.batcher import Batcher
from rollwise.engines.cache import Arena, Node, feed
from rollwise.engines.checkpoint import load_checkpoint
from rollwise.errors import InputError


class LocalReward:
    """A token classifier of two labels: the reward is the probability of label 1 at the step's last token.

    That is the layout of TRL's process reward models. A finished path is scored at its end-of-text token. Raises
    InputError for another number of labels.
    """

    def __init__(self, model: Any, tokenizer: Any, rows: int = 32) -> None:
        if model.config.num_labels != 2:
            raise InputError(
                f"a reward model has two labels, wrong and right, and this one has {model.config.num_labels}"
            )
        self.model, self.tokenizer = model, tokenizer
        self.parameters: int = model.num_parameters()
        self.context: int = model.config.get_text_config().max_position_embeddings
        self._arena = Arena(model.base_model, rows)
        self.batcher = Batcher(self.score, "rollwise-reward")

    @classmethod
    def load(cls, folder: FilePath, dtype: str | None = None, rows: int = 32) -> LocalReward:
        """The reward model that lies in a folder. Raises InputError where there is none."""
        return cls(*load_checkpoint(folder, "AutoModelForTokenClassification", dtype), rows=rows)

    def open(self, problem: Problem, seed: int) -> LocalRewardSession:
        """A session for one question. Raises InputError where the question does not fit the model's context."""
        messages = [{"role": "user", "content": problem.question}]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(prompt) >= self.context:
            raise InputError(
                f"the question takes {len(prompt)} tokens and the reward model reads {self.context} at most"
            )
        return LocalRewardSession(self, prompt)

    def score(self, requests: Sequence[tuple[LocalRewardSession, Sequence[Path]]]) -> list[list[float | Failure]]:
        """The rewards of each request's paths, all requests in common batches; equal text after an equal prefix is read
        once.
        """
        with torch.inference_mode():
            self._read_prompts(requests)
            wanted = [(session, path) for session, paths in requests for path in paths]
            parents = [session.nodes.get(path.key[:-1]) for session, path in wanted]
            tokens = self._new_tokens(wanted, parents)
            reads = list(zip(parents, tokens, strict=True))
            fitting = [read for read in dict.fromkeys(reads) if _length(*read) <= self.context]
            nodes = dict(zip(fitting, feed(self._arena, *zip(*fitting, strict=True)) if fitting else [], strict=True))
            rewards = dict(zip(fitting, self._rewards(list(nodes.values())), strict=True))
        fresh = set(fitting)
        for (session, path), read in zip(wanted, reads, strict=True):
            if read in nodes:
                node, count = nodes[read], len(read[1]) if read in fresh else 0
                fresh.discard(read)
                session.nodes[path.key] = node
                session.usage.prefilled += count
                session.usage.cached += node.length - count
        for session, _ in requests:
            session.usage.calls += 1
        scores = iter([rewards[read] if read in rewards else self._too_long(_length(*read)) for read in reads])
        return [list(itertools.islice(scores, len(paths))) for _, paths in requests]

    def _too_long(self, length: int) -> Failure:
        return Failure(f"{length} tokens, and the reward model reads {self.context}")

    def _read_prompts(self, requests: Sequence[tuple[LocalRewardSession, Sequence[Path]]]) -> None:
        """Keep the prompt of every question whose first round it is."""
        beginning = [
            session
            for session, paths in requests
            if () not in session.nodes and any(len(path.steps) == 1 for path in paths)
        ]
        nodes = feed(self._arena, [None] * len(beginning), [session.prompt for session in beginning])
        for session, node in zip(beginning, nodes, strict=True):
            session.nodes[()] = node
            session.usage.prefilled += len(session.prompt)

    def _new_tokens(
        self, wanted: Sequence[tuple[LocalRewardSession, Path]], parents: Sequence[Node | None]
    ) -> list[tuple[int, ...]]:
        """What has to be read of each path after its kept prefix. Every text is made into tokens once."""
        steps = [path.steps[-1:] if parent else path.steps for (_, path), parent in zip(wanted, parents, strict=True)]
        texts = {step.text for each in steps for step in each}
        by_text = {text: self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts}
        end = self.tokenizer.eos_token_id
        tokens = []
        for (session, path), parent, each in zip(wanted, parents, steps, strict=True):
            prompt = () if parent else tuple(session.prompt)
            text = itertools.chain.from_iterable(by_text[step.text] for step in each)
            tokens.append((*prompt, *text, *([end] if path.ended else [])) or (end,))
        return tokens

    def _rewards(self, nodes: Sequence[Node]) -> list[float]:
        """The probability of label 1 after each node's last token."""
        if not nodes:
            return []
        logits = self.model.score(torch.stack([node.hidden for node in nodes])).double()
        return torch.softmax(logits, dim=-1)[:, 1].tolist()


def _length(parent: Node | None, tokens: Sequence[int]) -> int:
    return len(tokens) + (parent.length if parent else 0)


class LocalRewardSession:
    """One question's caches in a local reward model. Paths whose prefix is no longer kept are read anew."""

    def __init__(self, reward: LocalReward, prompt: list[int]) -> None:
        self.reward, self.prompt = reward, prompt
        self.usage = Usage()
        self.nodes: dict[PathKey, Node] = {}

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        """The reward after each path's last step; results in the order given."""
        if not paths:
            return []
        return await self.reward.batcher.run((self, tuple(paths)))

    def retain(self, keys: Collection[PathKey]) -> None:
        """Keep the caches of these grown paths; all others may go."""
        self.nodes = {key: node for key in keys if (node := self.nodes.get(key)) is not None}

    async def close(self) -> None:
        """Drop all caches."""
        self.nodes = {}
