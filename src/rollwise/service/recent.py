"""The latest searches of a route as its figures read them, and what a candidate's band needs after a restart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select

from rollwise.database import total
from rollwise.service.bands import Outcome, Watch
from rollwise.service.stages import Stage
from rollwise.service.store import Store
from rollwise.service.tables import ChangeRow, FeedbackRow, SearchRow, SignalsRow, StageRow

FEATURES = ("characters", "numbers", "turns")
"""The properties of questions whose drift is watched."""


@dataclass(frozen=True)
class Seen:
    """A search as figures read it. `right` is what the golden answer or a client says; None if nobody said."""

    id: str
    question: str
    outcome: str
    answered: bool
    spent: int
    saved: int
    seconds: float
    generated: int
    money: float
    agrees: bool | None
    right: bool | None
    reward: float | None
    directions: float | None
    began: str

    @property
    def ended(self) -> bool:
        """Whether the search came to an end of its own, so that its seconds and tokens are known."""
        return self.outcome not in ("failed", "cancelled") and self.seconds > 0


_COLUMNS = (
    *(SearchRow.id, SearchRow.question, SearchRow.outcome, SearchRow.answer.is_not(None), SearchRow.spent),
    *(SearchRow.saved, SearchRow.seconds, SearchRow.generated, SearchRow.money, SearchRow.agrees, SearchRow.right),
    *(SignalsRow.reward, SignalsRow.directions, SearchRow.began),
)


def _selected(route: str, *more: Any) -> Any:
    wanted = select(*_COLUMNS, *more).where(SearchRow.route == route)
    return wanted.outerjoin(SignalsRow, SignalsRow.search_id == SearchRow.id)


def latest(store: Store, route: str, rule: str, purpose: str, limit: int) -> list[Seen]:
    """The latest searches of a rule for a purpose, the oldest first; those that a client cancelled are left out."""
    wanted = _selected(route).where(SearchRow.purpose == purpose, SearchRow.rule == rule)
    wanted = wanted.where(SearchRow.outcome != "cancelled").order_by(SearchRow.began.desc()).limit(limit)
    with store.session() as session:
        return [Seen(*row) for row in session.execute(wanted)][::-1]


def golden(store: Store, route: str, rule: str, limit: int) -> list[Seen]:
    """The latest golden search of each question under a rule, of those with the newest config; a failure is wrong."""
    wanted = _selected(route, SearchRow.config).where(SearchRow.purpose == "golden", SearchRow.rule == rule)
    wanted = wanted.where(SearchRow.outcome != "cancelled").order_by(SearchRow.began.desc()).limit(limit)
    with store.session() as session:
        rows = session.execute(wanted).all()
    found: dict[str, Seen] = {}
    for *values, config in rows:
        if config == rows[0][-1]:
            seen = Seen(*values)
            found.setdefault(seen.question, replace(seen, right=bool(seen.right)))
    return list(found.values())[::-1]


def judged(store: Store, route: str, rule: str, limit: int, oldest: bool = False) -> list[Seen]:
    """The searches of a rule that clients judged, the latest or the oldest of them, in order of time; `right` is what
    was said last.
    """
    last = select(func.max(FeedbackRow.id)).group_by(FeedbackRow.search_id)
    wanted = _selected(route, FeedbackRow.right.label("said")).join(
        FeedbackRow, (FeedbackRow.search_id == SearchRow.id) & FeedbackRow.id.in_(last)
    )
    order = SearchRow.began if oldest else SearchRow.began.desc()
    wanted = wanted.where(SearchRow.rule == rule).order_by(order).limit(limit)
    with store.session() as session:
        found = [replace(Seen(*row[:-1]), right=bool(row[-1])) for row in session.execute(wanted)]
    return found if oldest else found[::-1]


def questions(store: Store, route: str, limit: int) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """FEATURES of the first questions of a route and of the latest, of equally many: at most `limit` of each, and none
    in both.
    """
    wanted = select(*(getattr(SignalsRow, name) for name in FEATURES)).join(
        SearchRow, SearchRow.id == SignalsRow.search_id
    )
    wanted = wanted.where(SearchRow.route == route, SearchRow.purpose == "answer")
    with store.session() as session:
        first = session.execute(wanted.order_by(SearchRow.began).limit(2 * limit)).all()
        size = min(limit, len(first) // 2)
        last = session.execute(wanted.order_by(SearchRow.began.desc()).limit(size)).all()
    return [tuple(row) for row in first[:size]], [tuple(row) for row in last]


def watch_of(stage: Stage, window: int, store: Store, further: Sequence[Outcome] = ()) -> tuple[Watch, int]:
    """The watch of a route's candidate from what is on record since the stage began, and the tokens that searches in
    its shadow have generated. `further` outcomes of the candidate are on no record.
    """
    watch = Watch(window)
    with store.session() as session:
        began = session.scalar(
            select(ChangeRow.created).where(StageRow.route == stage.route, StageRow.change == ChangeRow.id)
        )
        since = SearchRow.route == stage.route, SearchRow.began >= (began or "")

        def outcomes(rule: str | None) -> list[Outcome]:
            found: list[Any] = []
            for purpose in ("answer", "shadow"):
                columns = (SearchRow.outcome, SearchRow.rounds, SearchRow.seconds, SearchRow.generated)
                wanted = select(*columns, SearchRow.agrees, SearchRow.began)
                wanted = wanted.where(*since, SearchRow.rule == rule, SearchRow.purpose == purpose)
                found += session.execute(wanted.order_by(SearchRow.began.desc()).limit(window)).all()
            return [
                Outcome(True, at=at) if outcome == "failed" else Outcome(False, seconds, generated, agrees, at)
                for outcome, rounds, seconds, generated, agrees, at in found
                if rounds or outcome == "failed"
            ]

        seen = sorted([*outcomes(stage.candidate), *further], key=lambda each: each.at)
        answered = [each for each in outcomes(stage.current) if not each.failed]
        tokens = total(SearchRow.generated)
        shadowed = session.scalar(select(tokens).where(*since, SearchRow.purpose == "shadow"))
    watch.candidate.extend(seen)
    watch.current.extend(each.generated for each in sorted(answered, key=lambda each: each.at))
    return watch, shadowed or 0
