"""Decides after each round whether the vote is decided, so that the rollouts that are left can be saved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rollwise.answers import Standing, find_stop_rule, read_answers, top_two, verified, vote_decided
from rollwise.core import FloatArray, IntArray, Path
from rollwise.search.machine import Search
from rollwise.search.parts import Parts
from rollwise.search.solution import check_rights, weights_of

_MAJORITIES = ("weighted_majority", "believed_majority", "majority")


class Stopper:
    """The rule `stop_early` of a config, applied to its search.

    The further votes of a config have to be decided too. It looks at closed rounds only, so that events do not depend
    on which reply came first.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts, self.rule = parts, find_stop_rule(parts.config.stop_early)
        self.votes = (parts.config.vote, *parts.config.votes)
        self._seen = (0, 0)
        self._right: dict[str, bool] = {}

    def reason(self, search: Search) -> str | None:
        """Why the search may end now; None if it has to go on. It reads and compares answers, so it may take a while.

        `lossless` needs a lead of more than all that remains, so with N / 2 votes or fewer it looks at nothing.
        """
        return self.reason_among(search, search.voters, search.remaining)

    def reason_among(self, search: Search, paths: Sequence[Path], remaining: int) -> str | None:
        """The same if these paths are all that vote so far, and so many rollouts may still come."""
        if self.rule.name == "never" or not paths or self._seen == (len(paths), remaining):
            return None
        self._seen = len(paths), remaining
        if self.rule.level is None and len(paths) <= remaining and not self._heaviest_may_win:
            return None
        grader, asked = self.parts.grader, self.parts.config.answer
        form = grader.form if asked == "auto" else asked
        reading = read_answers(paths, form)
        if form == "auto" and not (reading.form == "boxed" and any(reading.answers)):
            return None  # a path to come may box its answer, and all would be read anew
        labels = grader.group(reading.answers)
        rewards = np.array([search.reward(path) for path in paths], dtype=np.float64)
        for vote in self.votes:
            weights = weights_of(vote, rewards, self.parts)
            if self.rule.level is None and vote not in _MAJORITIES and not np.any(weights >= 1):
                return None
            right = self._rights(search, reading.answers) if vote == "verified" else np.zeros(len(labels), np.int64)
            decided = vote_decided(vote, labels, weights, remaining, right)
            if not (decided or self._unlikely_to_change(vote, labels, weights, remaining, right)):
                return None
        return f"{self.rule.name}, {remaining} rollouts saved"

    @property
    def _heaviest_may_win(self) -> bool:
        """Whether a vote is among those that one path of weight 1 decides."""
        return any(vote not in _MAJORITIES for vote in self.votes)

    def _unlikely_to_change(
        self, vote: str, labels: IntArray, weights: FloatArray, remaining: int, right: IntArray
    ) -> bool:
        """Whether a rule with a confidence ends this vote. It counts paths, whatever they weigh.

        A right answer that was checked stays right, so `verified` ends with the first.
        """
        if self.rule.level is None:
            return False
        if vote == "verified":
            return verified(labels, weights, right).voter is not None
        if vote not in _MAJORITIES:
            return False
        first, second = top_two(labels, np.ones(len(labels)))
        ahead, behind = top_two(labels, weights)
        leads = vote == "majority" or (ahead > behind and _same_leader(labels, weights))
        return leads and bool(self.rule.decides(Standing(first, second, len(labels), remaining)))

    def _rights(self, search: Search, answers: tuple[str | None, ...]) -> IntArray:
        """Whether each answer is right by the world's own check, which is asked once for each text."""
        new = [answer for answer in dict.fromkeys(answers) if answer is not None and answer not in self._right]
        rights, _ = check_rights(search.problem, new, self.parts)
        self._right |= dict(zip(new, rights, strict=True))
        return np.array([answer is not None and self._right[answer] for answer in answers], dtype=np.int64)


def _same_leader(labels: IntArray, weights: FloatArray) -> bool:
    """Whether the answer that most paths gave is also the one that weighs most."""
    voters = labels >= 0
    return bool(np.argmax(np.bincount(labels[voters])) == np.argmax(np.bincount(labels[voters], weights[voters])))
