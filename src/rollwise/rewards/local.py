"""A process reward model in this process that reads only each path's new step, on kept prefixes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path as FilePath
from typing import Any

import torch

from rollwise.core import Failure, Path, PathKey, Problem, Usage
from rollwise.engines.cache import Arena, Node, feed
from rollwise.engines.checkpoint import load_checkpoint
from rollwise.errors import InputError


class LocalReward:
    """A token classifier of two labels: the reward is the probability of label 1 at the step's last token.

    That is the layout of TRL's process reward models. A finished path is scored at its end-of-text token.
    """

    def __init__(self, model: Any, tokenizer: Any, rows: int = 64) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.parameters: int = model.num_parameters()
        self.context: int = model.config.get_text_config().max_position_embeddings
        self._arena = Arena(model.base_model, rows)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rollwise-reward")

    @classmethod
    def load(cls, folder: FilePath, dtype: str | None = None) -> LocalReward:
        """The reward model that lies in a folder. Raises InputError where there is none."""
        return cls(*load_checkpoint(folder, "AutoModelForTokenClassification", dtype))

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

    def read(self, parents: Sequence[Node | None], tokens: Sequence[Sequence[int]]) -> list[Node]:
        """Nodes of new tokens after kept prefixes."""
        with torch.inference_mode():
            return feed(self._arena, parents, tokens)

    def rewards(self, nodes: Sequence[Node]) -> list[float]:
        """The probability of label 1 after each node's last token."""
        with torch.inference_mode():
            logits = self.model.score(torch.stack([node.hidden for node in nodes])).double()
            return torch.softmax(logits, dim=-1)[:, 1].tolist()

    async def run(self, function: Any, *arguments: Any) -> Any:
        """Run a function on the reward model's own thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


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
        return await self.reward.run(self._score, list(paths))

    def _score(self, paths: Sequence[Path]) -> list[float | Failure]:
        if () not in self.nodes and any(len(path.steps) == 1 for path in paths):
            self.nodes[()] = self.reward.read([None], [self.prompt])[0]
            self.usage.prefilled += len(self.prompt)
        parents = [self.nodes.get(path.key[:-1]) for path in paths]
        tokens = [self._new_tokens(path, parent) for path, parent in zip(paths, parents, strict=True)]
        lengths = [len(new) + (parent.length if parent else 0) for new, parent in zip(tokens, parents, strict=True)]
        fitting = [index for index, length in enumerate(lengths) if length <= self.reward.context]
        nodes = self.reward.read([parents[index] for index in fitting], [tokens[index] for index in fitting])
        scores: list[float | Failure] = [
            Failure(f"{length} tokens, and the reward model reads {self.reward.context}") for length in lengths
        ]
        for index, node, reward in zip(fitting, nodes, self.reward.rewards(nodes) if nodes else [], strict=True):
            self.nodes[paths[index].key] = node
            self.usage.prefilled += len(tokens[index])
            self.usage.cached += node.length - len(tokens[index])
            scores[index] = reward
        self.usage.calls += 1
        return scores

    def _new_tokens(self, path: Path, parent: Node | None) -> list[int]:
        encode = self.reward.tokenizer
        steps = path.steps[-1:] if parent else path.steps
        tokens = [token for step in steps for token in encode(step.text, add_special_tokens=False)["input_ids"]]
        ending = [encode.eos_token_id] if path.ended else []
        return [*([] if parent else self.prompt), *tokens, *ending] or [encode.eos_token_id]

    def retain(self, keys: Collection[PathKey]) -> None:
        """Keep the caches of these grown paths; all others may go."""
        self.nodes = {key: node for key in keys if (node := self.nodes.get(key)) is not None}

    async def close(self) -> None:
        """Drop all caches."""
        self.nodes = {}
