"""Process reward models behind a server: the same layouts as in this process, asked for by token ids.

Three routes of vLLM. `/pooling` reads every solution from its beginning at each step, since vLLM keeps no prefix for
it (`rollwise serve-model` does). `/v1/completions` with one token, and `/generative_scoring`, judge by the next word;
there the server's prefix cache holds all but the new step.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rollwise.core import Failure, Path, PathKey, Problem, Usage
from rollwise.engines.http import BrokenReplyError, Fleet, LostError, Patience, addresses
from rollwise.errors import InputError
from rollwise.rewards.layouts import CHAT, Chat, Family, Marker, Piece, Special, Text
from rollwise.rewards.requests import ask, count, first_model
from rollwise.rewards.sharing import Shared

Tokens = tuple[int, ...]
Words = tuple[int, int]
_REMEMBERED_PIECES = 1 << 14


@dataclass(frozen=True)
class Route:
    """How a score is asked for: the path; what is sent of (tokens, words); what the reply means; tokens of the context
    that it needs beside the prompt; whether vLLM reads the prefix again at each step.
    """

    path: str
    body: Callable[[Tokens, Words | None], dict[str, Any]]
    score: Callable[[Any, Words | None], float]
    spare: int
    rereads: bool


def pooling_body(tokens: Tokens, words: Words | None) -> dict[str, Any]:
    """The request for the labels at every step's end."""
    return {"input": [list(tokens)], "task": "token_classify", "use_activation": True}


def pooling_score(reply: Any, words: Words | None) -> float:
    """The probability of right, the second of two labels, in the last row: that of the last step's end. Raises
    InputError for a model of other than two labels.
    """
    wrong, right, *others = _last_row(reply)
    if others:
        raise InputError(f"a reward model has two labels, wrong and right, and the served one has {2 + len(others)}")
    return right / (wrong + right)


def own_pooling_score(reply: Any, words: Words | None) -> float:
    """The same of a model that rollwise trained: a third label, for how sure it is, takes no part."""
    wrong, right, *sureness = _last_row(reply)
    if len(sureness) > 1:
        raise InputError(f"a reward model of rollwise has two or three labels, and the served one {2 + len(sureness)}")
    return right / (wrong + right)


def _last_row(reply: Any) -> list[float]:
    row = [float(one) for one in reply["data"][0]["data"][-1]]
    if min(row) < 0 or not math.isclose(math.fsum(row), 1.0, abs_tol=0.02):
        raise BrokenReplyError(f"the server replied {row[:4]}, which are no probabilities")
    return row


def one_token_body(tokens: Tokens, words: Words | None) -> dict[str, Any]:
    """The request for one token, and for the log-probabilities of the two words in its place."""
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
    """The right word's share of the two words' probability."""
    assert words is not None
    told = reply["choices"][0]["logprobs"]["top_logprobs"][0]
    right, wrong = (float(told[f"token_id:{word}"]) for word in words)
    return 1.0 / (1.0 + math.exp(min(wrong - right, 700.0)))


def scoring_body(tokens: Tokens, words: Words | None) -> dict[str, Any]:
    """The request for the first word's share of the two words' probability; the last token goes as the item."""
    return {
        "query": list(tokens[:-1]),
        "items": [[tokens[-1]]],
        "label_token_ids": list(words or ()),
        "apply_softmax": True,
        "add_special_tokens": False,
    }


def scoring_score(reply: Any, words: Words | None) -> float:
    """The score of the only item."""
    return float(reply["data"][0]["score"])


ROUTES = {
    "pooling": Route("/pooling", pooling_body, pooling_score, 0, True),
    "one_token": Route("/v1/completions", one_token_body, one_token_score, 1, False),
    "generative_scoring": Route("/generative_scoring", scoring_body, scoring_score, 1, False),
}
_ROUTES_OF = {"labels": ["pooling"], "two_layers": ["pooling"], "words": ["one_token", "generative_scoring"]}


