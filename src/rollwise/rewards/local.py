"""A process reward model in this process that reads only each path's new step, on kept prefixes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import torch

from rollwise.core import Failure, Judgement, Path, PathKey, Problem, Usage
from rollwise.engines.local import Arena, Batcher, Node, feed, load_checkpoint, load_tokenizer
from rollwise.errors import InputError
from rollwise.rewards.heads import MODEL_KINDS, detect_family, head_of, last_token, sureness_of
from rollwise.rewards.layouts import CHAT, FAMILIES, Chat, Family, Marker, Piece, Special, Text

Tokens = tuple[int, ...]
_REMEMBERED_PIECES = 1 << 14


@dataclass(frozen=True)
class Kept:
    """A prefix that has been read: its tokens, and the last node of its chain."""

    tokens: Tokens
    node: Node

    def agreeing(self, tokens: Tokens) -> Node | None:
        """The longest kept node of the chain whose tokens begin `tokens` too; None where no node's do."""
        common = _common_length(self.tokens, tokens)
        node: Node | None = self.node
        while node is not None and node.length > common:
            node = node.parent
        return node


class LocalReward:
    """A process reward model on a transformers decoder. The reward is the chance that it gives to the last step's being
    right, read where its `family` (`rollwise.rewards.layouts`) says.

    `rows` paths are read at once. Raises InputError for a model that the family's head or tokens cannot be read from.
    """

    reads_certainty = False

    def __init__(self, model: Any, tokenizer: Any, rows: int = 32, family: Family = CHAT) -> None:
        self.model, self.tokenizer, self.family = model, tokenizer, family
        self.parameters: int = model.num_parameters()
        config = model.config.get_text_config()
        self.context: int = min(config.max_position_embeddings, getattr(config, "sliding_window", None) or 1 << 30)
        self._check_tag()
        self.head = head_of(family, model, tokenizer)
        self.sureness = sureness_of(model)
        self._arena = Arena(model.base_model, rows)
        self._encode = functools.lru_cache(_REMEMBERED_PIECES)(self._encode_piece)
        self._check_architecture()
        self.batcher = Batcher(self.score, "rollwise-reward")

    @classmethod
    def load(
        cls, folder: FilePath, dtype: str | None = None, rows: int = 32, family: str | Family | None = None
    ) -> LocalReward:
        """The reward model that lies in a folder; its family as `detect_family` sees it, unless one is named. Raises
        InputError where there is none.
        """
        if isinstance(family, str):
            family = FAMILIES[family]
        family = family or detect_family(folder, load_tokenizer(folder))
        model, tokenizer = load_checkpoint(folder, MODEL_KINDS[family.head], dtype)
        return cls(model, tokenizer, rows, family)

    def _check_tag(self) -> None:
        """Raise InputError where the family's tag is no token of its own."""
        if self.family.tag is None:
            return
        wanted, token = self.family.tag.split()[-1], last_token(self.tokenizer, self.family.tag)
        if token == self.tokenizer.unk_token_id or self.tokenizer.decode([token]).strip() != wanted:
            raise InputError(
                f"the tokenizer has no token {wanted}, which ends the steps of the family {self.family.name}: "
                "name another family, or another folder"
            )

    def _check_architecture(self) -> None:
        """Raise InputError for a stock model that computes more than the caches and the head reproduce."""
        if self.family.head not in ("labels", "words"):
            return
        output = self.model.score if self.family.head == "labels" else self.model.get_output_embeddings()
        tokens = self.tokens((Text("1 + 1 = 2"),))
        with torch.inference_mode():
            known = self.model(input_ids=torch.tensor([tokens], device=self.model.device)).logits[0, -1]
            ours = output(feed(self._arena, [None], [tokens])[0].hidden)
        if not torch.allclose(known.float(), ours.float(), rtol=0.05, atol=0.05):
            raise InputError("kept prefixes do not reproduce the scores of this architecture; serve it")

    def tokens(self, pieces: Sequence[Piece]) -> Tokens:
        """The pieces of a layout as tokens."""
        return tuple(itertools.chain.from_iterable(map(self._encode, pieces)))

    def _encode_piece(self, piece: Piece) -> Tokens:
        match piece:
            case Text(text, opened):
                # a text is never parsed for control tokens
                return tuple(self.tokenizer(text, add_special_tokens=opened, split_special_tokens=True)["input_ids"])
            case Marker(text):
                return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])
            case Chat(turns):
                messages = [{"role": role, "content": content} for role, content in turns]
                text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
                return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])
            case Special(name):
                token = getattr(self.tokenizer, f"{name}_token_id")
                return () if token is None else (token,)

    def open(self, problem: Problem, seed: int) -> LocalRewardSession:
        """A session for one question. Raises InputError where the question does not fit the model's context."""
        prompt = self.tokens(self.family.prompt(problem.question))
        if len(prompt) >= self.context:
            raise InputError(
                f"the question takes {len(prompt)} tokens and the reward model reads {self.context} at most"
            )
        return LocalRewardSession(self, problem.question, prompt)

    def score(
        self, requests: Sequence[tuple[LocalRewardSession, Sequence[Path]]]
    ) -> list[list[float | Judgement | Failure]]:
        """The rewards of each request's paths, all requests in common batches; equal tokens after an equal prefix are
        read once.
        """
        wanted = [(session, path) for session, paths in requests for path in paths]
        layouts = [self.tokens(self.family.solution(session.question, path)) for session, path in wanted]
        with torch.inference_mode():
            self._read_prompts(wanted, layouts)
            reads = [session.read(path, tokens) for (session, path), tokens in zip(wanted, layouts, strict=True)]
            nodes = self._read(reads)
            rewards = dict(zip(nodes, self._rewards(list(nodes.values())), strict=True))
        fresh = {read for read in nodes if read[1]}
        for (session, path), tokens, read in zip(wanted, layouts, reads, strict=True):
            if read in nodes:
                node, count = nodes[read], len(read[1]) if read in fresh else 0
                fresh.discard(read)
                session.kept[path.key] = Kept(tokens, node)
                session.known[read] = node
                session.usage.prefilled += count
                session.usage.cached += node.length - count
        for session, _ in requests:
            session.usage.calls += 1
        scores = iter(
            [
                rewards[read] if read in rewards else self._too_long(len(tokens))
                for read, tokens in zip(reads, layouts, strict=True)
            ]
        )
        return [list(itertools.islice(scores, len(paths))) for _, paths in requests]

    def _too_long(self, length: int) -> Failure:
        return Failure(f"{length} tokens, and the reward model reads {self.context}")

    def _read_prompts(self, wanted: Sequence[tuple[LocalRewardSession, Path]], layouts: Sequence[Tokens]) -> None:
        """Keep the prompt of every question that needs it, as far as its tokens begin the path's too."""
        needed: dict[LocalRewardSession, Tokens] = {}
        for (session, path), tokens in zip(wanted, layouts, strict=True):
            if session.prompt_kept is None and session not in needed and session.read(path, tokens)[0] is None:
                common = session.prompt[: _common_length(session.prompt, tokens)]
                if 0 < len(common) < len(tokens):
                    needed[session] = common
        nodes = feed(self._arena, [None] * len(needed), list(needed.values()))
        for (session, tokens), node in zip(needed.items(), nodes, strict=True):
            session.prompt_kept = Kept(tokens, node)
            session.usage.prefilled += len(tokens)

    def _read(self, reads: Sequence[Read]) -> dict[Read, Node]:
        """The node after each read that fits the context; what is read already is that node itself."""
        fitting = [read for read in dict.fromkeys(reads) if _length(*read) <= self.context]
        new = [(parent, tokens) for parent, tokens in fitting if tokens]
        fed = iter(feed(self._arena, *zip(*new, strict=True)) if new else [])
        nodes: dict[Read, Node] = {}
        for parent, tokens in fitting:
            node = next(fed) if tokens else parent
            assert node is not None
            nodes[parent, tokens] = node
        return nodes

    def _rewards(self, nodes: Sequence[Node]) -> list[float | Judgement]:
        """The score after each node's last token, with its concentration where the model tells one."""
        if not nodes:
            return []
        hidden = torch.stack([node.hidden for node in nodes])
        scores = self.head(hidden).tolist()
        if self.sureness is None:
            return scores
        return [Judgement(*pair) for pair in zip(scores, self.sureness(hidden).tolist(), strict=True)]


