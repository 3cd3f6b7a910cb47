"""A chat model as a judge of steps: it gives points, or answers yes or no and its probabilities count."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Collection, Sequence
from typing import Any

from rollwise.core import Failure, Path, PathKey, Problem, RewardModel, RewardSession, Usage
from rollwise.engines.http import BrokenReplyError, Fleet, LostError, Patience, addresses
from rollwise.errors import InputError
from rollwise.rewards.layouts import solution_steps
from rollwise.rewards.requests import add_usage, request, served_model
from rollwise.rewards.sharing import Shared

_ROLE = "You judge solutions of problems while they are being written, step by step. You do not solve them anew."
_REQUESTS = {
    "points": "How likely is it that all steps so far are right and that going on from here gives the right answer? "
    "Reply with one whole number from 0 (certainly not) to 10 (certainly), and nothing else.",
    "yes_no": "Are all steps so far right, so that going on from here can give the right answer? Reply with one word, "
    "Yes or No.",
}


def messages(question: str, steps: Sequence[str], scale: str) -> list[dict[str, str]]:
    """The chat that asks for a judgement of the steps so far.

    The steps come last, so that a server's prefix cache holds everything but the new step.
    """
    solution = "\n\n".join(f"Step {number}: {step}" for number, step in enumerate(steps, start=1))
    content = f"Problem:\n{question}\n\nThe solution so far:\n\n{solution}\n\n{_REQUESTS[scale]}"
    return [{"role": "system", "content": _ROLE}, {"role": "user", "content": content}]


_OUT_OF_TEN = re.compile(r"(?<![\w.])(-?\d+(?:\.\d+)?)\s*(?:/|out of)\s*10(?![\w.]*\d)", re.IGNORECASE)
_LABELLED = re.compile(r"\b(?:score|rating|points?|answer)\b[^\w\n-]{0,12}(-?\d+(?:\.\d+)?)(?![\w.]*\d)", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.]*\d)")


def read_points(text: str) -> float:
    """The points in a judge's reply, divided by 10: the last `n/10`, else the last `Score: n`, else the only number.

    A thought that ends with </think> is ignored. Raises ValueError if the reply contains no number from 0 to 10.
    """
    reply = text.rpartition("</think>")[2]
    for pattern in (_OUT_OF_TEN, _LABELLED):
        if numbers := pattern.findall(reply):
            return _share(numbers[-1], text)
    distinct = set(_NUMBER.findall(reply))
    if len(distinct) != 1:
        raise ValueError(f"no number of points in {text[-60:]!r}")
    return _share(distinct.pop(), text)


def _share(number: str, text: str) -> float:
    points = float(number)
    if not 0 <= points <= 10:
        raise ValueError(f"no number from 0 to 10 in {text[-60:]!r}")
    return points / 10


def read_yes_no(likeliest: Sequence[Any]) -> float:
    """P(yes) / (P(yes) + P(no)) over the likeliest first tokens, each {"token", "logprob"}.

    All spellings count, in any case and with any space around them. Raises ValueError if neither word is listed.
    """
    shares = {"yes": 0.0, "no": 0.0}
    for candidate in likeliest:
        word = str(candidate["token"]).strip(" \n\t▁Ġ\"'*.").lower()
        if word in shares:
            shares[word] += math.exp(float(candidate["logprob"]))
    if not sum(shares.values()) > 0:
        raise ValueError("neither yes nor no among the likeliest tokens")
    return shares["yes"] / sum(shares.values())


class Judge(RewardModel):
    """A chat model behind an OpenAI-compatible server, `URL` or `URL#model`, as a reward model.

    `scale` is "points" (0 to 10) or "yes_no", for which the server has to return log-probabilities. A reply without a
    judgement costs one rollout. Raises InputError if no server answers.
    """

    reads_certainty = False
    parameters = 0

    def __init__(
        self, urls: str, scale: str = "points", concurrency: int = 32, patience: Patience | None = None
    ) -> None:
        if scale not in _REQUESTS:
            raise InputError(f"a judge works with points or yes_no, not with {scale!r}")
        self.scale = scale
        self.fleet = Fleet(addresses(urls), concurrency, patience or Patience())
        self.model, self.context, _ = served_model(self.fleet)

    def body(self, question: str, steps: Sequence[str]) -> dict[str, Any]:
        """The request for one judgement."""
        body: dict[str, Any] = {"messages": messages(question, steps, self.scale), "temperature": 0.0}
        if self.scale == "points":
            return body | {"max_tokens": 256}
        return body | {"max_tokens": 1, "logprobs": True, "top_logprobs": 20}

    def read(self, reply: Any) -> float:
        """The reward in a reply. Raises ValueError if the reply holds no judgement."""
        choice = reply["choices"][0]
        if self.scale == "points":
            return read_points(str(choice["message"]["content"] or ""))
        logprobs = choice.get("logprobs")
        if not logprobs:
            raise InputError("this server returns no log-probabilities of chats: choose judge/points")
        return read_yes_no(logprobs["content"][0]["top_logprobs"])

    def open(self, problem: Problem, seed: int) -> JudgeSession:
        """A session for one question."""
        return JudgeSession(self, problem)


class JudgeSession(RewardSession):
    """One question's judgements. Equal solutions are judged once."""

    def __init__(self, judge: Judge, problem: Problem) -> None:
        self.judge, self.problem = judge, problem
        self.usage = Usage()
        self.at_once = judge.fleet.concurrency
        self._judgements = Shared(self._judge)
        self._entered = False

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        """The reward after each path's last step; results in the order given."""
        if not self._entered:
            self.judge.fleet.enter()
            self._entered = True
        solutions = [tuple(solution_steps(path)) for path in paths]
        return list(await asyncio.gather(*map(self._judgements.get, solutions)))

    async def _judge(self, steps: tuple[str, ...]) -> float | Failure:
        judge = self.judge
        body = judge.body(self.problem.question, steps)
        try:
            return await request(judge.fleet, self.problem.id, "/v1/chat/completions", body, judge.model, self._read)
        except LostError as error:
            return Failure(str(error))

    def _read(self, reply: Any) -> float | Failure:
        if not isinstance(reply, dict) or not reply.get("choices"):
            raise BrokenReplyError(f"the judge replied {repr(reply)[:80]}")
        add_usage(self.usage, reply, 0)
        try:
            return self.judge.read(reply)
        except InputError:
            raise
        except (KeyError, IndexError, TypeError, ValueError) as error:  # at temperature 0 a retry gives the same reply
            return Failure(f"the judge gave no judgement: {error}")

    def retain(self, keys: Collection[PathKey]) -> None:
        """Forget the judgements of earlier steps. The server decides which prefixes its cache keeps."""
        self._judgements.forget()

    async def close(self) -> None:
        """Cancel the running requests and close the connections."""
        await self._judgements.close()
        if self._entered:
            self._entered = False
            await self.judge.fleet.leave()