class ServedReward:
    """A process reward model that one server, or several alike, hold; a question keeps to one of them.

    Raises InputError where nothing answers, or where this family cannot be asked for by a route.
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
        known = _ROUTES_OF.get(family.head, [])
        if not known:
            raise InputError(f"no server's route gives the scores of the family {family.name}: give its folder instead")
        if route is not None and route not in known:
            raise InputError(f"{family.name} is asked for by {' or '.join(known)}, not by {route}")
        self.family, self.route = family, ROUTES[route or known[0]]
        if family is CHAT and self.route.path == "/pooling":
            self.route = replace(self.route, score=own_pooling_score)
        self.fleet = Fleet(addresses(urls), concurrency, patience or Patience())
        self.model, self.context, owner = first_model(self.fleet)
        keeps = owner == "rollwise" or not self.route.rereads
        self.remarks = () if keeps else (f"{self.fleet.addresses[0].url} reads the whole solution again at every step",)
        self.words: Words | None = None
        self.encoded: dict[Piece, Tokens] = {}

    def open(self, problem: Problem, seed: int) -> ServedRewardSession:
        """A session for one question."""
        return ServedRewardSession(self, problem)


class ServedRewardSession:
    """One question's requests to a served reward model. Equal text is asked about once."""

    def __init__(self, reward: ServedReward, problem: Problem) -> None:
        self.reward, self.problem = reward, problem
        self.usage = Usage()
        self.at_once = reward.fleet.concurrency
        self._scores = Shared(self._score)
        self._encodings = Shared(self._encoded)
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
            layouts = [await self._tokens(reward.family.solution(self.problem.question, path)) for path in paths]
        except LostError as error:
            return [Failure(str(error)) for _ in paths]
        return list(await asyncio.gather(*map(self._scores.get, layouts)))

    async def _score(self, tokens: Tokens) -> float | Failure:
        reward, route = self.reward, self.reward.route
        if reward.context is not None and len(tokens) + route.spare > reward.context:
            return Failure(f"{len(tokens)} tokens, and the reward model reads {reward.context - route.spare}")

        def read(reply: Any) -> float:
            score = route.score(reply, reward.words)
            count(self.usage, reply, len(tokens))
            return score

        try:
            return await self._ask(route.path, route.body(tokens, reward.words), read)
        except LostError as error:
            return Failure(str(error))

    async def _tokens(self, pieces: Sequence[Piece]) -> Tokens:
        return tuple(itertools.chain.from_iterable([await self._encode(piece) for piece in pieces]))

    async def _encode(self, piece: Piece) -> Tokens:
        """A piece as the server's tokenizer makes tokens of it; asked for once."""
        encoded = self.reward.encoded
        if piece not in encoded:
            if len(encoded) >= _REMEMBERED_PIECES:
                encoded.clear()
            encoded[piece] = await self._encodings.get(piece)
        return encoded[piece]

    async def _encoded(self, piece: Piece) -> Tokens:
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
            case Special():  # end-of-text is what the template puts after the assistant's words
                begun = await self._tokens((Chat((("user", "a"),)), Text("a")))
                return (await self._chat((("user", "a"), ("assistant", "a")), False))[len(begun) :][:1]

    async def _chat(self, turns: Sequence[tuple[str, str]], goes_on: bool) -> Tokens:
        messages = [{"role": role, "content": content} for role, content in turns]
        return await self._tokenize({"messages": messages, "add_generation_prompt": goes_on})

    async def _tokenize(self, body: Mapping[str, Any]) -> Tokens:
        return await self._ask("/tokenize", body, lambda reply: tuple(map(int, reply["tokens"])))

    async def _ask(self, path: str, body: Mapping[str, Any], read: Callable[[Any], Any]) -> Any:
        return await ask(self.reward.fleet, self.problem.id, path, body, self.reward.model, read)

    def retain(self, keys: Collection[PathKey]) -> None:
        """The server keeps what it keeps."""
        self._scores.forget()
        self._encodings.forget()

    async def close(self) -> None:
        """Close the connections."""
        await self._scores.close()
        await self._encodings.close()
        if self._entered:
            self._entered = False
            await self.reward.fleet.leave()
