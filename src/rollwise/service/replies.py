"""What a client reads: usage, choices, chunks of a stream, and the field `rollwise` with what the search found."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollwise.core import Usage
from rollwise.openai_format import RequestError, error_body
from rollwise.search import ROLES, Parts, Round, Solution
from rollwise.service.asked import Asked
from rollwise.service.bodies import OURS
from rollwise.service.engines import Written, confidence, written

DONE = "data: [DONE]\n\n"


@dataclass(frozen=True)
class Answered:
    """A finished search: its id, what chose its rule, its parts, its solution and the text that the client gets."""

    id: str
    rule: str
    stage: str
    parts: Parts
    solution: Solution
    written: Written

    @classmethod
    def of(cls, id_: str, rule: str, stage: str, parts: Parts, solution: Solution) -> Answered:
        """The answer of a solution. Raises RequestError if it holds no text at all."""
        return cls(id_, rule, stage, parts, solution, written(solution))

    @property
    def outcome(self) -> str:
        """How it ended: answered, no_answer or deadline."""
        if self.solution.expired:
            return "deadline"
        return "no_answer" if self.solution.answer is None else "answered"

    @property
    def spent(self) -> int:
        """Rollouts that ended."""
        return len(self.solution.finished) + len(self.solution.failures)

    @property
    def saved(self) -> int:
        """Rollouts of the budget that an early stop spared."""
        return self.solution.saved

    def as_dict(self) -> dict[str, Any]:
        """The field `rollwise` of a reply."""
        solution, config = self.solution, self.parts.config
        return {
            "id": self.id,
            "route_rule": self.rule,
            "stage": self.stage,
            "outcome": self.outcome,
            "answer": solution.answer,
            "support": round(solution.support, 6),
            "confidence": confidence(solution, self.parts),
            "right": solution.right if solution.judged and solution.vote == "verified" else None,
            "strategy": config.strategy if isinstance(config.strategy, str) else "own",
            "budget": config.budget,
            "spent": self.spent,
            "saved": self.saved,
            "vote": solution.vote,
            "seed": config.seed,
            "rounds": solution.ledger.rounds,
            "seconds": round(solution.ledger.seconds, 4),
        }


def usage_of(solutions: Sequence[Solution]) -> dict[str, Any]:
    """The tokens of all rollouts of all choices. `prompt_tokens` are those that the policy read, cached ones included;
    `rollwise` lists the tokens of each role.
    """
    roles = {role: total(solution.ledger.usage[role] for solution in solutions) for role in ROLES}
    policy = roles["policy"]
    read = policy.prefilled + policy.cached
    return {
        "prompt_tokens": read,
        "completion_tokens": policy.generated,
        "total_tokens": read + policy.generated,
        "prompt_tokens_details": {"cached_tokens": policy.cached},
        OURS: {role: vars(usage) for role, usage in roles.items()},
    }


def total(usages: Any) -> Usage:
    """The sum of usages."""
    whole = Usage()
    for usage in usages:
        whole = Usage(*(getattr(whole, name) + getattr(usage, name) for name in Usage.__dataclass_fields__))
    return whole


def head(asked: Asked, id_: str, chunk: bool = False) -> dict[str, Any]:
    """The first fields of a reply or of a chunk."""
    name = "chat.completion" if asked.kind == "chat" else "text_completion"
    suffix = ".chunk" if chunk and asked.kind == "chat" else ""
    prefix = "chatcmpl" if asked.kind == "chat" else "cmpl"
    return {"id": f"{prefix}-{id_}", "object": name + suffix, "created": int(time.time()), "model": asked.model}


def response(asked: Asked, id_: str, answers: Sequence[Answered]) -> dict[str, Any]:
    """The whole reply. The field `rollwise` is about the first choice; each choice has its own."""
    choices = []
    for index, answer in enumerate(answers):
        choice: dict[str, Any] = {"index": index, "finish_reason": answer.written.finish_reason, "logprobs": None}
        if asked.kind == "chat":
            choice["message"] = {"role": "assistant", "content": answer.written.text, "refusal": None}
        else:
            choice["text"] = answer.written.text
        choices.append(choice | ({OURS: answer.as_dict()} if len(answers) > 1 else {}))
    usage = usage_of([answer.solution for answer in answers])
    return head(asked, id_) | {"choices": choices, "usage": usage, OURS: answers[0].as_dict()}


def event(fields: Mapping[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(fields, ensure_ascii=False)}\n\n"


def error_events(error: RequestError) -> str:
    """The last events of a stream that fails."""
    return event(error_body(error)) + DONE


def opening(asked: Asked, id_: str) -> str:
    """The first chunk of a stream: the role of each message of a chat. A stream of text has none."""
    if asked.kind == "text":
        return ": the search begins\n\n"
    choices = [
        {"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        for index in range(asked.n)
    ]
    return event(head(asked, id_, chunk=True) | {"choices": choices})


def progress(asked: Asked, id_: str, choice: int, sentence: str) -> str:
    """A sentence about a round: reasoning of a chat, a comment in a stream of text."""
    if asked.kind == "text":
        return f": {sentence}\n\n"
    delta = {"index": choice, "delta": {"reasoning_content": sentence + "\n"}, "finish_reason": None}
    return event(head(asked, id_, chunk=True) | {"choices": [delta]})


def closing(asked: Asked, id_: str, answers: Sequence[Answered]) -> str:
    """The chunks with the texts, step by step, the ends, and the usage if it was asked for; without `[DONE]`."""
    first = head(asked, id_, chunk=True)
    parts = []
    for index, answer in enumerate(answers):
        for step in answer.written.steps:
            said = {"delta": {"content": step}} if asked.kind == "chat" else {"text": step, "logprobs": None}
            parts.append(event(first | {"choices": [{"index": index, "finish_reason": None} | said]}))
        empty: dict[str, Any] = {"delta": {}} if asked.kind == "chat" else {"text": "", "logprobs": None}
        end = {"index": index, "finish_reason": answer.written.finish_reason} | empty
        parts.append(event(first | {"choices": [end], OURS: answer.as_dict()}))
    if asked.include_usage:
        usage = usage_of([answer.solution for answer in answers])
        parts.append(event(first | {"choices": [], "usage": usage}))
    return "".join(parts)


def sentence(round_: Round, budget: int) -> str:
    """What happened in a round, for people: how many paths grew and finished, and where the rollouts go on."""
    allocated = round_.allocated
    words = [f"Round {round_.index + 1}: {_paths(len(round_.grown))} grew by a step"]
    if round_.failed:
        words.append(f"{len(round_.failed)} failed")
    if round_.finished:
        words.append(f"{len(round_.finished)} finished")
    if round_.stopped is not None:
        return f"{', '.join(words)}; the search ends early: {round_.stopped.reason}."
    if allocated is None:
        return ", ".join(words) + "; the search is done."
    kept = int((allocated.allocation.counts > 0).sum())
    effective = allocated.allocation.effective_directions
    directions = "" if effective is None else f"; they lie in {effective:.1f} directions"
    goes_on = f"{allocated.width} of {budget} rollouts go on from {_paths(kept)}"
    best = f"the best reward is {float(allocated.candidates.rewards.max()):.2f}"
    return f"{', '.join(words)}{directions}; {goes_on}; {best}."


def ended_sentence(ended: int, budget: int) -> str:
    """How far a search has come whose rollouts grow to their end at once."""
    return f"{ended} of {budget} rollouts have ended."


def _paths(count: int) -> str:
    return "1 path" if count == 1 else f"{count} paths"