Read = tuple[Node | None, Tokens]
"""A kept prefix, and the tokens to read after it."""


def _length(parent: Node | None, tokens: Tokens) -> int:
    return len(tokens) + (parent.length if parent else 0)


def _common_length(some: Tokens, others: Tokens) -> int:
    """How many tokens two sequences begin with alike."""
    if some == others[: len(some)]:
        return len(some)
    pairs = enumerate(zip(some, others, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(some), len(others)))


class LocalRewardSession:
    """One question's caches in a local reward model. Paths whose prefix is no longer kept are read anew; `known` is
    what has been read since `retain`, for equal text that comes later.
    """

    in_process = True
    at_once = 1

    def __init__(self, reward: LocalReward, question: str, prompt: Tokens) -> None:
        self.reward, self.question, self.prompt = reward, question, prompt
        self.usage = Usage()
        self.kept: dict[PathKey, Kept] = {}
        self.known: dict[Read, Node] = {}
        self.prompt_kept: Kept | None = None

    def read(self, path: Path, tokens: Tokens) -> Read:
        """Where a path can be read from, and what of its tokens is to be read."""
        for kept in (self.kept.get(path.key[:-1]), self.prompt_kept):
            node = kept.agreeing(tokens) if kept else None
            if node is not None:
                return self._unless_known(node, tokens[node.length :])
        return self._unless_known(None, tokens)

    def _unless_known(self, node: Node | None, tokens: Tokens) -> Read:
        known = self.known.get((node, tokens))
        return (node, tokens) if known is None else (known, ())

    async def score(self, paths: Sequence[Path]) -> list[float | Judgement | Failure]:
        """The reward after each path's last step; results in the order given."""
        if not paths:
            return []
        return await self.reward.batcher.run((self, tuple(paths)))

    def retain(self, keys: Collection[PathKey]) -> None:
        """Keep the caches of these grown paths; all others may go."""
        self.kept = {key: kept for key in keys if (kept := self.kept.get(key)) is not None}
        self.known = {}

    async def close(self) -> None:
        """Drop all caches."""
        self.kept, self.known, self.prompt_kept = {}, {}, None
