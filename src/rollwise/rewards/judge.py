"""Any chat model as a judge of steps: it is asked for points, or for yes or no with their probabilities."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Collection, Sequence
from typing import Any

from rollwise.core import Failure, Path, PathKey, Problem, Usage
from rollwise.engines.http import BrokenReplyError, Fleet, LostError, Patience, addresses
from rollwise.errors import InputError
from rollwise.rewards.layouts import solution_steps
from rollwise.rewards.requests import ask, count, first_model
from rollwise.rewards.sharing import Shared

_ROLE = "You judge solutions of problems while they are being written, step by step. You do not solve them anew."
_ASKED = {
    "points": "How likely is it that all steps so far are right and that going on from here gives the right answer? "
    "Reply with one whole number from 0 (certainly not) to 10 (certainly), and nothing else.",
    "yes_no": "Are all steps so far right, so that going on from here can give the right answer? Reply with one word, "
    "Yes or No.",
}


def messages(question: str, steps: Sequence[str], scale: str) -> list[dict[str, str]]:
    """The chat that asks for a judgement of the steps so far. What changes from step to step stands at the end, so that
    a server's prefix cache holds the rest.
    """
    shown = "\n\n".join(f"Step {number}: {step}" for number, step in enumerate(steps, start=1))
    asked = f"Problem:\n{question}\n\nThe solution so far:\n\n{shown}\n\n{_ASKED[scale]}"
    return [{"role": "system", "content": _ROLE}, {"role": "user", "content": asked}]


_OF_TEN = re.compile(r"(?<![\w.])(-?\d+(?:\.\d+)?)\s*(?:/|out of)\s*10(?![\w.]*\d)", re.IGNORECASE)
_NAMED = re.compile(r"\b(?:score|rating|points?|answer)\b[^\w\n-]{0,12}(-?\d+(?:\.\d+)?)(?![\w.]*\d)", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.]*\d)")


def read_points(text: str) -> float:
    """The points in a judge's words, over 10: the last `n/10`, else the last `Score: n`, else the only number there is.
    A thought that a model closes with </think> is left out. Raises ValueError where there is none from 0 to 10.
    """
    said = text.rpartition("</think>")[2]
    for pattern in (_OF_TEN, _NAMED):
        if found := pattern.findall(said):
            return _share(found[-1], text)
    numbers = set(_NUMBER.findall(said))
    if len(numbers) != 1:
        raise ValueError(f"no number of points in {text[-60:]!r}")
    return _share(numbers.pop(), text)


def _share(number: str, text: str) -> float:
    points = float(number)
    if not 0 <= points <= 10:
        raise ValueError(f"no number from 0 to 10 in {text[-60:]!r}")
    return points / 10


def read_yes_no(likeliest: Sequence[Any]) -> float:
    """P(yes) / (P(yes) + P(no)) over the likeliest first tokens, each {"token", "logprob"}, in whatever case and with
    whatever space. Raises ValueError where neither is among them.
    """
    shares = {"yes": 0.0, "no": 0.0}
    for one in likeliest:
        word = str(one["token"]).strip(" \n\t▁Ġ\"'*.").lower()
        if word in shares:
            shares[word] += math.exp(float(one["logprob"]))
    if not sum(shares.values()) > 0:
        raise ValueError("neither yes nor no among the likeliest tokens")
    return shares["yes"] / sum(shares.values())


class Judge:
    """A chat model behind an OpenAI-compatible server as a reward model, `URL` or `URL#model`.

    `scale` is "points", 0 to 10, or "yes_no", for which the server has to give log-probabilities. A reply without a
    judgement costs one rollout. Raises InputError where nothing answers.
    """

    reads_certainty = False
    parameters = 0

    def __init__(
        self, urls: str, scale: str = "points", concurrency: int = 32, patience: Patience | None = None
    ) -> None:
        if scale not in _ASKED:
            raise InputError(f"a judge is asked for points or yes_no, not {scale!r}")
        self.scale = scale
        self.fleet = Fleet(addresses(urls), concurrency, patience or Patience())
        self.model, self.context, _ = first_model(self.fleet)

    def body(self, question: str, steps: Sequence[str]) -> dict[str, Any]:
        """The request for one judgement."""
        asked: dict[str, Any] = {"messages": messages(question, steps, self.scale), "temperature": 0.0}
        if self.scale == "points":
            return asked | {"max_tokens": 256}
        return asked | {"max_tokens": 1, "logprobs": True, "top_logprobs": 20}

    def read(self, reply: Any) -> float:
        """The reward in a reply. Raises ValueError where it holds none."""
        choice = reply["choices"][0]
        if self.scale == "points":
            return read_points(str(choice["message"]["content"] or ""))
        logprobs = choice.get("logprobs")
        if not logprobs:
            raise InputError("this server gives no log-probabilities of chats: ask for judge/points")
        return read_yes_no(logprobs["content"][0]["top_logprobs"])

    def open(self, problem: Problem, seed: int) -> JudgeSession:
        """A session for one question."""
        return JudgeSession(self, problem)


class JudgeSession:
    """One question's judgements. Equal solutions are judged once."""

    def __init__(self, judge: Judge, problem: Problem) -> None:
        self.judge, self.problem = judge, problem
        self.usage = Usage()
        self.at_once = judge.fleet.concurrency
        self._judgements = Shared(self._judged)
        self._entered = False

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        """The reward after each path's last step; results in the order given."""
        if not self._entered:
            self.judge.fleet.enter()
            self._entered = True
        solutions = [tuple(solution_steps(path)) for path in paths]
        return list(await asyncio.gather(*map(self._judgements.get, solutions)))

    async def _judged(self, steps: tuple[str, ...]) -> float | Failure:
        judge = self.judge

        def read(reply: Any) -> float | Failure:
            if not isinstance(reply, dict) or not reply.get("choices"):
                raise BrokenReplyError(f"the judge replied {repr(reply)[:80]}")
            count(self.usage, reply, 0)
            try:
                return judge.read(reply)
            except InputError:
                raise
            except (KeyError, IndexError, TypeError, ValueError) as error:  # greedy: asking again would not help
                return Failure(f"the judge gave no judgement: {error}")

        body = judge.body(self.problem.question, steps)
        try:
            return await ask(judge.fleet, self.problem.id, "/v1/chat/completions", body, judge.model, read)
        except LostError as error:
            return Failure(str(error))

    def retain(self, keys: Collection[PathKey]) -> None:
        """The server keeps what it keeps."""
        self._judgements.forget()

    async def close(self) -> None:
        """Close the connections."""
        await self._judgements.close()
        if self._entered:
            self._entered = False
            await self.judge.fleet.leave()
