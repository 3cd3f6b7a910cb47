"""What a search found: the finished paths, the vote, and what the search cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rollwise.answers import BELIEVED, VOTES, Reading, group, read_answers, verified
from rollwise.core import FloatArray, IntArray, Path, Problem
from rollwise.search.events import Event, Failed, Stopped, unplaced_reasons
from rollwise.search.ledger import Ledger
from rollwise.search.machine import Search
from rollwise.search.parts import Parts


@dataclass(frozen=True)
class Ballot:
    """An answer with votes: how many paths gave it, what they weigh together, and whether it is right."""

    answer: str
    paths: int
    weight: float
    right: bool


@dataclass(frozen=True)
class Solution:
    """What a search found.

    `answer` is the vote's winner; None if no path answered, or if `verified` found no answer right: `attempt` is then
    the best there was. `rights` says of each finished path whether it is right, by the world's own check; if `judged`
    is false nobody knows, and all are false. `votes` says of each further vote whether its winner is right. `notes` are
    what a person should know of the parts and of the answers.

    `form` is the form that answers were read in (see `rollwise.answers.FORMS`). `unread` counts finished paths without
    a readable answer, `cut` those that a limit cut off. `example` is the last line of one of these paths.
    """

    problem: Problem
    answer: str | None
    text: str | None
    attempt: str | None
    support: float
    right: bool
    vote: str
    ballots: tuple[Ballot, ...]
    finished: tuple[Path, ...]
    rights: tuple[bool, ...]
    failures: tuple[str, ...]
    ledger: Ledger
    events: tuple[Event, ...] = field(repr=False)
    judged: bool = True
    votes: Mapping[str, bool] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    form: str = "boxed"
    unread: int = 0
    cut: int = 0
    example: str | None = None
    afterwards: tuple[str, ...] = ()
    """The notes that only the search itself could give."""
    expired: bool = False
    """Whether a deadline ended the search before its budget was spent."""

    @property
    def stopped(self) -> Stopped | None:
        """Why the search ended before its budget was spent; None if it spent all."""
        return next((event for event in self.events if isinstance(event, Stopped)), None)

    @property
    def saved(self) -> int:
        """How many rollouts were not grown to their end, because the vote was decided before."""
        return 0 if self.stopped is None or self.expired else self.stopped.saved

    @property
    def covered(self) -> bool:
        """Whether any path is right."""
        return any(self.rights)

    def as_dict(self) -> dict[str, Any]:
        """The solution as plain values, without its events."""
        return {
            "question": self.problem.question,
            "answer": self.answer,
            "right": self.right if self.judged else None,
            "support": round(self.support, 6),
            "attempt": self.attempt,
            "text": self.text,
            "vote": self.vote,
            "covered": self.covered if self.judged else None,
            "finished": len(self.finished),
            "unread": self.unread,
            "cut": self.cut,
            "example": self.example,
            "form": self.form,
            "failed": len(self.failures),
            "saved": self.saved,
            "stopped": None if self.stopped is None else self.stopped.reason,
            "failures": list(self.failures),
            "ballots": [vars(ballot) | ({} if self.judged else {"right": None}) for ballot in self.ballots],
            "ledger": self.ledger.as_dict(),
            **({"votes": dict(self.votes) if self.judged else dict.fromkeys(self.votes)} if self.votes else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            **({"expired": True} if self.expired else {}),
        }


def conclude(search: Search, parts: Parts, ledger: Ledger) -> Solution:
    """The solution that a finished search comes to: its answers grouped and the votes held."""
    problem, paths, vote = search.problem, search.voters, parts.config.vote
    grader, form = parts.grader, parts.config.answer
    reading = read_answers(paths, grader.form if form == "auto" else form)
    answers = reading.answers
    rights, broken = check_rights(problem, answers, parts)
    rewards = np.array([search.reward(path) for path in paths], dtype=np.float64)
    checked = vote == "verified" and not parts.config.votes
    labels = group(answers, compare="text") if checked else grader.group(answers)
    weights = weights_of(vote, rewards, parts)
    if vote == "verified":
        verdict = verified(labels, weights, np.array(rights, dtype=np.int64))
    else:
        verdict = VOTES[vote](labels, weights)
    others = {name: VOTES[name](labels, weights_of(name, rewards, parts)).voter for name in parts.config.votes}
    winner, attempt = verdict.voter, verdict.attempt
    afterwards = (*broken, *_reading_notes(reading, problem, parts))
    return Solution(
        problem=problem,
        answer=None if winner is None else answers[winner],
        text=None if winner is None else paths[winner].text,
        attempt=None if attempt is None else answers[attempt],
        support=verdict.support,
        right=winner is not None and rights[winner],
        vote=vote,
        ballots=_ballots(answers, rights, labels, weights),
        finished=tuple(paths),
        rights=tuple(rights),
        failures=tuple(event.reason for event in search.events if isinstance(event, Failed)),
        ledger=ledger,
        events=tuple(search.events),
        judged=parts.problems.checkable or problem.answer is not None,
        votes={name: voter is not None and rights[voter] for name, voter in others.items()},
        notes=(*parts.notes, *_unplaced_note(search.events), *afterwards),
        form=reading.form,
        unread=reading.unread,
        cut=reading.cut,
        example=reading.example,
        afterwards=afterwards,
    )


def _reading_notes(reading: Reading, problem: Problem, parts: Parts) -> list[str]:
    """What a person should know of how the answers were read, a sentence each."""
    if reading.note is None:
        return []
    if not problem.instruction or parts.config.instruction != "system":
        return [reading.note]
    hint = "if the model ignored the instruction to box it, --instruction user puts that before the question"
    return [f"{reading.note}; {hint}"]


def check_rights(problem: Problem, answers: Sequence[str | None], parts: Parts) -> tuple[list[bool], list[str]]:
    """Whether each answer is right, and a sentence if the world's own check raised; such an answer counts as wrong."""
    rights, errors = [], []
    for answer in answers:
        try:
            rights.append(answer is not None and bool(parts.problems.is_right(problem, answer)))
        except Exception as error:  # a user's world may raise anything, and the budget is spent
            rights.append(False)
            errors.append(f"{type(error).__name__}: {error}")
    if not errors:
        return rights, []
    return rights, [f"the world could not check {len(errors)} answers, which count as wrong, first: {errors[0]}"]


def weights_of(vote: str, rewards: FloatArray, parts: Parts) -> FloatArray:
    """What each finished path weighs in a vote, from the paths' rewards (k,)."""
    return parts.ended.chances(rewards) if vote == BELIEVED and parts.ended is not None else rewards


def _ballots(
    answers: Sequence[str | None], rights: Sequence[bool], labels: IntArray, weights: FloatArray
) -> tuple[Ballot, ...]:
    """The answers with votes, heaviest first."""
    ballots = []
    for label in range(int(max(labels, default=-1)) + 1):
        members = np.flatnonzero(labels == label)
        first = int(members[0])
        ballots.append(Ballot(answers[first] or "", len(members), float(weights[members].sum()), rights[first]))
    return tuple(sorted(ballots, key=lambda ballot: -ballot.weight))


def _unplaced_note(events: Sequence[Event]) -> list[str]:
    """A sentence on the paths whose direction is unknown, if there are any."""
    reasons = unplaced_reasons(events)
    if not reasons:
        return []
    return [f"the direction of {len(reasons)} paths is unknown, so each was a direction of its own: {reasons[0]}"]
