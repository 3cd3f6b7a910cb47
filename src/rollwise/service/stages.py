"""The stages of a rule's introduction, as pure transitions: off, shadow, canary, full."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

from rollwise.errors import InputError
from rollwise.service.settings import Route

Name = Literal["off", "shadow", "canary", "full"]


@dataclass(frozen=True)
class Stage:
    """Where a route stands: the rule that answers, the candidate that is to replace it, and how far the candidate is.

    At "off" and "shadow" the current rule answers all requests, at "canary" the candidate answers `percent` of them, at
    "full" all.
    """

    route: str
    current: str
    candidate: str | None
    stage: Name = "off"
    percent: float = 0.0

    @property
    def text(self) -> str:
        """The stage as people read it."""
        share = f" {self.percent:g} %" if self.stage == "canary" else ""
        candidate = "no candidate" if self.candidate is None else f"{self.candidate} {self.stage}{share}"
        return f"{self.current} answers; {candidate}"


def first_stage(name: str, route: Route) -> Stage:
    """Where a route starts: its first rule answers, its second is the candidate."""
    names = [rule.name for rule in route.ladder]
    return Stage(name, names[0], names[1] if len(names) > 1 else None)


def advanced(stage: Stage, route: Route) -> Stage:
    """The next stage. From "full" the candidate becomes the current rule and the rule after it the candidate.

    Raises InputError if no rule is left to introduce.
    """
    if stage.candidate is None:
        raise InputError(f"the route {stage.route} has no rule after {stage.current}: add one to its rules")
    match stage.stage:
        case "off":
            return replace(stage, stage="shadow", percent=0.0)
        case "full":
            return Stage(stage.route, stage.candidate, _after(stage.candidate, route))
        case _:
            further = [percent for percent in route.canary if percent > stage.percent]
            if further:
                return replace(stage, stage="canary", percent=min(further))
            return replace(stage, stage="full", percent=0.0)


def reverted(stage: Stage, route: Route) -> Stage:
    """The candidate switched off. If it is off already, the rule before the current one answers again.

    Raises InputError if there is nothing to take back.
    """
    if stage.stage != "off":
        return replace(stage, stage="off", percent=0.0)
    names = [rule.name for rule in route.ladder]
    place = names.index(stage.current) if stage.current in names else 0
    if place == 0:
        raise InputError(f"the route {stage.route} answers by its first rule already: there is nothing to revert")
    return Stage(stage.route, names[place - 1], names[place])


def _after(name: str, route: Route) -> str | None:
    names = [rule.name for rule in route.ladder]
    following = names[names.index(name) + 1 :]
    return following[0] if following else None


def fitting(stage: Stage | None, name: str, route: Route) -> Stage:
    """A stored stage, if the route still has its rules; else where the route starts."""
    names = {rule.name for rule in route.ladder}
    if stage is None or stage.current not in names or stage.candidate not in names | {None}:
        return first_stage(name, route)
    return stage if stage.candidate is not None else replace(stage, candidate=_after(stage.current, route))


def share_of(route: str, session: str) -> float:
    """Where a session lies in [0, 100), from a hash: the same for every request of it, in every process."""
    digest = hashlib.sha256(f"{route}\0{session}".encode(errors="surrogatepass")).digest()
    return 100 * int.from_bytes(digest[:8]) / 2**64


def chosen(stage: Stage, session: str) -> tuple[str, str]:
    """The rule that answers a session's request, and the stage as a label: "full" for the rule that answers all."""
    if stage.candidate is not None:
        if stage.stage == "full":
            return stage.candidate, "full"
        if stage.stage == "canary" and share_of(stage.route, session) < stage.percent:
            return stage.candidate, "canary"
    return stage.current, "full" if stage.candidate is None else stage.stage
