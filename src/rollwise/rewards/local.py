"""A process reward model in this process that reads only each path's new step, on kept prefixes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import torch

from rollwise.core import Failure, Judgement, Path, PathKey, Problem, RewardModel, RewardSession, Usage
from rollwise.engines.local import (
    Arena,
    Batcher,
    Node,
    common_length,
    feed,
    load_checkpoint,
    load_tokenizer,
    prefix_length,
)
from rollwise.errors import InputError
from rollwise.rewards.heads import MODEL_KINDS, concentration_head, detect_family, last_token, score_head
from rollwise.rewards.layouts import CHAT, FAMILIES, Chat, Family, Marker, Piece, Special, Text

Tokens = tuple[int, ...]
_CACHED_PIECES = 1 << 14


@dataclass(frozen=True)
class Kept:
    """A prefix that the model has read: its tokens, and the last node of its chain."""

    tokens: Tokens
    node: Node

    def shared_with(self, tokens: Tokens) -> Node | None:
        """The longest node of the chain that is a prefix of `tokens`; None if no node is."""
        common = common_length(self.tokens, tokens)
        node: Node | None = self.node
        while node is not None and node.length > common:
            node = node.parent
        return node


class Read(NamedTuple):
    """A kept prefix, and the tokens to read after it."""

    parent: Node | None
    tokens: Tokens

    @property
    def length(self) -> int:
        """Tokens of the prefix and the tokens to read."""
        return prefix_length(self.parent) + len(self.tokens)


class _Layout(NamedTuple):
    """A path to score, and the tokens of its family's layout."""

    session: LocalRewardSession
    path: Path
    tokens: Tokens


