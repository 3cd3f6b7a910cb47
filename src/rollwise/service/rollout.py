"""Moving a route through its rules: status, advance and revert, each on record."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from rollwise.errors import InputError
from rollwise.service.audit import changes, figures
from rollwise.service.gate import Verdict, run_gate, verdict_on_record
from rollwise.service.metrics import Metrics
from rollwise.service.searches import Searches
from rollwise.service.service import Service
from rollwise.service.settings import Route, Settings
from rollwise.service.stages import Stage, advanced, fitting, reverted
from rollwise.service.staging import Staging
from rollwise.service.store import Store
from rollwise.service.writer import Writer


@dataclass(frozen=True)
class Moved:
    """A change of a stage: before, after, and what the gate found; None if none was asked."""

    before: Stage
    after: Stage
    verdict: Verdict | None = None


def operator() -> str:
    """Who moves a route: the user of this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def rollout_status(settings: Settings, store: Store) -> list[dict[str, Any]]:
    """Where each route stands, what its gate found last, its last change, and the figures since then."""
    stored, found = store.stages(), []
    for name, route in settings.routes.items():
        stage = fitting(stored.get(name), name, route)
        last = next(iter(changes(store, name)), None)
        since = last["created"] if last else ""
        found.append(
            {
                "route": name,
                "rules": [rule.name for rule in route.ladder],
                "current": stage.current,
                "candidate": stage.candidate,
                "stage": stage.stage,
                "percent": stage.percent,
                "text": stage.text,
                "gate": None if route.gate is None else route.gate.model_dump(mode="json"),
                "gate_result": _gate_result(store, name, route, stage),
                "last_change": last,
                "figures": figures(store, name, since),
            }
        )
    return found


def _gate_result(store: Store, name: str, route: Route, stage: Stage) -> dict[str, Any] | None:
    """What the golden results of the current rule and the candidate say; if there are none, the verdict that the audit
    log has of the last gate that passed. None if there is neither.
    """
    if route.gate is not None and stage.candidate is not None:
        verdict = verdict_on_record(store, name, route.gate, stage.current, stage.candidate)
        if verdict.samples:
            return _told(verdict, stage.current, stage.candidate)
    for change in changes(store, name):
        evidence, before = change["evidence"], change["before"]
        if "samples" in evidence:
            known = {each.name: evidence[each.name] for each in fields(Verdict) if each.name in evidence}
            verdict = Verdict(**known | {"unmet": tuple(evidence["unmet"])})
            verdict = replace(verdict, oldest=verdict.oldest or change["created"])
            return _told(verdict, before["current"], before["candidate"])
    return None


def _told(verdict: Verdict, current: str, candidate: str) -> dict[str, Any]:
    return verdict.as_dict() | {"rules": [current, candidate], "age": verdict.age}


async def advance_route(
    settings: Settings, store: Store, name: str, force: str | None, on_done: Callable[[int, int], None]
) -> Moved:
    """Move a route's candidate to its next stage.

    Before a candidate answers any request, and before each further stage, the gate that the route declares has to pass.
    With `force` the route moves anyway, and the reason is on record. Raises InputError if the gate is not declared or
    not passed, or if another process changed the stage meanwhile.
    """
    route = _route(settings, name)
    before = fitting(store.stages().get(name), name, route)
    after = advanced(before, route)
    if force is not None and not force.strip():
        raise InputError("--force needs a reason, which is kept in the audit log")
    verdict = None
    if force is None:
        if route.gate is None:
            raise InputError(
                f"the route {name} declares no gate: add [routes.{name}.gate] to its file, or give --force REASON"
            )
        if before.stage != "off":
            verdict = await _verdict(settings, store, name, before, on_done)
            if not verdict.passed:
                age = [] if verdict.oldest is None else [verdict.age]
                raise InputError(f"the gate of {name} is closed: {'; '.join([*verdict.unmet, *age])}")
    kind, reason = ("advance", "the gate passed" if verdict else "shadow needs no verdict")
    if force is not None:
        kind, reason = "forced", force
    evidence = {} if verdict is None else verdict.as_dict()
    if not store.change(before, after, kind, operator(), reason, evidence):
        raise InputError(f"the stage of {name} has changed meanwhile: look at `rollwise rollout status`")
    return Moved(before, after, verdict)


async def _verdict(
    settings: Settings, store: Store, name: str, stage: Stage, on_done: Callable[[int, int], None]
) -> Verdict:
    route = settings.routes[name]
    writer, metrics = Writer(store), Metrics()
    service = Service(Searches(settings, Staging(settings, writer, metrics), writer, metrics))
    try:
        assert stage.candidate is not None
        return await run_gate(
            service, name, route.rule(stage.current), route.rule(stage.candidate), operator(), on_done
        )
    finally:
        await service.close()
        writer.close()


def revert_route(settings: Settings, store: Store, name: str, reason: str) -> Moved:
    """Take a route's latest stage back, at once. Raises InputError if there is nothing to take back."""
    route = _route(settings, name)
    before = fitting(store.stages().get(name), name, route)
    after = reverted(before, route)
    if not store.change(before, after, "revert", operator(), reason):
        raise InputError(f"the stage of {name} has changed meanwhile: look at `rollwise rollout status`")
    return Moved(before, after)


def _route(settings: Settings, name: str) -> Route:
    if name not in settings.routes:
        raise InputError(f"no route is called {name!r}; there are: {', '.join(settings.routes)}")
    return settings.routes[name]
