"""A chat model as a judge of steps: it gives points, or answers yes or no and its probabilities count."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rollwise.core import Failure, Path, PathKey, Problem, RewardModel, RewardSession, Usage
from rollwise.engines.http import Fleet, LostError, Patience, SyncClient, addresses, checked, possible
from rollwise.errors import EngineError, InputError
from rollwise.rewards.layouts import solution_steps
from rollwise.rewards.requests import add_usage, request, served_model
from rollwise.rewards.sharing import Shared

_ROLE = "You judge solutions of problems while they are being written, step by step. You do not solve them anew."
_REQUESTS = {
    "points": "How likely is it that all steps so far are right and that going on from here gives the right answer? "
    "End your reply with one last line of the form\n\nScore: N\n\nwhere N is a whole number from 0 (certainly not) to "
    "10 (certainly).",
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


_ROOM = {"points": 256, "yes_no": 1}
"""The most tokens of a reply by a model that does not think first."""
_ROOMS_TO_THINK = (4096, 16384)
_TRIAL = ("What is 17 + 25?", ("17 + 25 = 17 + 20 + 5.",))
_SCORE_LINE = re.compile(r"score:\s*(\d{1,2}(?:\.\d+)?)\s*(?:/\s*10)?\.?", re.IGNORECASE | re.ASCII)
_MARKUP = str.maketrans("", "", "*_`")


def read_points(text: str) -> float:
    """The points in a judge's reply, divided by 10: the number N of its last line, `Score: N`, from 0 to 10.

    Thoughts, which end with </think>, are dropped; so are the signs * _ ` of emphasis. `Score: N/10` is the same.
    Raises ValueError if the last line has another form, if N is off the scale, or if a thought does not end.
    """
    reply = without_thought(text)
    lines = [line for line in reply.splitlines() if line.strip()]
    match = _SCORE_LINE.fullmatch(lines[-1].translate(_MARKUP).strip()) if lines else None
    if match is None:
        raise ValueError(f"the last line is not `Score: N`: {reply[-60:]!r}")
    if float(match[1]) > 10:
        raise ValueError(f"no number from 0 to 10 in {reply[-60:]!r}")
    return float(match[1]) / 10


def without_thought(text: str) -> str:
    """The part of a reply that follows its thought. Raises ValueError if a thought begins and does not end."""
    reply = text.rpartition("</think>")[2]
    if "<think>" in reply:
        raise ValueError(f"the thought does not end: {text[-60:]!r}")
    return reply


def read_yes_no(likeliest: Sequence[Any]) -> float:
    """P(yes) / (P(yes) + P(no)) over the likeliest first tokens, each {"token", "logprob"}.

    All spellings count, in any case and with any space around them. Raises ValueError if neither word is listed.
    """
    shares = {"yes": 0.0, "no": 0.0}
    for candidate in likeliest:
        word = str(candidate["token"]).strip(" \n\t▁Ġ\"'*.").lower()
        if word in shares:
            shares[word] += math.exp(min(float(candidate["logprob"]), 0.0))
    if not sum(shares.values()) > 0:  # also if a log-probability is not a number
        raise ValueError("neither yes nor no among the likeliest tokens")
    return shares["yes"] / sum(shares.values())


def answer_tokens(tokens: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
    """The likeliest tokens, each {"token", "logprob"}, in the place of a reply's first word after its thought.

    Raises ValueError if the reply has no such place.
    """
    text, place = "", 0
    for number, token in enumerate(tokens, start=1):
        text += str(token["token"])
        if "</think>" in text:
            text, place = "", number
    if "<think>" in text:
        raise ValueError("the thought does not end")
    for token in tokens[place:]:
        if str(token["token"]).strip() or place == 0:
            likeliest: Sequence[Any] = token["top_logprobs"]
            return likeliest
    raise ValueError("no word follows the thought")


class Judge(RewardModel):
    """A chat model behind an OpenAI-compatible server, `URL` or `URL#model`, as a reward model.

    `scale` is "points" (0 to 10) or "yes_no", for which the server has to return log-probabilities. A reply without a
    judgement costs one rollout. The constructor asks for a trial judgement. It finds out which fields the server
    refuses, whether it takes `max_completion_tokens` instead of `max_tokens`, and how much room the model needs
    to think before it answers. Raises InputError if no server answers, if it refuses chats, or if its replies are cut
    off at every length.
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
        room = _ROOM[scale]
        self.room = room if self.context is None else max(1, min(room, self.context // 2))
        self.limit_field, self.refused = "max_tokens", frozenset[str]()
        client = SyncClient(self.fleet.addresses[0])
        try:
            self._try(client)
        except EngineError as error:
            raise InputError(f"{self.fleet.addresses[0].url} cannot judge: {error}") from None
        finally:
            client.close()

    def _try(self, client: SyncClient) -> None:
        """Judge a trial step: at first with little room, then with more if it was cut off or the model thinks."""
        first = self.room
        for room in (first, *(room for room in _ROOMS_TO_THINK if first < room <= (self.context or room * 2) // 2)):
            before, self.room = self.room, room
            try:
                reply = self._tried(client)
            except LostError:
                if room == first:
                    raise
                self.room = before  # the server gives no more
                break
            choice = reply["choices"][0]
            thinks = _thinks(reply)
            cut = choice.get("finish_reason") == "length" and (self.scale == "points" or thinks or room > first)
            if not cut and not (thinks and room == first):  # another step may take a longer thought than the trial
                self._note_trial(choice)
                return
        raise EngineError(
            f"the reply to a trial step does not end within {self.room} tokens; name a model that answers sooner, or "
            "serve it with a longer context"
        )

    def _note_trial(self, choice: Mapping[str, Any]) -> None:
        try:
            self.read_choice(choice)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            self.remarks = (
                f"the judge gave no judgement of a trial step ({error}); each such reply of a search costs a rollout",
            )

    def _tried(self, client: SyncClient) -> dict[str, Any]:
        """The reply to the trial, without the fields that the server refuses. Raises LostError or BrokenReplyError."""
        while True:
            body = self.body(*_TRIAL)
            try:
                named_body = body | ({"model": self.model} if self.model else {})
                return checked("a chat completion", client.post("/v1/chat/completions", named_body))
            except LostError as error:
                named = {name for name in body if re.search(rf"(?<!\w){name}(?!\w)", str(error))} - {"messages"}
                if "max_tokens" in named:
                    self.limit_field = "max_completion_tokens"
                elif optional := named - {self.limit_field}:
                    self.refused |= optional
                else:
                    raise

    def body(self, question: str, steps: Sequence[str]) -> dict[str, Any]:
        """The request for one judgement."""
        body: dict[str, Any] = {"messages": messages(question, steps, self.scale), "temperature": 0.0}
        body[self.limit_field] = self.room
        if self.scale == "yes_no":
            body |= {"logprobs": True, "top_logprobs": 20}
        return {name: value for name, value in body.items() if name not in self.refused}

    def read(self, reply: Any) -> float:
        """The reward in a reply. Raises ValueError if it holds no judgement, BrokenReplyError if it is no chat."""
        return self.read_choice(checked("a chat completion", reply)["choices"][0])

    def read_choice(self, choice: Mapping[str, Any]) -> float:
        """The reward in a choice. Raises ValueError if it holds no judgement."""
        cut = choice.get("finish_reason") == "length"
        if self.scale == "points":
            if cut:
                raise ValueError(f"the reply was cut off after {self.room} tokens")
            return read_points(choice["message"].get("content") or "")
        logprobs = choice.get("logprobs")
        if not logprobs or not logprobs["content"]:
            raise InputError("this server returns no log-probabilities of chats: choose judge/points")
        return read_yes_no(answer_tokens(logprobs["content"]))

    def open(self, problem: Problem, seed: int) -> JudgeSession:
        """A session for one question."""
        return JudgeSession(self, problem)


def _thinks(reply: Mapping[str, Any]) -> bool:
    """Whether a chat's reply shows that the model thinks before it answers."""
    message = reply["choices"][0]["message"]
    if message.get("reasoning_content") or message.get("reasoning") or "<think>" in (message.get("content") or ""):
        return True
    usage = possible("counts", reply).get("usage") or {}
    return bool((usage.get("completion_tokens_details") or {}).get("reasoning_tokens"))


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
        body = judge.body(self.problem.conversation, steps)
        try:
            return await request(judge.fleet, self.problem.id, "/v1/chat/completions", body, judge.model, self._read)
        except LostError as error:
            return Failure(str(error))

    def _read(self, reply: Any) -> float | Failure:
        choice = checked("a chat completion", reply)["choices"][0]
        add_usage(self.usage, reply, 0)
        try:
            return self.judge.read_choice(choice)
        except InputError:
            raise
        except ValueError as error:  # at temperature 0 a retry gives the same reply
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
