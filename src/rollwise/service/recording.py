"""From a search, finished or not, to its record."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollwise.search import Allocated, Config, Solution
from rollwise.service.asked import Asked
from rollwise.service.records import Record, Signals, digest_of, now, plain_config, plain_events, versions
from rollwise.service.replies import Answered
from rollwise.service.settings import Price

_LONGEST_ERROR = 300
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Occasion:
    """Why a search runs: for whom, by which rule at which stage, and for what: "answer", "shadow" or "golden".

    `beside` is the id of the search that a shadow search runs beside. `trace` is the request's `traceparent`.
    """

    client: str
    rule: str
    stage: str
    purpose: str = "answer"
    beside: str | None = None
    trace: str | None = None


def new_id() -> str:
    """A search's id."""
    return uuid.uuid4().hex


def record_of(
    asked: Asked,
    occasion: Occasion,
    id_: str,
    began: str,
    config: Config,
    keep_text: bool,
    answered: Answered | None = None,
    outcome: str = "failed",
    error: str | None = None,
    moved: float | None = None,
) -> Record:
    """The record of a search. Without an answer, `outcome` and `error` say how it ended."""
    text: dict[str, Any] = {
        "turns": [list(turn) for turn in asked.turns],
        "question": asked.question,
        "reply": answered.written.text if answered else None,
    }
    common: dict[str, Any] = {
        "id": id_,
        "began": began,
        "ended": now(),
        "client": occasion.client,
        "route": asked.target.name,
        "rule": occasion.rule,
        "stage": occasion.stage,
        "purpose": occasion.purpose,
        "question": asked.target.digest,
        "strategy": config.strategy if isinstance(config.strategy, str) else "own",
        "budget": config.budget,
        "seed": config.seed,
        "config": plain_config(config),
        "text": text if keep_text else None,
        "text_digest": digest_of(text),
        "versions": versions(),
        "beside": occasion.beside,
    }
    if answered is None:
        events, events_digest = plain_events((), keep_text)
        return Record(
            **common,
            outcome=outcome,
            error=None if error is None else error[:_LONGEST_ERROR],
            events=events,
            events_digest=events_digest,
            signals=signals(asked),
        )
    found, solution = answered.as_dict(), answered.solution
    events, events_digest = plain_events(solution.events, keep_text)
    usage = {role: vars(usage) for role, usage in solution.ledger.usage.items()}
    return Record(
        **common,
        outcome=answered.outcome,
        answer=found["answer"] if keep_text or found["answer"] is None else f"sha256:{digest_of(found['answer'])}",
        support=float(found["support"]),
        confidence=found["confidence"],
        spent=answered.spent,
        saved=answered.saved,
        rounds=solution.ledger.rounds,
        seconds=solution.ledger.seconds,
        generated=solution.ledger.usage["policy"].generated,
        money=money(asked.target.route.price, usage["policy"]),
        right=bool(found["right"]) if found["right"] is not None else None,
        usage=usage,
        events=events,
        events_digest=events_digest,
        moved=moved,
        signals=signals(asked, solution),
    )


def signals(asked: Asked, solution: Solution | None = None) -> Signals:
    """What the figures of a route read of a search: the size of its question, the winner's reward, its directions."""
    texts = [asked.question, *(text for _, text in asked.turns)]
    size = sum(map(len, texts)), len(_NUMBER.findall(asked.question)), len(asked.turns)
    if solution is None:
        return Signals(*size)
    winners = [path.rewards[-1] for path in solution.finished if path.text == solution.text and path.rewards]
    numbers = effective_directions(solution)
    reward = float(max(winners)) if winners and solution.answer is not None else None
    return Signals(*size, reward=reward, directions=sum(numbers) / len(numbers) if numbers else None)


def money(price: Price, usage: Mapping[str, int]) -> float:
    """What the policy's tokens cost: price for a million, by kind."""
    return sum(getattr(price, kind) * usage[kind] for kind in ("generated", "prefilled", "cached")) / 1e6


def effective_directions(solution: Solution) -> list[float]:
    """The effective number of directions of each round whose strategy reads directions."""
    numbers = [event.allocation.effective_directions for event in solution.events if isinstance(event, Allocated)]
    return [number for number in numbers if number is not None]