class LocalReward(RewardModel):
    """A process reward model on a transformers decoder. The reward is the model's probability that the last step is
    right, read where the `family` says (see `rollwise.rewards.layouts`).

    The model reads `rows` paths at once. Raises InputError if the model lacks the family's head or tokens.
    """

    reads_certainty = False

    def __init__(self, model: Any, tokenizer: Any, rows: int = 32, family: Family = CHAT) -> None:
        self.model, self.tokenizer, self.family = model, tokenizer, family
        self.parameters: int = model.num_parameters()
        config = model.config.get_text_config()
        self.context: int = min(config.max_position_embeddings, getattr(config, "sliding_window", None) or 1 << 30)
        self._check_tag()
        self.head = score_head(family, model, tokenizer)
        self._concentration_head = concentration_head(model)
        self.states_concentration = self._concentration_head is not None
        self._arena = Arena(model.base_model, rows)
        self._encode = functools.lru_cache(_CACHED_PIECES)(self._encode_piece)
        self._check_architecture()
        self.batcher = Batcher(self.score, "rollwise-reward")

    @classmethod
    def load(
        cls, folder: FilePath, dtype: str | None = None, rows: int = 32, family: str | Family | None = None
    ) -> LocalReward:
        """The reward model of a folder; without `family`, `detect_family` finds it. Raises InputError if the folder
        holds no reward model of the family.
        """
        if isinstance(family, str):
            family = FAMILIES[family]
        family = family or detect_family(folder, load_tokenizer(folder))
        model, tokenizer = load_checkpoint(folder, MODEL_KINDS[family.head], dtype)
        return cls(model, tokenizer, rows, family)

    def _check_tag(self) -> None:
        """Raise InputError if the tokenizer has no token for the family's tag."""
        if self.family.tag is None:
            return
        tag, token = self.family.tag.split()[-1], last_token(self.tokenizer, self.family.tag)
        if token == self.tokenizer.unk_token_id or self.tokenizer.decode([token]).strip() != tag:
            raise InputError(
                f"the tokenizer has no token {tag}, which ends the steps of the family {self.family.name}: "
                "name another family, or another folder"
            )

    def _check_architecture(self) -> None:
        """Raise InputError if a stock model computes more than the caches and the head reproduce."""
        if self.family.head not in ("labels", "words"):
            return
        output = self.model.score if self.family.head == "labels" else self.model.get_output_embeddings()
        tokens = self.tokens((Text("1 + 1 = 2"),))
        with torch.inference_mode():
            expected = self.model(input_ids=torch.tensor([tokens], device=self.model.device)).logits[0, -1]
            ours = output(feed(self._arena, [None], [tokens])[0].hidden)
        if not torch.allclose(expected.float(), ours.float(), rtol=0.05, atol=0.05):
            raise InputError("kept prefixes do not reproduce the scores of this architecture; serve it")

    def tokens(self, pieces: Sequence[Piece]) -> Tokens:
        """The tokens of a layout's pieces, one piece after the other."""
        return tuple(itertools.chain.from_iterable(map(self._encode, pieces)))

    def _encode_piece(self, piece: Piece) -> Tokens:
        match piece:
            case Text(text, opened):
                # control tokens in a text stay text
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
        """A session for one question. Raises InputError if the question does not fit the model's context."""
        prompt = self.tokens(self.family.prompt(problem.conversation))
        if len(prompt) >= self.context:
            raise InputError(
                f"the question takes {len(prompt)} tokens and the reward model reads {self.context} at most: shorten "
                "the question, or choose another --reward"
            )
        return LocalRewardSession(self, problem.conversation, prompt)

    def score(
        self, requests: Sequence[tuple[LocalRewardSession, Sequence[Path]]]
    ) -> list[list[float | Judgement | Failure]]:
        """The rewards of each request's paths. All requests share batches, and equal tokens after an equal prefix are
        read once.
        """
        layouts = [
            _Layout(session, path, self.tokens(self.family.solution(session.question, path)))
            for session, paths in requests
            for path in paths
        ]
        with torch.inference_mode():
            self._read_prompts(layouts)
            reads = [session.to_read(path, tokens) for session, path, tokens in layouts]
            nodes = self._read(reads)
            rewards = dict(zip(nodes, self._rewards(list(nodes.values())), strict=True))
        self._keep(layouts, reads, nodes)
        for session, _ in requests:
            session.usage.calls += 1
        results = iter(
            [
                rewards[read] if read in rewards else self._too_long(len(layout.tokens))
                for layout, read in zip(layouts, reads, strict=True)
            ]
        )
        return [list(itertools.islice(results, len(paths))) for _, paths in requests]

    def _too_long(self, length: int) -> Failure:
        return Failure(f"{length} tokens, and the reward model reads {self.context}")

    def _read_prompts(self, layouts: Sequence[_Layout]) -> None:
        """Keep the prompt of every question that needs it, as far as the tokens of the prompt and the path agree."""
        needed: dict[LocalRewardSession, Tokens] = {}
        for session, path, tokens in layouts:
            if session.prompt_kept is None and session not in needed and session.to_read(path, tokens).parent is None:
                common = session.prompt[: common_length(session.prompt, tokens)]
                if 0 < len(common) < len(tokens):
                    needed[session] = common
        nodes = feed(self._arena, [None] * len(needed), list(needed.values()))
        for (session, tokens), node in zip(needed.items(), nodes, strict=True):
            session.prompt_kept = Kept(tokens, node)
            session.usage.prefilled += len(tokens)

    def _read(self, reads: Sequence[Read]) -> dict[Read, Node]:
        """The node after each read that fits the context. A read without tokens ends at its kept prefix."""
        fitting = [read for read in dict.fromkeys(reads) if read.length <= self.context]
        new = [read for read in fitting if read.tokens]
        fed = iter(feed(self._arena, [read.parent for read in new], [read.tokens for read in new]))
        nodes: dict[Read, Node] = {}
        for read in fitting:
            node = next(fed) if read.tokens else read.parent
            assert node is not None
            nodes[read] = node
        return nodes

    def _rewards(self, nodes: Sequence[Node]) -> list[float | Judgement]:
        """The score after each node's last token, with its concentration if the model states one."""
        if not nodes:
            return []
        hidden = torch.stack([node.hidden for node in nodes])
        scores = self.head(hidden).tolist()
        if self._concentration_head is None:
            return scores
        concentrations = self._concentration_head(hidden).tolist()
        return [Judgement(score, concentration) for score, concentration in zip(scores, concentrations, strict=True)]

    def _keep(self, layouts: Sequence[_Layout], reads: Sequence[Read], nodes: dict[Read, Node]) -> None:
        """Keep the cache of every path that was read, and count its tokens. Paths that share a read count its tokens
        as prefilled once, and as cached after that.
        """
        uncounted = {read for read in nodes if read.tokens}
        for (session, path, tokens), read in zip(layouts, reads, strict=True):
            if read not in nodes:
                continue
            node, prefilled = nodes[read], len(read.tokens) if read in uncounted else 0
            uncounted.discard(read)
            session.kept[path.key] = Kept(tokens, node)
            session.known[read] = node
            session.usage.prefilled += prefilled
            session.usage.cached += node.length - prefilled


class LocalRewardSession(RewardSession):
    """One question's caches in a local reward model. If the prefix of a path is no longer kept, it is read anew.

    `known` holds all reads since `retain`, so that equal text that comes later is not read again.
    """

    in_process = True
    at_once = 1

    def __init__(self, reward: LocalReward, question: str, prompt: Tokens) -> None:
        self.reward, self.question, self.prompt = reward, question, prompt
        self.usage = Usage()
        self.kept: dict[PathKey, Kept] = {}
        self.known: dict[Read, Node] = {}
        self.prompt_kept: Kept | None = None

    def to_read(self, path: Path, tokens: Tokens) -> Read:
        """The longest kept prefix of a path's layout, and the tokens that remain to be read."""
        for kept in (self.kept.get(path.key[:-1]), self.prompt_kept):
            node = kept.shared_with(tokens) if kept else None
            if node is not None:
                return self._unless_known(Read(node, tokens[node.length :]))
        return self._unless_known(Read(None, tokens))

    def _unless_known(self, read: Read) -> Read:
        node = self.known.get(read)
        return read if node is None else Read(node, ())

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
