"""Process reward models behind a server: the layouts of the local reward models, sent as token ids.

Three routes of vLLM give a score. `/pooling` reads every solution from its beginning at each step, because vLLM keeps
no prefix for this route (`rollwise serve-model` does). `/v1/completions` with one token and `/generative_scoring` score
by the next word; there the server's prefix cache holds everything but the new step.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rollwise.core import Failure, Path, PathKey, Problem, RewardModel, RewardSession, Usage
from rollwise.engines.http import BrokenReplyError, Fleet, LostError, Patience, addresses, checked, shown
from rollwise.errors import InputError
from rollwise.rewards.layouts import CHAT, Chat, Family, Marker, Piece, Special, Text
from rollwise.rewards.requests import add_usage, request, served_model
from rollwise.rewards.sharing import Shared

Tokens = tuple[int, ...]
Words = tuple[int, int]
"""The ids of the words that mean right and wrong."""
_REMEMBERED_PIECES = 1 << 14


@dataclass(frozen=True)
class Route:
    """A route of a server that gives scores."""

    path: str
    body: Callable[[Tokens, Words | None], dict[str, Any]]
    """(tokens, words) → the request."""
    score: Callable[[Any, Words | None], float]
    """(reply, words) → the score."""
    spare: int
    """Tokens of the context that it needs besides the prompt."""
    rereads: bool
    """Whether vLLM reads the prefix again at each step."""


def pooling_body(tokens: Tokens, words: Words | None) -> dict[str, Any]:
    """The request for the label probabilities at the end of every step."""
    return {"input": [list(tokens)], "task": "token_classify", "use_activation": True}


def pooling_score(reply: Any, words: Words | None) -> float:
    """The probability of the second of two labels, right, in the last row, which belongs to the end of the last step.

    Raises InputError if the model does not have two labels.
    """
    wrong, right, *others = _last_row(reply)
    if others:
        raise InputError(
            f"this family needs a model with two labels, wrong and right, and the served model has {2 + len(others)}: "
            "serve a model of this family, or name another family"
        )
    return right / (wrong + right)


def own_pooling_score(reply: Any, words: Words | None) -> float:
    """Like `pooling_score`, for a model that rollwise trained: its third label, the concentration, is ignored."""
    wrong, right, *concentration = _last_row(reply)
    if len(concentration) > 1:
        raise InputError(
            f"a reward model that rollwise trained has two or three labels, and the served model has "
            f"{2 + len(concentration)}: name its family, as in FAMILY@URL"
        )
    return right / (wrong + right)


def _last_row(reply: Any) -> list[float]:
    row: list[float] = checked("label probabilities", reply)["data"][0]["data"][-1]
    if min(row) < 0 or not row[0] + row[1] > 0 or not math.isclose(math.fsum(row), 1.0, abs_tol=0.02):
        raise BrokenReplyError(f"the server replied {row[:4]}, which are not probabilities")
    return row


def one_token_body(tokens: Tokens, words: Words | None) -> dict[str, Any]:
    """The request for one token, with the log-probabilities of the two words in its place."""
    return {
        "prompt": list(tokens),
        "max_tokens": 1,
        "temperature": 0.0,
        "logprobs": 2,
        "logprob_token_ids": list(words or ()),
        "return_tokens_as_token_ids": True,
        "add_special_tokens": False,
    }


def one_token_score(reply: Any, words: Words | None) -> float:
    """The share of the right word in the probability of the two words."""
    assert words is not None
    logprobs = checked("log-probabilities of two words", reply)["choices"][0]["logprobs"]["top_logprobs"][0]
    right, wrong = (logprobs.get(f"token_id:{word}") for word in words)
    if right is None or wrong is None or not math.isfinite(wrong - right):
        raise BrokenReplyError(f"the server replied {shown(logprobs)} without the log-probabilities of both words")
    return 1.0 / (1.0 + math.exp(min(wrong - right, 700.0)))


def scoring_body(tokens: Tokens, words: Words | None) -> dict[str, Any]:
    """The request for the share of the first word in the probability of the two words; the last token is the item."""
    return {
        "query": list(tokens[:-1]),
        "items": [[tokens[-1]]],
        "label_token_ids": list(words or ()),
        "apply_softmax": True,
        "add_special_tokens": False,
    }


def scoring_score(reply: Any, words: Words | None) -> float:
    """The score of the only item."""
    score: float = checked("scores", reply)["data"][0]["score"]
    return score


ROUTES = {
    "pooling": Route("/pooling", pooling_body, pooling_score, 0, True),
    "one_token": Route("/v1/completions", one_token_body, one_token_score, 1, False),
    "generative_scoring": Route("/generative_scoring", scoring_body, scoring_score, 1, False),
}
_ROUTES_OF_HEAD = {"labels": ["pooling"], "two_layers": ["pooling"], "words": ["one_token", "generative_scoring"]}


class ServedReward(RewardModel):
    """A process reward model behind one server, or behind several that serve the same model.

    All requests of one question go to one server. `route` is a name in `ROUTES`; the default is the family's first.
    Raises InputError if no server answers, or if no route gives the scores of this family.
    """

    reads_certainty = False
    parameters = 0

    def __init__(
        self,
        family: Family,
        urls: str,
        route: str | None = None,
        concurrency: int = 32,
        patience: Patience | None = None,
    ) -> None:
        self.family, self.route = family, _route_of(family, route)
        self.fleet = Fleet(addresses(urls), concurrency, patience or Patience())
        self.model, self.context, owner = served_model(self.fleet)
        if self.route.rereads and owner != "rollwise":
            self.remarks = (f"{self.fleet.addresses[0].url} reads the whole solution again at every step",)
        self.words: Words | None = None
        self.encoded: dict[Piece, Tokens] = {}

    def open(self, problem: Problem, seed: int) -> ServedRewardSession:
        """A session for one question."""
        return ServedRewardSession(self, problem)


def _route_of(family: Family, name: str | None) -> Route:
    """The route for a family. Raises InputError if no route, or not the named one, gives its scores."""
    names = _ROUTES_OF_HEAD.get(family.head, [])
    if not names:
        raise InputError(f"no route of a server gives the scores of the family {family.name}: give its folder instead")
    if name is not None and name not in names:
        raise InputError(f"{family.name} works with the route {' or '.join(names)}, not with {name}")
    route = ROUTES[name or names[0]]
    return replace(route, score=own_pooling_score) if family is CHAT and route.path == "/pooling" else route


class ServedRewardSession(RewardSession):
    """One question's requests to a served reward model. Equal texts are sent once."""

    def __init__(self, reward: ServedReward, problem: Problem) -> None:
        self.reward, self.problem = reward, problem
        self.usage = Usage()
        self.at_once = reward.fleet.concurrency
        self._scores = Shared(self._score)
        self._encodings = Shared(self._encode_anew)
        self._entered = False

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        """The reward after each path's last step; results in the order given."""
        if not self._entered:
            self.reward.fleet.enter()
            self._entered = True
        reward = self.reward
        try:
            if reward.family.words is not None and reward.words is None:
                right, wrong = [(await self._encode(Text(word)))[-1] for word in reward.family.words]
                reward.words = right, wrong
            layouts = [await self._tokens(reward.family.solution(self.problem.conversation, path)) for path in paths]
        except LostError as error:
            return [Failure(str(error)) for _ in paths]
        return list(await asyncio.gather(*map(self._scores.get, layouts)))

    async def _score(self, tokens: Tokens) -> float | Failure:
        reward, route = self.reward, self.reward.route
        if reward.context is not None and len(tokens) + route.spare > reward.context:
            return Failure(f"{len(tokens)} tokens, and the reward model reads {reward.context - route.spare}")

        def read(reply: Any) -> float:
            score = route.score(reply, reward.words)
            add_usage(self.usage, reply, len(tokens))
            return score

        try:
            return await self._request(route.path, route.body(tokens, reward.words), read)
        except LostError as error:
            return Failure(str(error))

    async def _tokens(self, pieces: Sequence[Piece]) -> Tokens:
        return tuple(itertools.chain.from_iterable([await self._encode(piece) for piece in pieces]))

    async def _encode(self, piece: Piece) -> Tokens:
        """The tokens of a piece by the server's tokenizer; each piece is requested once."""
        encoded = self.reward.encoded
        if piece not in encoded:
            if len(encoded) >= _REMEMBERED_PIECES:
                encoded.clear()
            encoded[piece] = await self._encodings.get(piece)
        return encoded[piece]

    async def _encode_anew(self, piece: Piece) -> Tokens:
        match piece:
            case Text(text, opened):
                return await self._tokenize({"prompt": text, "add_special_tokens": opened}) if text else ()
            case Marker(text):
                return await self._tokenize({"prompt": text, "add_special_tokens": False})
            case Chat(turns):
                return await self._chat(turns, True)
            case Special("bos"):
                whole = await self._tokenize({"prompt": "a", "add_special_tokens": True})
                return whole[: len(whole) - len(await self._encode(Text("a")))]
            case Special():  # the template puts the end-of-text token after the assistant's words
                begun = await self._tokens((Chat((("user", "a"),)), Text("a")))
                return (await self._chat((("user", "a"), ("assistant", "a")), False))[len(begun) :][:1]

    async def _chat(self, turns: Sequence[tuple[str, str]], continues: bool) -> Tokens:
        """The tokens of a chat; if it `continues`, with the header of the assistant's next turn."""
        messages = [{"role": role, "content": content} for role, content in turns]
        return await self._tokenize({"messages": messages, "add_generation_prompt": continues})

    async def _tokenize(self, body: Mapping[str, Any]) -> Tokens:
        return await self._request("/tokenize", body, lambda reply: tuple(checked("token ids", reply)["tokens"]))

    async def _request(self, path: str, body: Mapping[str, Any], read: Callable[[Any], Any]) -> Any:
        return await request(self.reward.fleet, self.problem.id, path, body, self.reward.model, read)

    def retain(self, keys: Collection[PathKey]) -> None:
        """Forget the scores of earlier steps. The server decides which prefixes its cache keeps."""
        self._scores.forget()
        self._encodings.forget()

    async def close(self) -> None:
        """Cancel the running requests and close the connections."""
        await self._scores.close()
        await self._encodings.close()
        if self._entered:
            self._entered = False
            await self.reward.fleet.leave()
